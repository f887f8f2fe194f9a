"""Rooms: who makes them, and who sets what about them."""

from __future__ import annotations

import pytest

from chatsvc.application.events import EventKind
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import (
    Archive,
    Create,
    Describe,
    Invite,
    Join,
    Leave,
    Operation,
    Post,
    SetRetention,
    SetSlowMode,
    SetTopic,
)
from chatsvc.application.results import Created, ErrorCode, Joined, Left
from chatsvc.application.schema import MEMBERS, MEMBERSHIPS, RETAINED, Role
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON
from tests.chatsvc.scenes import (
    DAVE,
    account_row,
    apply,
    garden,
    happenings,
    mute,
    put_room,
    refused,
    room_row,
    table,
    why,
)

T = Milliseconds(NOON + 1_000_000)
STRANGER = PublicKey(b"S" * 32)


def test_who_makes_a_room_owns_it() -> None:
    service = garden()
    result = service.do(DAVE, Create("attic", "old things", private=True, description="two\nlines"), time=T)
    assert result == Created("attic")  # type: ignore[arg-type]
    row = room_row(service, "attic")
    assert (row.topic, row.description, row.private, row.creator) == ("old things", "two\nlines", True, "Dave")
    assert (row.member_count, row.owner_count, row.created_ms) == (1, 1, T)
    assert table(service, MEMBERS)["attic", "dave"] == ("Dave", T, "owner", 0, 0)
    assert table(service, MEMBERSHIPS)["dave", "attic"] == (T, 0)
    account = account_row(service, "dave")
    assert (account.rooms_created, account.room_count) == (1, 1)
    assert happenings(service, "attic") == [(EventKind.JOINED, None, "Dave")]


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (Create("garden", ""), ErrorCode.ROOM_EXISTS),
        (Create("Attic", ""), ErrorCode.BAD_NAME),
        (Create("#attic", ""), ErrorCode.BAD_NAME),
        (Create("@attic", ""), ErrorCode.BAD_NAME),
        (Create(":dave", ""), ErrorCode.BAD_NAME),
        (Create("", ""), ErrorCode.BAD_NAME),
        (Create("attic", "two\nlines"), ErrorCode.BAD_TOPIC),
        (Create("attic", "x" * 257), ErrorCode.BAD_TOPIC),
        (Create("attic", "", description="a\x00b"), ErrorCode.BAD_TEXT),
        (Create("attic", "", description="x" * 1025), ErrorCode.BAD_TEXT),
    ],
)
def test_rooms_that_cannot_be_made(operation: Create, code: ErrorCode) -> None:
    assert why(garden(), DAVE, operation) is code


def test_a_room_needs_an_account() -> None:
    assert why(garden(), STRANGER, Create("attic", "")) is ErrorCode.NOT_REGISTERED


def test_the_name_of_a_private_room_is_taken_for_everybody() -> None:
    """That much a stranger can find out, and nothing else: names are one space."""
    service = garden(private=True)
    assert why(service, DAVE, Create("garden", "")) is ErrorCode.ROOM_EXISTS


def test_an_account_makes_so_many_rooms() -> None:
    service = garden(ChatLimits(rooms_created_per_account=2))
    for name in ("one", "two"):
        assert isinstance(service.do(DAVE, Create(name, "")), Created)
    assert isinstance(service.do(DAVE, Leave("one")), Left)
    rejected = refused(service, DAVE, Create("three", ""))
    assert (rejected.code, "at most 2 rooms" in rejected.detail) == (ErrorCode.TOO_MANY, True)


def test_an_account_is_in_so_many_rooms() -> None:
    service = garden(ChatLimits(memberships_per_account=1))
    assert isinstance(service.do(DAVE, Create("one", "")), Created)
    for operation in (Create("two", ""), Join("garden")):
        assert why(service, DAVE, operation) is ErrorCode.TOO_MANY
    service.do(DAVE, Leave("one"))
    assert isinstance(service.do(DAVE, Join("garden")), Joined)


CHANGES: list[tuple[Operation, Role, tuple[object, ...]]] = [
    (SetTopic("garden", "roses"), Role.MODERATOR, (EventKind.TOPIC, "roses")),
    (Describe("garden", "red\nand white"), Role.MODERATOR, (EventKind.DESCRIPTION, "red\nand white")),
    (SetSlowMode("garden", 30), Role.MODERATOR, (EventKind.SLOW_MODE, 30)),
    (SetRetention("garden", 3600), Role.OWNER, (EventKind.RETENTION, 3600)),
    (Archive("garden", archived=True), Role.OWNER, (EventKind.ARCHIVED, 1)),
]
RANKS = {ALICE: Role.OWNER, BOB: Role.MODERATOR, CAROL: Role.MEMBER}
NAMES = {ALICE: "Alice", BOB: "Bob", CAROL: "Carol"}


