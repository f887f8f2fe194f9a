"""Invitation links: whoever holds the secret may join."""

from __future__ import annotations

import pytest

from chatsvc.application.answers import Link, LinkList
from chatsvc.application.bearer import Purpose, code_of, key_of_code, prove
from chatsvc.application.events import EventKind
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import (
    Archive,
    Ban,
    Create,
    DropLink,
    Invite,
    JoinByLink,
    Leave,
    MakeLink,
    Operation,
)
from chatsvc.application.queries import ListLinks
from chatsvc.application.results import Applied, ErrorCode, Joined
from chatsvc.application.schema import INVITATIONS, LINKS, MEMBERS, ROOM_LINKS, Role
from crypto.signing import Ed25519Signer, PublicKey
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import DAVE, apply, garden, happenings, put_room, refused, room_row, table, why

KEY, OTHER = (key_of_code(code_of(bytes([n]) * 10, Purpose.LINK), Purpose.LINK) for n in (1, 2))
DAY_MS = 86_400_000
LATER = Milliseconds(NOON + DAY_MS)
STRANGER = PublicKey(b"S" * 32)


def make(key: Ed25519Signer = KEY, room: str = "garden", expires_ms: int = LATER, uses: int = 2) -> MakeLink:
    return MakeLink(room, key.public_key, Milliseconds(expires_ms), uses)


def use(device: PublicKey, key: Ed25519Signer = KEY) -> JoinByLink:
    return JoinByLink(key.public_key, prove(key, Purpose.LINK, device))


def linked(limits: ChatLimits | None = None, *, uses: int = 2, **fields: object) -> Service:
    """Bob has made a link into the garden."""
    service = garden(limits, **fields)
    apply(service, BOB, make(uses=uses))
    return service


def test_a_link_opens_a_private_room() -> None:
    service = linked(private=True)
    assert table(service, ROOM_LINKS) == {("garden", KEY.public_key): ()}
    apply(service, BOB, Invite("garden", "Dave"))
    assert service.do(DAVE, use(DAVE)) == Joined("garden")  # type: ignore[arg-type]
    assert table(service, MEMBERS)["garden", "dave"][2] == "member"
    assert table(service, LINKS)[KEY.public_key,][-1] == 1, "one use left"
    assert table(service, INVITATIONS) == {}
    assert happenings(service)[-1] == (EventKind.JOINED, None, "Dave")
    assert room_row(service).member_count == 4


def test_a_link_works_so_often() -> None:
    service = linked(uses=1)
    writes = service.rows.writes
    assert isinstance(service.do(CAROL, use(CAROL)), Joined)
    assert service.rows.writes == writes, "a member uses nothing up"
    assert isinstance(service.do(DAVE, use(DAVE)), Joined)
    service.do(CAROL, Leave("garden"))
    rejected = refused(service, CAROL, use(CAROL))
    assert rejected.code is ErrorCode.NO_SUCH_INVITATION
    assert rejected.detail == "this link is not known, was used up, or has expired: ask for a new one"
    assert room_row(service).link_count == 1, "to be seen until it is dropped"


def test_a_link_works_until_it_expires() -> None:
    service = linked()
    assert why(service, DAVE, use(DAVE), time=LATER) is ErrorCode.NO_SUCH_INVITATION
    assert isinstance(service.do(DAVE, use(DAVE), time=Milliseconds(LATER - 1)), Joined)


def test_who_sees_a_link_being_used_cannot_use_it() -> None:
    service = linked()
    seen = use(DAVE)
    service.do(CAROL, Leave("garden"))
    assert why(service, CAROL, seen) is ErrorCode.BAD_PROOF
    stolen = JoinByLink(KEY.public_key, prove(OTHER, Purpose.LINK, CAROL))
    assert why(service, CAROL, stolen) is ErrorCode.BAD_PROOF
    for_a_device = JoinByLink(KEY.public_key, prove(KEY, Purpose.DEVICE, CAROL))
    assert why(service, CAROL, for_a_device) is ErrorCode.BAD_PROOF


