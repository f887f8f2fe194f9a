"""What was queued is posted, in its order and once, whatever dies at whatever moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from chatsvc.application import bearer
from chatsvc.application.bearer import Purpose
from chatsvc.application.names import RoomName
from chatsvc.application.operations import (
    AddDevice,
    Archive,
    Create,
    Delete,
    Edit,
    Invite,
    InviteDevice,
    Join,
    Kick,
    Post,
    Register,
    RevokeDevice,
    SetSlowMode,
)
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MessageIndex
from clients.outbox import DONE_KEPT_MAX, Outbox, State, outbox_path
from clients.outbox_delivery import UNCLEAR
from clients.sdk import ChatError, ClientFailure, OutcomeUnknown, RequestRejected
from pbft.core.messages import Reply, SignedRequest
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import NOON
from tests.client.fake_replicas import World, signer_of
from tests.clients.backend import ALICE, BOB, ChatBackend, chat_of
from tests.clients.outbox_runs import Crash, EndingWorld, crash, deliver, name_of, problems, queue, said, states


@pytest.fixture
def backend() -> Iterator[ChatBackend]:
    backend = ChatBackend()
    backend.do(ALICE, Register("Alice"))
    backend.do(BOB, Register("Bob"))
    backend.create(ALICE, "garden")
    backend.do(BOB, Join("garden"))
    yield backend
    backend.service.close()


@pytest.fixture
async def world(
    tmp_path: Path, nursery: trio.Nursery, backend: ChatBackend, autojump_clock: MockClock
) -> AsyncIterator[EndingWorld]:
    world = EndingWorld(tmp_path, backend)
    world.sequence = backend.sequence
    world.nursery = nursery
    async with chat_of(world, BOB) as chat:
        world.bob = chat
        yield world


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return outbox_path(tmp_path / "identity.toml", b"g" * 32)


# -- dying


async def test_messages_are_delivered_in_their_order(world: EndingWorld, backend: ChatBackend, path: Path) -> None:
    queue(path, "one", "two", "three")
    assert states(path) == [State.PENDING] * 3
    assert await deliver(world, path) is None
    assert states(path) == [State.VERIFIED] * 3
    assert said(backend) == ["one", "two", "three"]
    assert await deliver(world, path) is None
    assert said(backend) == ["one", "two", "three"]


async def test_it_may_die_at_every_step_and_nothing_is_lost_or_said_twice(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    expected: list[str] = []
    step = deaths = 0
    died = True
    while died:
        for after in (False, True):
            bodies = [f"{word} {step} {after}" for word in ("one", "two")]
            expected += bodies
            queue(path, *bodies)
            died = await crash(world, path, (step, after))
            deaths += died
            assert await deliver(world, path) is None
            assert said(backend) == expected
            assert set(states(path)) == {State.VERIFIED}
        step += 1
    assert deaths == 12, "each of two messages is named, ordered and verified"
    assert all(len(wires) == 1 for wires in world.sent.values()), "the same bytes under the same name"


async def test_it_may_die_again_and_again(world: EndingWorld, backend: ChatBackend, path: Path) -> None:
    queue(path, "one", "two", "three")
    while await crash(world, path, (1, False)):
        pass
    assert said(backend) == ["one", "two", "three"]
    assert all(len(wires) == 1 for wires in world.sent.values())


async def test_an_outcome_that_does_not_come_leaves_the_message_where_it_is(
    world: EndingWorld, backend: ChatBackend, path: Path, autojump_clock: MockClock
) -> None:
    queue(path, "one", "two")

    def silence(request: SignedRequest) -> tuple[list[Reply], list[Reply]]:
        World.execute(world, request)
        return [], []

    world.execute = silence  # type: ignore[method-assign]  # the group orders, and every answer is lost
    with pytest.raises(OutcomeUnknown, match="stays in it"):
        await deliver(world, path)
    assert states(path) == [State.PENDING] * 2
    del world.execute
    assert await deliver(world, path) is None
    assert said(backend) == ["one", "two"]


# -- sessions that were ended


async def test_what_was_posted_is_found_though_its_session_ended_and_it_was_edited_or_deleted(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    for number, change in enumerate((None, Edit, Delete)):
        queue(path, f"message {number}")
        assert await crash(world, path, (1, False)), "ordered, and nobody wrote it down"
        backend.do(ALICE, Post(room="garden", body="meanwhile"))
        if change is Edit:
            backend.do(BOB, Edit("garden", MessageIndex(2 * number), "edited"))
        elif change is Delete:
            backend.do(ALICE, Delete("garden", MessageIndex(2 * number)))
        world.ended.add(name_of(path).session)
        assert await deliver(world, path) is None
    assert said(backend) == ["message 0", "meanwhile", "edited", "meanwhile", "", "meanwhile"]
    assert states(path) == [State.VERIFIED] * 3


async def test_what_was_not_posted_when_its_session_ended_is_sent_under_another_name(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    queue(path, "one", "two")
    backend.do(ALICE, Post(room="garden", body="one"))
    assert await crash(world, path, (0, True)), "named, and not sent"
    backend.do(BOB, Post(room="garden", body="one"))
    ended = name_of(path).session
    world.ended.add(ended)
    for die in ((0, False), (0, True), (1, False), (1, True)):
        assert await crash(world, path, die)
    assert await deliver(world, path) is None
    assert said(backend) == ["one", "one", "one", "two"], "others said the same: the nonce tells them apart"


async def test_when_the_room_has_forgotten_nobody_can_tell_and_it_is_not_sent_again(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    queue(path, "one", "two")
    assert await crash(world, path, (1, False))
    world.ended.add(name_of(path).session)
    backend.do(ALICE, Archive("garden", archived=True))
    backend.forget_events("garden")
    assert await deliver(world, path) is None
    assert states(path) == [State.REFUSED] * 2
    assert problems(path)[0].startswith(UNCLEAR)
    assert said(backend) == ["one"]


async def test_a_group_that_refuses_every_session_is_not_asked_for_ever(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    queue(path, "one")

    class AllButReads(set[int]):
        def __contains__(self, session: object) -> bool:
            return world.bob is None or session != world.bob.client.session

    world.ended = AllButReads()
    with pytest.raises(RequestRejected, match="clock"):
        await deliver(world, path)


# -- refusals


async def test_a_refused_message_says_why_and_the_others_go_on(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    backend.create(ALICE, "cellar")
    queue(path, "one")
    queue(path, "two", room=RoomName("cellar"))
    queue(path, "three", room=RoomName("nowhere"))
    queue(path, "four")
    assert await deliver(world, path) is None
    assert states(path) == [State.VERIFIED, State.REFUSED, State.REFUSED, State.VERIFIED]
    _, not_a_member, no_such_room, _ = problems(path)
    assert not_a_member == "join #cellar first"
    assert no_such_room == "there is no room of this name"
    assert said(backend) == ["one", "four"]


async def test_what_can_never_be_sent_does_not_keep_the_others_back(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    """As an older version of the program may have queued it, and begun to deliver it."""
    queue(path, "one", "two", "three")
    with Outbox.open(path) as outbox:
        outbox._execute("UPDATE entries SET thread = ? WHERE number = 2", ("x" * 200_000,))
        outbox._execute("UPDATE entries SET nonce = ? WHERE number = 1", (b"n" * 300_000,))
    assert await deliver(world, path) is None
    assert states(path) == [State.REFUSED, State.REFUSED, State.VERIFIED]
    assert "no group takes it" in problems(path)[1]
    assert said(backend) == ["three"]


async def test_what_was_ordered_and_cannot_be_looked_at_any_more_is_given_up(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    backend.do(ALICE, Create("attic", "", private=True))
    backend.do(ALICE, Invite("attic", "Bob"))
    backend.do(BOB, Join("attic"))
    world.sequence = backend.sequence
    queue(path, "one", room=RoomName("attic"))
    with pytest.raises(Crash):
        await deliver(world, path, die=(1, True))
    assert states(path) == [State.ORDERED]
    backend.do(ALICE, Kick("attic", "Bob"))
    world.sequence = backend.sequence
    for _ in range(2):
        assert await deliver(world, path) is None
        assert states(path) == [State.ORDERED]
        assert "cannot be looked at any more" in problems(path)[0]
    with Outbox.open(path) as outbox:
        outbox._execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO entries"
            " (state, room, body, action, nonce, queued_ms) SELECT 'verified', 'garden', 'x', 0, x'00', 0 FROM n",
            (DONE_KEPT_MAX,),
        )
    queue(path, "two")
    assert State.ORDERED not in states(path)


async def test_what_is_refused_for_now_waits_and_those_behind_it_too(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    backend.do(ALICE, SetSlowMode("garden", 60))
    queue(path, "one", "two", "three")
    waiting = await deliver(world, path)
    assert waiting is not None
    assert waiting.entry.draft.body == "two"
    assert waiting.retry_ms > NOON
    assert states(path) == [State.VERIFIED, State.PENDING, State.PENDING]
    assert "wait" in problems(path)[1]
    backend.do(ALICE, SetSlowMode("garden", 0))
    world.sequence = backend.sequence
    assert await deliver(world, path) is None
    assert said(backend) == ["one", "two", "three"]


async def test_who_is_not_registered_delivers_nothing(world: EndingWorld, backend: ChatBackend, path: Path) -> None:
    queue(path, "one")
    async with chat_of(world, signer_of(9)) as stranger:
        with pytest.raises(ChatError) as caught:
            await deliver(world, path, chat=stranger)
    assert caught.value.code is ErrorCode.NOT_REGISTERED
    assert states(path) == [State.PENDING]


async def test_what_was_sent_with_another_key_waits_until_that_key_is_revoked(
    world: EndingWorld, backend: ChatBackend, path: Path
) -> None:
    queue(path, "one", "two")
    assert await crash(world, path, (1, False))
    other = signer_of(7)
    invitation = signer_of(8)
    backend.do(BOB, InviteDevice(invitation.public_key, Milliseconds(NOON + 3_600_000)))
    proof = bearer.prove(invitation, Purpose.DEVICE, other.public_key)
    backend.do(other, AddDevice(invitation.public_key, proof))
    async with chat_of(world, other) as chat:
        with pytest.raises(ClientFailure, match="may be posted still"):
            await deliver(world, path, chat=chat)
        backend.do(other, RevokeDevice(BOB.public_key))
        assert await deliver(world, path, chat=chat) is None
    assert said(backend) == ["one", "two"]