@pytest.mark.parametrize("device", [ALICE, BOB, CAROL])
@pytest.mark.parametrize(("operation", "least", "said"), CHANGES)
def test_what_is_set_takes_a_role(
    device: PublicKey, operation: Operation, least: Role, said: tuple[object, ...]
) -> None:
    service = garden()
    if RANKS[device].rank < least.rank:
        assert why(service, device, operation) is ErrorCode.NOT_ALLOWED
        return
    apply(service, device, operation)
    kind, value = said
    assert happenings(service) == [(kind, None, NAMES[device], value)]
    writes = service.rows.writes
    if not isinstance(operation, Archive):
        apply(service, device, operation)
        assert service.rows.writes == writes, "it was so before"


@pytest.mark.parametrize("operation", [change[0] for change in CHANGES])
def test_who_is_no_member_sets_nothing(operation: Operation) -> None:
    assert why(garden(), DAVE, operation) is ErrorCode.NOT_A_MEMBER
    assert why(garden(private=True), DAVE, operation) is ErrorCode.NO_SUCH_ROOM


def test_what_was_set_stands_in_the_room() -> None:
    service = garden()
    for operation, _, _ in CHANGES:
        apply(service, ALICE, operation)
    row = room_row(service)
    assert (row.topic, row.description, row.slow_s, row.retention_s) == ("roses", "red\nand white", 30, 3600)
    assert row.archived


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (SetTopic("garden", "a\tb"), ErrorCode.BAD_TOPIC),
        (Describe("garden", "\u2028"), ErrorCode.BAD_TEXT),
        (SetSlowMode("garden", 86_401), ErrorCode.BAD_TIME),
        (SetRetention("garden", 59), ErrorCode.BAD_TIME),
    ],
)
def test_what_cannot_be_set(operation: Operation, code: ErrorCode) -> None:
    assert why(garden(), ALICE, operation) is code


def test_rooms_with_a_retention_are_listed_for_pruning() -> None:
    service = garden()
    apply(service, ALICE, SetRetention("garden", 60))
    assert table(service, RETAINED) == {("garden",): ()}
    apply(service, ALICE, SetRetention("garden", 0))
    assert table(service, RETAINED) == {}


def test_an_archived_room_is_only_read_until_it_is_opened_again() -> None:
    service = garden()
    apply(service, ALICE, Archive("garden", archived=True))
    for operation in (
        Post(room="garden", body="hi"),
        SetTopic("garden", "x"),
        Describe("garden", "x"),
        SetSlowMode("garden", 1),
        SetRetention("garden", 60),
    ):
        assert why(service, ALICE, operation) is ErrorCode.ROOM_ARCHIVED
    assert why(service, DAVE, Join("garden")) is ErrorCode.ROOM_ARCHIVED
    assert isinstance(service.do(CAROL, Leave("garden")), Left)
    apply(service, ALICE, Archive("garden", archived=False))
    assert service.say(ALICE, "open again").index == 0
    assert happenings(service)[-1] == (EventKind.ARCHIVED, None, "Alice", 0)


def test_who_enters_an_empty_room_owns_it() -> None:
    service = garden()
    put_room(service, "attic", {DAVE: Role.OWNER})
    assert isinstance(service.do(DAVE, Leave("attic")), Left)
    assert isinstance(service.do(CAROL, Join("attic")), Joined)
    assert isinstance(service.do(BOB, Join("attic")), Joined)
    roles = {key[1]: row[2] for key, row in table(service, MEMBERS).items() if key[0] == "attic"}
    assert roles == {"carol": "owner", "bob": "member"}
    assert room_row(service, "attic").owner_count == 1


def test_a_newcomer_waits_in_a_slow_room() -> None:
    """Else leaving and coming back would be the way around it."""
    service = garden(slow_s=60)
    assert isinstance(service.do(DAVE, Join("garden"), time=T), Joined)
    rejected = refused(service, DAVE, Post(room="garden", body="hi"), time=Milliseconds(T + 1))
    assert (rejected.code, rejected.retry_ms) == (ErrorCode.SLOW_MODE, T + 60_000)


def test_the_muted_neither_name_nor_describe_nor_invite() -> None:
    service = garden()
    mute(service, "bob", 2 * NOON)
    for operation in (SetTopic("garden", "I speak"), Describe("garden", "so"), Invite("garden", "Dave")):
        assert why(service, BOB, operation) is ErrorCode.MUTED
