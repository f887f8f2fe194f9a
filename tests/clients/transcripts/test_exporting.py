"""Rooms exported from replicas that run the real chat, and verified from the files alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from chatsvc.application.operations import Delete, Edit, Join, OpenPoll, Post, React, Register, Vote
from chatsvc.application.queries import DigestMessages, ReadHistory, decode_query
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MessageIndex, MessageKind
from clients.sdk import ChatError, ClientFailure
from clients.transcripts.checking import Proven, check_file, check_proof
from clients.transcripts.commands import proof_path, verify_file
from clients.transcripts.exporting import ROUNDS_MAX, export, receipt
from clients.transcripts.proof import Form, NotProven, decode_proof, encode_proof
from clients.transcripts.rendering import render
from tests.chatsvc.fakes import replay_sample, sample_messages
from tests.client.fake_replicas import World
from tests.clients.backend import ALICE, BOB, ChatBackend, chat_of


@pytest.fixture
def backend() -> Iterator[ChatBackend]:
    backend = ChatBackend()
    yield backend
    backend.service.close()


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery, backend: ChatBackend) -> World:
    world = World(tmp_path, backend=backend)
    world.nursery = nursery
    return world


def furnished(backend: ChatBackend) -> None:
    """A room in which everything has happened that a message can go through."""
    do = backend.do
    do(ALICE, Register("Alice"))
    do(BOB, Register("Bob"))
    backend.create(ALICE, "garden")
    do(BOB, Join("garden"))
    do(ALICE, Post(room="garden", body="hello @Bob", thread="Seeds", nonce=b"n"))
    do(BOB, Post(room="garden", body="waves", kind=MessageKind.ACTION, reply_to=MessageIndex(0)))
    do(ALICE, Post(room="garden", body="to be deleted", claimed_ms=5))  # type: ignore[arg-type]  # an integer
    do(ALICE, OpenPoll(room="garden", question="tea?", options=("yes", "no")))
    do(ALICE, Edit("garden", MessageIndex(0), "hello Bob"))
    do(BOB, Delete("garden", MessageIndex(1)))
    do(BOB, React("garden", MessageIndex(0), "👍"))
    do(BOB, Vote("garden", MessageIndex(3), 1))


def written(proven: Proven) -> bytes:
    return "".join(piece.text for piece in render(proven.form, proven.room, proven.first, proven.messages)).encode()


async def test_a_room_is_exported_and_verified_in_every_form(
    world: World, backend: ChatBackend, tmp_path: Path
) -> None:
    furnished(backend)
    async with chat_of(world) as chat:
        for form in (Form.TEXT, Form.JSONL, Form.HTML):
            proof = await export(chat, "#garden", form)
            proven = check_proof(world.group, proof)
            file = tmp_path / f"garden.{form.value}"
            file.write_bytes(written(proven))
            proof_path(file).write_bytes(encode_proof(proof))
            assert verify_file(world.group, file) == proven
            assert proven.messages == await chat.history("garden", after=-1, limit=100)
            assert (proven.reaches_beginning, proven.reaches_end) == (True, True)
            file.write_bytes(file.read_bytes().replace(b"hello Bob", b"hello Eve"))
            with pytest.raises(NotProven, match=r"\(message 0\)"):
                verify_file(world.group, file)
            proof_path(file).unlink()
            with pytest.raises(NotProven, match="is missing"):
                verify_file(world.group, file)


async def test_a_receipt_is_of_one_message(world: World, backend: ChatBackend, tmp_path: Path) -> None:
    furnished(backend)
    async with chat_of(world) as chat:
        file = tmp_path / "receipt"
        file.write_bytes(encode_proof(await receipt(chat, "garden", 2)))
        (message,) = verify_file(world.group, file).messages
        assert (message.index, message.body) == (2, "to be deleted")
        with pytest.raises(ChatError, match="it has 0 to 3") as caught:
            await receipt(chat, "garden", 4)
        assert caught.value.code is ErrorCode.NO_SUCH_MESSAGE
        with pytest.raises(ChatError, match="it has 0 to 3"):
            await export(chat, "garden", Form.TEXT, first=3, last=1)


async def test_a_piece_of_a_room_says_that_it_is_one(world: World, backend: ChatBackend) -> None:
    furnished(backend)
    async with chat_of(world) as chat:
        proven = check_proof(world.group, await export(chat, "garden", Form.TEXT, first=1, last=2))
        assert [message.index for message in proven.messages] == [1, 2]
        assert (proven.reaches_beginning, proven.reaches_end) == (False, False)


async def test_what_changes_while_it_is_read_is_read_again(world: World, backend: ChatBackend) -> None:
    furnished(backend)
    edits = 0

    def edit_first(query: bytes) -> None:
        nonlocal edits
        if isinstance(decode_query(query), DigestMessages) and edits < 2:
            edits += 1
            backend.do(ALICE, Edit("garden", MessageIndex(2), f"edited {edits}"))

    backend.before_query = edit_first
    async with chat_of(world) as chat:
        proven = check_proof(world.group, await export(chat, "garden", Form.TEXT))
    assert edits == 2
    assert proven.messages[2].body == "edited 2"


async def test_a_room_that_never_holds_still_is_given_up(world: World, backend: ChatBackend) -> None:
    furnished(backend)
    changes = 0
    has_read = False

    def edit(query: bytes) -> None:
        """Whenever history was read, and before its digests are."""
        nonlocal changes, has_read
        if isinstance(decode_query(query), ReadHistory):
            has_read = True
        elif has_read and isinstance(decode_query(query), DigestMessages):
            has_read = False
            changes += 1
            backend.do(ALICE, Edit("garden", MessageIndex(0 if changes % 2 else 2), f"edited {changes}"))

    backend.before_query = edit
    async with chat_of(world) as chat:
        with pytest.raises(ClientFailure, match="again and again"):
            await export(chat, "garden", Form.TEXT)
    assert changes >= ROUNDS_MAX


async def test_a_liar_has_no_part_in_the_proof(world: World, backend: ChatBackend) -> None:
    furnished(backend)
    world.replicas[1].answers = lambda _query: b"a lie"
    async with chat_of(world) as chat:
        assert 1 not in check_proof(world.group, await export(chat, "garden", Form.TEXT)).replicas


async def test_a_log_of_1250_messages_is_proven_in_two_parts(world: World, backend: ChatBackend) -> None:
    said = sample_messages()
    replay_sample(backend.service, [said[place % len(said)] for place in range(1250)])
    world.sequence = backend.sequence
    told: list[tuple[int, int]] = []
    async with chat_of(world) as chat:
        proof = await export(chat, "ubuntu", Form.TEXT, progress=lambda done, total: told.append((done, total)))
    assert told == [(1000, 1250), (1250, 1250)]
    proven = check_proof(world.group, proof)
    assert (len(proven.messages), len(proven.parts), proven.reaches_end) == (1250, 2, True)
    data, file = encode_proof(proof), written(proven)
    check_file(proven, file)
    dice = random.Random(1250)  # noqa: S311 - a sample
    for place in dice.sample(range(len(data)), 40):
        with pytest.raises(NotProven):
            check_proof(world.group, decode_proof(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]))
    for place in dice.sample(range(len(file)), 40):
        with pytest.raises(NotProven, match=f"line {file[:place].count(10) + 1} of"):
            check_file(proven, file[:place] + bytes([file[place] ^ 4]) + file[place + 1 :])
