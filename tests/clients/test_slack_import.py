"""A Slack export becomes rooms, people, messages, threads and reactions, and not twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from chatsvc.application.answers import History, Message
from chatsvc.application.operations import Delete, Edit, Join, Post, Register, decode_operation
from chatsvc.application.queries import ReadHistory
from chatsvc.application.schema import MessageKind
from clients.imported_users import ImportedUsers, user_signer
from clients.irc_import import Importer
from clients.irc_log import parse_log
from clients.slack_export import ExportError, account_name, read_channel, read_export
from clients.slack_import import TAKEN_SUFFIX, ChannelImport, Imported, message_nonce, topic_of
from clients.slack_text import pieces_of, plain_text
from pbft.core.messages import Reply, SignedRequest
from tests.client.fake_replicas import World, signer_of
from tests.clients.backend import ALICE, ChatBackend, chat_of
from tests.clients.slack import write_export

PEOPLE = {"U1": "Ada"}
CHANNELS = {"C1": "general"}


@pytest.fixture
def backend() -> Iterator[ChatBackend]:
    backend = ChatBackend()
    backend.do(ALICE, Register("Alice"))
    backend.create(ALICE, "general")
    yield backend
    backend.service.close()


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery, backend: ChatBackend) -> World:
    world = World(tmp_path, backend=backend)
    world.sequence = backend.sequence
    world.nursery = nursery
    return world


def history(backend: ChatBackend) -> tuple[Message, ...]:
    page = backend.service.ask(ReadHistory(room="general"), ALICE.public_key)
    assert isinstance(page, History)
    return page.messages


class Interrupted(Exception):  # noqa: N818 - named for what it is
    """Somebody pressed Ctrl-C."""


async def import_general(
    world: World, directory: Path, *, stop_after: int | None = None, timeout_s: float = 10
) -> Imported:
    export = read_export(directory)
    left = stop_after

    def progress() -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left == 0:
                raise Interrupted

    opening = ImportedUsers.open(
        world.directory, ALICE, taken_suffix=TAKEN_SUFFIX, timeout_s=timeout_s, dial=world.dial
    )
    async with chat_of(world) as chat, opening as users:
        run = ChannelImport(export, export.channels[0], users, "general")
        await run.look(chat)
        return await run.run(read_channel(export, export.channels[0]), progress)


async def test_a_channel_is_imported_with_threads_reactions_and_links(
    world: World, backend: ChatBackend, tmp_path: Path
) -> None:
    backend.do(signer_of(77), Register("Ada_L"))
    done = await import_general(world, write_export(tmp_path / "export"))
    assert (done.messages, done.found, done.reactions, done.refused) == (8, 0, 2, [])
    hello, hi, apart, waves, built, late, *pieces = history(backend)
    assert hello.body == "hello @bob & @here: see the page (https://example.org) in #random"
    assert (hello.author, hello.thread, hello.claimed_ms) == ("Ada_L_slack", hello.body[:48].strip(), 1577872801000)
    assert [(reaction.reaction, reaction.count) for reaction in hello.reactions] == [(":wave:", 2)]
    assert (hi.body, hi.author, hi.thread, hi.reply_to) == ("hi", "bob", hello.thread, hello.index)
    assert (apart.body, apart.thread, apart.reply_to) == ("apart", None, None)
    assert (waves.author, waves.kind) == ("bob_2", MessageKind.ACTION)
    assert (built.author, built.body) == ("Build_bot", "log.txt: https://example.org/log")
    assert (late.thread, late.reply_to) == ("thread 1577000000.000", None)
    assert [len(piece.body) for piece in pieces] == [4096, 904]


async def test_an_interrupted_import_goes_on_where_it_stopped(
    world: World, backend: ChatBackend, tmp_path: Path
) -> None:
    directory = write_export(tmp_path / "export")
    with pytest.RaisesGroup(Interrupted, allow_unwrapped=True, flatten_subgroups=True):
        await import_general(world, directory, stop_after=2)
    assert len(history(backend)) == 2
    done = await import_general(world, directory)
    assert (done.messages, done.found, done.reactions) == (6, 2, 0)
    again = await import_general(world, directory)
    assert (again.messages, again.found, again.reactions, again.refused) == (0, 8, 0, [])
    assert history(backend)[1].thread == history(backend)[0].thread
    assert len(history(backend)) == 8


async def test_what_was_deleted_or_edited_since_is_not_said_again(
    world: World, backend: ChatBackend, tmp_path: Path
) -> None:
    directory = write_export(tmp_path / "export")
    with pytest.RaisesGroup(Interrupted, allow_unwrapped=True, flatten_subgroups=True):
        await import_general(world, directory, stop_after=5)
    before = history(backend)
    backend.do(ALICE, Delete("general", before[0].index))
    backend.do(user_signer(ALICE, "slack/U2"), Edit("general", before[1].index, "hi!", b"another"))
    world.sequence = backend.sequence
    done = await import_general(world, directory)
    assert (done.found, done.messages, done.refused) == (5, 3, [])
    assert [message.body for message in history(backend)[:3]] == ["", "hi!", "apart"]
    assert history(backend)[2:5] == before[2:]
    assert (await import_general(world, directory)).messages == 0


async def test_nobody_else_can_make_a_message_pass_for_imported(
    world: World, backend: ChatBackend, tmp_path: Path
) -> None:
    """Neither by posting first, for which he has no nonce, nor by copying one."""
    directory = write_export(tmp_path / "export")
    export = read_export(directory)
    eve = signer_of(78)
    backend.do(eve, Register("Eve"))
    backend.do(eve, Join("general"))
    for message in read_channel(export, export.channels[0]).messages:
        nonce = message_nonce(eve, export.channels[0], message, 0)
        backend.do(eve, Post(room="general", body="mine", nonce=nonce))
    nonce = message_nonce(ALICE, export.channels[0], read_channel(export, export.channels[0]).messages[0], 0)
    backend.do(eve, Post(room="general", body="copied", nonce=nonce))
    world.sequence = backend.sequence
    done = await import_general(world, directory)
    assert (done.found, done.messages) == (0, 8)


async def test_an_outcome_that_does_not_come_is_waited_for_and_nothing_is_said_twice(
    world: World, backend: ChatBackend, tmp_path: Path, autojump_clock: MockClock
) -> None:
    posts = 0

    def forgetful(request: SignedRequest) -> tuple[list[Reply], list[Reply]]:
        """The group orders the second post, and every first answer is lost."""
        nonlocal posts
        posts += any(isinstance(decode_operation(each), Post) for each in request.message.operations)
        replies = World.execute(world, request)
        return ([], []) if posts == 2 and next(lost, False) else replies

    lost = iter([True])
    world.execute = forgetful  # type: ignore[method-assign]
    done = await import_general(world, write_export(tmp_path / "export"), timeout_s=5)
    assert (done.messages, len(history(backend))) == (8, 8)
    assert next(lost, None) is None, "it was lost indeed"


async def test_a_log_is_imported_once_though_its_messages_were_deleted(
    world: World, backend: ChatBackend, tmp_path: Path
) -> None:
    """Three lines of one minute, which only their number tells apart."""
    text = "".join(f"[10:00] <ada> {word}\n" for word in ("one", "two", "three"))
    log = parse_log(tmp_path / "general-2020-01-01.txt", text, b"d" * 32)
    for lines, deleted, expected in ((2, 0, (2, 0)), (3, 1, (1, 2)), (3, 2, (0, 3)), (3, 2, (0, 3))):
        opening = Importer.open(world.directory, ALICE, "general", timeout_s=10, dial=world.dial)
        async with chat_of(world) as chat, opening as importer:
            await importer.look(chat)
            done = await importer.run(log, log.lines[:lines], lambda: None)
            assert ((done.messages, done.found), done.refused) == (expected, [])
            if history(backend)[deleted].deleted_by is None:
                await chat.delete("general", deleted)
    assert [message.body for message in history(backend)] == ["", "", ""]


# -- texts and names


@pytest.mark.parametrize(
    ("slack", "plain"),
    [
        ("<@U1> and <@U9> and <@U8|eve>", "@Ada and @U9 and @eve"),
        ("<#C1> <#C9|gone>", "#general #gone"),
        ("<!channel> <!subteam^S1|@ops> <!date^1^{date}|today> <!subteam^S1>", "@channel @ops today @subteam"),
        (
            "<https://a.org> <https://a.org|https://a.org> <https://a.org|a>",
            "https://a.org https://a.org a (https://a.org)",
        ),
        ("<mailto:a@b.c|a@b.c>", "a@b.c"),
        ("1 &lt; 2 &amp;amp; 3", "1 < 2 &amp; 3"),
        ("a < b, <>", "a < b, "),
        ("bell\u0007\r\nline\ttab", "bell\nline\ttab"),
    ],
)
def test_what_slack_writes_is_read_as_people_see_it(slack: str, plain: str) -> None:
    assert plain_text(slack, people=PEOPLE, channels=CHANNELS) == plain


def test_long_texts_are_cut_where_words_end_and_nothing_is_lost() -> None:
    text = " ".join(f"wörd{number}" for number in range(100))
    pieces = pieces_of(text, 64)
    assert " ".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= 64
    assert "".join(pieces_of("€" * 50, 64)) == "€" * 50


@pytest.mark.parametrize(
    ("slack", "name"),
    [
        ("Ada Lovelace", "Ada_Lovelace"),
        ("#@:", ""),
        ("", ""),
        ("a" * 90, "a" * 26),
        ("\u0301x", ""),
        ("ß" * 9, "ß" * 9),
    ],
)
def test_people_get_names_that_an_account_can_have(slack: str, name: str) -> None:
    assert account_name(slack) == name


def test_a_topic_is_as_long_as_a_room_takes() -> None:
    assert topic_of("All of\nus") == "All of us"
    assert len(topic_of("ü" * 500).encode()) == 256


# -- what cannot be read


def read_all(directory: Path) -> None:
    export = read_export(directory)
    read_channel(export, export.channels[0])


def damage(directory: Path, file: str, change: object) -> None:
    (directory / file).write_text(change if isinstance(change, str) else json.dumps(change))


@pytest.mark.parametrize(
    ("file", "change", "problem"),
    [
        ("channels.json", "{", r"channels\.json: it is no JSON list"),
        ("channels.json", [{"id": "C1"}], r"channels\.json: record 1: .*`name`"),
        ("channels.json", [{"id": "C1", "name": "../etc"}], "cannot be the name of a folder"),
        ("users.json", [{"id": "U1"}, {"id": 7}], r"users\.json: record 2: "),
        (
            "general/2020-01-02.json",
            [{"ts": "1.0", "user": "U1"}, {"ts": "soon"}],
            "record 2: 'ts' is no",
        ),
        ("general/2020-01-02.json", [{"ts": "1.0", "text": "x"}], "record 1: it does not say who"),
        ("general/2020-01-02.json", [{"ts": "1.0", "user": "U1", "thread_ts": "x"}], "'thread_ts' is no time"),
        ("general/2020-01-02.json", "[" * 100_000, "it is no JSON list"),
    ],
)
def test_errors_name_the_file_and_the_record(tmp_path: Path, file: str, change: object, problem: str) -> None:
    directory = write_export(tmp_path / "export")
    damage(directory, file, change)
    with pytest.raises(ExportError, match=problem):
        read_all(directory)


def test_a_folder_that_is_no_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"channels\.json: there is no such file"):
        read_export(tmp_path)
