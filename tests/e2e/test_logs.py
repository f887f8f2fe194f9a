"""Real logs, imported over real processes while backups are killed and restarted."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest

from chatsvc.application.answers import Message
from chatsvc.application.tokens import tokens
from clients.demo import sample_log
from clients.import_command import ensure_room
from clients.irc_import import Importer, line_nonce
from clients.irc_log import Log, read_log
from clients.sdk import Chat
from crypto.signing import Ed25519Signer
from tests.e2e.processes import RunningGroup, running_group

LOGS = Path(os.environ.get("QUORATE_LOGS", Path(__file__).parents[3] / "shared" / "data" / "irc"))


async def import_with_crashes(group: RunningGroup, chat: Chat, signer: Ed25519Signer, room: str, log: Log) -> None:
    """A backup dies at a third and is back at half; another dies at two thirds and is back in the end."""
    cuts = [0, len(log.lines) // 3, len(log.lines) // 2, 2 * len(log.lines) // 3, len(log.lines)]
    await ensure_room(chat, room, log.path.name)
    async with Importer.open(group.directory, signer, room, timeout_s=60) as importer:
        for part, (start, end) in enumerate(itertools.pairwise(cuts)):
            await importer.run(log, log.lines[start:end], lambda: None)
            if part == 0:
                await group.end(1, signal.SIGKILL)
            elif part == 1:
                await group.start(1)
                await group.until_equal()
            elif part == 2:
                await group.end(3, signal.SIGKILL)
        assert importer.done.refused == []
        assert importer.done.messages == len(log.lines)
        assert importer.lies() == {}
    await group.start(3)
    await group.until_equal()


async def whole_room(chat: Chat, room: str) -> list[Message]:
    return list(await chat.history(room, limit=1_000_000))


def assert_is_the_log(messages: list[Message], log: Log, importer: Ed25519Signer) -> None:
    assert [message.index for message in messages] == list(range(len(log.lines)))
    assert [(message.body, message.claimed_ms, message.nonce) for message in messages] == [
        (line.text, line.said_ms, line_nonce(importer, log, line)) for line in log.lines
    ]
    assert [message.author.casefold() for message in messages] == [line.nick.casefold() for line in log.lines]


def scan(
    messages: list[Message], *, words: tuple[str, ...] = (), phrase: str = "", author: str = ""
) -> set[tuple[str, int]]:
    """What a search must find, the slow way: every word there, the phrase's words side by side, the author."""
    found: set[tuple[str, int]] = set()
    wanted = tokens(phrase)
    for message in messages:
        body = tokens(message.body)
        runs = [body[start : start + len(wanted)] for start in range(len(body))]
        if (
            all(word in body for word in words)
            and (not wanted or wanted in runs)
            and (not author or message.author.casefold() == author.casefold())
        ):
            found.add((message.room, message.index))
    return found


async def assert_searches_equal_scans(chat: Chat, messages: list[Message]) -> None:
    sample = messages[:: max(1, len(messages) // 12)]
    for message in sample:
        body = tokens(message.body)
        if len(body) < 3:
            continue
        cases = [
            (body[0], scan(messages, words=(body[0],))),
            (f"{body[0]} {body[-1]}", scan(messages, words=(body[0], body[-1]))),
            (f'"{body[0]} {body[1]}"', scan(messages, phrase=f"{body[0]} {body[1]}")),
            (f"from:{message.author}", scan(messages, author=message.author)),
            (
                f"{body[0]} -{body[2]}",
                scan(messages, words=(body[0],)) - scan(messages, words=(body[2],)),
            ),
            (
                f"{body[1]} from:{message.author}",
                scan(messages, words=(body[1],), author=message.author),
            ),
        ]
        for query, expected in cases:
            found = await chat.search(query, limit=1_000_000)
            assert {(hit.room, hit.index) for hit in found} == expected, query
            assert [hit.serial for hit in found] == sorted((hit.serial for hit in found), reverse=True), query


async def check(tmp_path: Path, logs: list[Log]) -> None:
    signer = Ed25519Signer.generate()
    async with running_group(tmp_path) as group:
        await group.start(0, 1, 2, 3)
        await group.until(lambda reports: len(reports) == 4)
        async with Chat.connect(group.directory, signer) as chat:
            await chat.register("importer")
            for number, log in enumerate(logs):
                await import_with_crashes(group, chat, signer, f"log-{number}", log)
        messages: list[Message] = []
        for absent in range(4):
            async with Chat.connect(group.without(absent), signer) as chat:
                for number, log in enumerate(logs):
                    room = await whole_room(chat, f"log-{number}")
                    assert_is_the_log(room, log, signer)
                    messages += room if absent == 0 else []
                if absent == 0:
                    await assert_searches_equal_scans(chat, messages)
        reports = await group.until_equal()
        assert {report["evidence"] for report in reports} == {0}
        assert {tuple(report["alarms"]) for report in reports} == {()}


def five_logs() -> list[Path]:
    return sorted(LOGS.glob("ubuntu-*.txt"))


async def test_a_slice_of_a_log_survives_killed_backups_whole_and_in_order(tmp_path: Path) -> None:
    await check(tmp_path, [sample_log()])


@pytest.mark.slow
async def test_all_five_logs_survive_killed_backups_whole_and_in_order(tmp_path: Path) -> None:
    paths = five_logs()
    assert len(paths) == 5, f"the five logs are not in {LOGS}; set QUORATE_LOGS to where they are"
    await check(tmp_path, [read_log(path) for path in paths])