def test_a_dropped_link_opens_nothing() -> None:
    service = linked()
    apply(service, ALICE, DropLink("garden", KEY.public_key))
    assert table(service, LINKS) == table(service, ROOM_LINKS) == {}
    assert room_row(service).link_count == 0
    assert why(service, DAVE, use(DAVE)) is ErrorCode.NO_SUCH_INVITATION
    assert why(service, ALICE, DropLink("garden", KEY.public_key)) is ErrorCode.NO_SUCH_INVITATION


def test_a_link_of_another_room_is_not_dropped() -> None:
    service = linked()
    put_room(service, "attic", {CAROL: Role.OWNER})
    assert why(service, CAROL, DropLink("attic", KEY.public_key)) is ErrorCode.NO_SUCH_INVITATION


@pytest.mark.parametrize(
    ("device", "operation", "code"),
    [
        (CAROL, make(), ErrorCode.NOT_ALLOWED),
        (DAVE, make(), ErrorCode.NOT_A_MEMBER),
        (STRANGER, make(), ErrorCode.NOT_REGISTERED),
        (STRANGER, use(STRANGER), ErrorCode.NOT_REGISTERED),
        (BOB, make(room="attic"), ErrorCode.NO_SUCH_ROOM),
        (BOB, make(expires_ms=NOON), ErrorCode.BAD_TIME),
        (BOB, make(expires_ms=NOON + 31 * DAY_MS), ErrorCode.BAD_TIME),
        (CAROL, DropLink("garden", KEY.public_key), ErrorCode.NOT_ALLOWED),
        (DAVE, DropLink("garden", KEY.public_key), ErrorCode.NOT_A_MEMBER),
        (DAVE, use(DAVE), ErrorCode.NO_SUCH_INVITATION),
    ],
)
def test_what_is_refused(device: PublicKey, operation: Operation, code: ErrorCode) -> None:
    assert why(garden(), device, operation) is code


def test_a_private_room_has_no_links_for_strangers() -> None:
    service = linked(private=True)
    for operation in (make(OTHER), DropLink("garden", KEY.public_key)):
        assert why(service, DAVE, operation) is ErrorCode.NO_SUCH_ROOM


def test_nobody_makes_the_link_of_another() -> None:
    """Who sees one being made could otherwise lead those who use it into another room."""
    service = linked()
    put_room(service, "trap", {CAROL: Role.OWNER})
    assert why(service, CAROL, make(room="trap")) is ErrorCode.BAD_PROOF


@pytest.mark.parametrize("private", [False, True])
def test_who_is_refused_at_a_link_is_not_told_of_which_room(private: bool) -> None:
    service = linked(private=private)
    apply(service, BOB, Ban("garden", "Dave"))
    banned = refused(service, DAVE, use(DAVE))
    apply(service, ALICE, Archive("garden", archived=True))
    service.do(CAROL, Leave("garden"))
    archived = refused(service, CAROL, use(CAROL))
    assert (banned.code, archived.code) == (ErrorCode.BANNED, ErrorCode.ROOM_ARCHIVED)
    assert "garden" not in banned.detail + archived.detail


def test_an_account_in_many_rooms_joins_no_more() -> None:
    service = linked(ChatLimits(memberships_per_account=1))
    service.do(DAVE, Create("attic", ""))
    assert why(service, DAVE, use(DAVE)) is ErrorCode.TOO_MANY


def test_a_room_has_so_many_links() -> None:
    service = linked(ChatLimits(links_per_room=1))
    rejected = refused(service, BOB, make(OTHER))
    assert (rejected.code, "has 1 links" in rejected.detail) == (ErrorCode.TOO_MANY, True)
    apply(service, BOB, DropLink("garden", KEY.public_key))
    assert service.do(BOB, make(OTHER)) == Applied()


def test_moderators_see_the_links() -> None:
    service = linked()
    answer = service.ask(ListLinks("garden"), BOB)
    assert isinstance(answer, LinkList)
    (link,) = answer.links
    made_ms = Milliseconds(NOON + 1000 * service.sequence)
    assert link == Link(KEY.public_key, "Bob", made_ms, LATER, 2)  # type: ignore[arg-type]
    for device in (CAROL, DAVE):
        rejected = service.ask(ListLinks("garden"), device)
        assert getattr(rejected, "code", None) is ErrorCode.NOT_ALLOWED
