"""The SDK against four replicas that run the real chat: accounts, rooms, messages, receipts, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from trio.testing import MockClock

from chatsvc.application.answers import RoomDetails
from chatsvc.application.queries import ListRooms, SearchMessages, ShowRoom
from chatsvc.application.results import ErrorCode, Posted
from chatsvc.application.schema import MessageKind
from clients.console import Output, report_lies
from clients.sdk import (
    AuthenticationFailed,
    Chat,
    ChatError,
    ClientFailure,
    ExitCode,
    NotEnoughReplicas,
    OutcomeUnknown,
)
from crypto.canonical import encode
from crypto.signing import Ed25519Signer, PublicKey
from pbft.core.application import EventItem
from pbft.core.messages import Reply, ToClient
from pbft.core.types import EventIndex, SequenceNumber
from tests.chatsvc.fakes import Service
from tests.client.fake_replicas import World, signer_of
from tests.harness.waiting import until

ALICE, BOB = signer_of(1), signer_of(2)


class ChatBackend:
    """The chat application, executed once for all the fake replicas."""

    def __init__(self) -> None:
        self.service = Service()

    def execute(self, device: PublicKey, operation: bytes, sequence: SequenceNumber) -> bytes:
        self.service.sequence = sequence - 1
        return self.service.execute(device, operation).result

    def query(self, device: PublicKey, query: bytes) -> bytes:
        return self.service.application.query(self.service.rows, device, query)

    def events(self, topic: bytes) -> Sequence[EventItem] | None:
        return self.service.application.events(self.service.rows, ALICE.public_key, topic, EventIndex(0), 10_000)


@asynccontextmanager
async def chat_of(world: World, signer: Ed25519Signer = ALICE, *, timeout_s: float = 10) -> AsyncIterator[Chat]:
    async with Chat.connect(world.directory, signer, timeout=timeout_s, dial=world.dial) as chat:
        await chat.client.wait_connected(4)
        yield chat


@asynccontextmanager
async def alice_in_garden(world: World) -> AsyncIterator[Chat]:
    async with chat_of(world) as chat:
        await chat.register("Alice")
        await chat.create("#Garden", "plants and such")
        yield chat


async def refusal(call: object) -> ErrorCode:
    with pytest.raises(ChatError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.exit_code == ExitCode.REJECTED
    assert str(caught.value) == caught.value.detail
    return caught.value.code


async def test_a_write_says_what_made_it_true(world: World) -> None:
    async with chat_of(world) as chat:
        registered = await chat.register("Alice")
        assert registered.value.name == "Alice"
        assert (registered.receipt.sequence, registered.receipt.index, registered.receipt.needed) == (1, 0, 2)
        assert len(registered.receipt.vouchers) >= 2
        created = await chat.create("#Garden", "plants")
        assert created.value.room == "garden"
        posted = await chat.post("garden", "hello", nonce=b"n", claimed_ms=5)
        assert posted.value == Posted(created.value.room, posted.value.index)
        assert posted.receipt.sequence == 3
        assert chat.lies() == {}
        assert len(chat.contradictions) == 0


async def test_a_lie_about_a_result_is_told_in_one_line_and_its_proof_is_kept(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "data"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    liar = world.replicas[3]

    def lie(signed: ToClient) -> ToClient:
        message = signed.message
        if not isinstance(message, Reply):
            return signed
        return liar.rules.sign_reply(
            replace(message, results=tuple(replace(r, result=b"?") for r in message.results))
        )

    liar.lie = lie
    async with chat_of(world) as chat:
        await chat.register("Alice")
        await until(lambda: chat.evidence)
        report_lies(chat, Output(as_json=True))
    (evidence,) = chat.evidence
    assert (evidence.code, evidence.culprit) == ("E9", 3)
    (path,) = home.rglob("*.cbor")
    said = capsys.readouterr()
    first, *_ = said.err.splitlines()
    assert first.startswith("replica 3 lied: its reply at 1 contradicts replicas ")
    assert first.endswith(f"; proof kept in {path}")
    assert said.out == ""


async def test_what_is_written_is_read_back(world: World) -> None:
    async with alice_in_garden(world) as chat:
        await chat.post("#garden", "hello")
        await chat.post("garden", "waves", action=True, reply_to=0, claimed_ms=5, nonce=b"n")
        first, second = await chat.history("garden")
        assert (first.body, first.author, first.kind) == ("hello", "Alice", MessageKind.TEXT)
        assert (second.kind, second.reply_to, second.claimed_ms, second.nonce) == (MessageKind.ACTION, 0, 5, b"n")
        assert (await chat.whoami()).name == "Alice"
        assert [header.room async for header in chat.rooms()] == ["garden"]
        assert [member.name async for member in chat.members("garden")] == ["Alice"]
        assert await chat.message_count("#garden") == 2
        assert [message.body for message in await chat.search("hello")] == ["hello"]
        async with chat_of(world, BOB) as bob:
            await bob.register("Bob")
            await bob.join("garden")
            assert [member.name async for member in bob.members("garden")] == ["Alice", "Bob"]
            assert (await bob.leave("garden")).value.room == "garden"


async def test_history_pages_in_both_directions_and_over_what_one_answer_holds(world: World) -> None:
    async with alice_in_garden(world) as chat:
        assert await chat.history("garden") == await chat.history("garden", after=-1) == ()
        for number in range(150):
            await chat.post("garden", f"{number} " + "x" * 4000)

        async def indices(limit: int, *, before: int | None = None, after: int | None = None) -> list[int]:
            return [
                message.index for message in await chat.history("garden", before=before, after=after, limit=limit)
            ]

        assert await indices(5) == [145, 146, 147, 148, 149]
        assert await indices(3, before=10) == [7, 8, 9]
        assert await indices(3, before=2) == [0, 1]
        assert await indices(3, after=10) == [11, 12, 13]
        assert await indices(3, after=148) == [149]
        assert await indices(3, after=149) == await indices(3, before=0) == await indices(0) == []
        assert await indices(3, after=-1) == [0, 1, 2]
        assert await indices(1000) == await indices(1000, after=-1) == list(range(150))
        assert await indices(120, after=10) == list(range(11, 131))
        assert [message.index for message in await chat.search("from:Alice", limit=120)] == list(range(149, 29, -1))


async def test_messages_stream_as_they_come(world: World) -> None:
    async with alice_in_garden(world) as chat, chat.subscribe("#garden") as messages:
        for number in count():
            await chat.post("garden", f"message {number}")
            message = await anext(messages)
            assert (message.index, message.body) == (number, f"message {number}")
            if number == 5:
                break


async def test_long_lists_come_whole(world: World) -> None:
    async with chat_of(world) as chat:
        await chat.register("Alice")
        for number in range(205):
            await chat.create(f"room-{number:03}")
        assert [header.room async for header in chat.rooms()] == [f"room-{number:03}" for number in range(205)]


async def test_a_reading_says_what_makes_it_true(world: World) -> None:
    async with alice_in_garden(world) as chat:
        reading = await chat.ask(ShowRoom("garden"))
        assert isinstance(reading.value, RoomDetails)
        assert (reading.sequence, reading.needed, reading.ordered) == (2, 2, False)
        assert (await chat.ask(ListRooms(), linearizable=True)).ordered


# -- what goes wrong


async def test_the_chats_refusals_are_errors_with_a_code(world: World) -> None:
    async with chat_of(world) as chat:
        assert await refusal(chat.create("garden")) is ErrorCode.NOT_REGISTERED
        assert await refusal(chat.whoami()) is ErrorCode.NOT_REGISTERED
        assert await refusal(chat.register("a b")) is ErrorCode.BAD_NAME
        await chat.register("Alice")
        assert await refusal(chat.join("garden")) is ErrorCode.NO_SUCH_ROOM
        assert await refusal(chat.join("two words")) is ErrorCode.BAD_NAME
        assert await refusal(chat.history("garden")) is ErrorCode.NO_SUCH_ROOM
        await chat.create("garden")
        assert await refusal(chat.create("garden")) is ErrorCode.ROOM_EXISTS
        assert await refusal(chat.post("garden", "")) is ErrorCode.BAD_BODY
        assert await refusal(chat.post("garden", "x" * 5000)) is ErrorCode.BODY_TOO_LONG
        assert await refusal(chat.post("garden", "x", reply_to=7)) is ErrorCode.NO_SUCH_MESSAGE
        assert await refusal(chat.post("garden", "x", nonce=b"n" * 17)) is ErrorCode.MALFORMED
        assert await refusal(chat.search('"open')) is ErrorCode.BAD_QUERY
        assert await refusal(chat.search("\ud800")) is ErrorCode.BAD_QUERY
        assert await refusal(chat.register("\ud800")) is ErrorCode.MALFORMED
        assert await refusal(chat.ask(SearchMessages(text="x" * 70_000))) is ErrorCode.BAD_QUERY
        assert await refusal(chat.subscribe("elsewhere").__aenter__()) is ErrorCode.NO_SUCH_ROOM


async def test_an_unknown_outcome_can_be_retried_and_happens_once(world: World, autojump_clock: MockClock) -> None:
    async with alice_in_garden(world) as chat:
        for replica in world.replicas:
            replica.silent = True
        with pytest.raises(OutcomeUnknown, match="may have been carried out") as caught:
            await chat.post("garden", "once")
        assert caught.value.exit_code == ExitCode.UNKNOWN
        for replica in world.replicas:
            replica.silent = False
        done = await chat.retry(caught.value)
        assert isinstance(done.value, Posted)
        assert [message.body for message in await chat.history("garden")] == ["once"]


async def test_a_read_that_nobody_answers_is_unknown_and_not_retried(world: World, autojump_clock: MockClock) -> None:
    async with chat_of(world) as chat:
        for replica in world.replicas:
            replica.silent = True
        with pytest.raises(OutcomeUnknown) as caught:
            await chat.whoami()
        with pytest.raises(ValueError, match="only a write"):
            await chat.retry(caught.value)


async def test_differing_answers_are_settled_in_the_order(world: World, autojump_clock: MockClock) -> None:
    async with alice_in_garden(world) as chat:
        for number, replica in enumerate(world.replicas):
            replica.answers = partial(lambda number, _: encode(["rooms", [], f"{number}"]), number)
        assert [header.room async for header in chat.rooms()] == ["garden"]


async def test_agreed_nonsense_is_no_answer(world: World) -> None:
    async with chat_of(world) as chat:
        for replica in world.replicas:
            replica.answers = lambda _: b"nonsense"
        with pytest.raises(ClientFailure, match="does not understand") as caught:
            await chat.whoami()
        assert caught.value.exit_code == ExitCode.DISAGREE
        for replica in world.replicas:
            replica.answers = lambda _: encode(["rooms", [], None])
        with pytest.raises(ClientFailure, match="RoomList in place of AccountDetails"):
            await chat.whoami()


async def test_without_replicas_there_is_no_chat(world: World, autojump_clock: MockClock) -> None:
    for replica in world.replicas:
        replica.down = True
    with pytest.raises(NotEnoughReplicas) as caught:
        async with Chat.connect(world.directory, ALICE, timeout=3, dial=world.dial):
            pass
    assert caught.value.exit_code == ExitCode.UNKNOWN
    assert all("nobody listens" in str(link) for link in caught.value.links)


async def test_a_refused_user_is_told(world: World) -> None:
    for replica in world.replicas:
        replica.refuses = "too many connections"
    async with Chat.connect(world.directory, ALICE, dial=world.dial) as chat:
        with pytest.raises(AuthenticationFailed, match="too many connections") as caught:
            await chat.whoami()
        assert caught.value.exit_code == ExitCode.AUTHENTICATION
        assert all(link.refused for link in chat.links())
