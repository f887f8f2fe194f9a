"""Following a room and what one is told, while replicas come and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.text import Text

from chatsvc.application.events import Content, EventKind, Head, NoticeKind
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.schema import MessageIndex
from clients.console import Output
from clients.event_lines import event_words
from clients.following_commands import tail_room, tell_notices
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber
from tests.client.fake_replicas import World
from tests.harness.waiting import until
from tests.sdk.test_chat import BOB, ChatBackend, alice_in_garden, chat_of


class Kept(Output):
    """Keeps what it is told instead of printing it."""

    def __init__(self) -> None:
        super().__init__(as_json=False, utc=True)
        self.records: list[dict[str, Any]] = []
        self.lines: list[str] = []

    def result(self, record: dict[str, Any], text: str | Text) -> None:
        self.records.append(record)
        self.lines.append(str(text))

    @property
    def said(self) -> list[str]:
        """The lines without their times."""
        return [line[len("2016-12-19 12:00 ") :] for line in self.lines]


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


async def test_a_room_is_followed_without_gap_or_repetition_over_lost_connections(
    world: World, nursery: trio.Nursery
) -> None:
    kept = Kept()
    async with alice_in_garden(world) as alice, chat_of(world, BOB) as bob:
        await bob.register("Bob")
        for number in range(3):
            await alice.post("garden", f"before {number}")

        async def follow() -> None:
            await tail_room(bob, kept, "garden", lines=2, follow=True)

        nursery.start_soon(follow)
        await until(lambda: len(kept.lines) >= 2)
        for number in range(3):
            await alice.post("garden", f"after {number}")
            for replica in world.replicas:
                await replica.break_links()
        await alice.edit("garden", 0, "*before* 0")
        await alice.react("garden", 0, "👍")
        await alice.delete("garden", 1)
        await until(lambda: len(kept.lines) >= 8)
    assert kept.said == [
        "#garden 1 <Alice> before 1",
        "#garden 2 <Alice> before 2",
        "#garden 3 <Alice> after 0",
        "#garden 4 <Alice> after 1",
        "#garden 5 <Alice> after 2",
        "#garden -- Alice edited 0: *before* 0",
        "#garden -- Alice reacted to 0 with 👍 (1)",
        "#garden -- Alice deleted 1",
    ]
    assert [record["event"] for record in kept.records[2:]] == list(range(kept.records[2]["event"], 10))


async def test_a_program_goes_on_from_the_event_that_it_has_seen(world: World, nursery: trio.Nursery) -> None:
    kept = Kept()
    async with alice_in_garden(world) as alice:
        for number in range(3):
            await alice.post("garden", f"message {number}")
        first = (await alice.message("garden", 1)).event

        async def follow() -> None:
            await tail_room(alice, kept, "garden", lines=0, follow=True, messages_only=True, from_event=first)

        nursery.start_soon(follow)
        await alice.react("garden", 0, "👍")
        await alice.post("garden", "message 3")
        await until(lambda: len(kept.lines) >= 3)
    assert [record["body"] for record in kept.records] == ["message 1", "message 2", "message 3"]


async def test_notices_are_told_as_they_come(world: World, nursery: trio.Nursery) -> None:
    kept = Kept()
    async with alice_in_garden(world) as alice, chat_of(world, BOB) as bob:
        await bob.register("Bob")
        await bob.join("garden")
        await bob.post("garden", "@Alice one")

        async def follow() -> None:
            await tell_notices(alice, kept, frozenset({NoticeKind.MENTION}), limit=10, follow=True)

        nursery.start_soon(follow)
        await until(lambda: kept.lines)
        await bob.post("garden", "@alice two")
        await until(lambda: len(kept.lines) >= 2)
    assert kept.said == ["Bob mentioned you in #garden 0", "Bob mentioned you in #garden 1"]


CASES = [
    (EventKind.JOINED, [], "joined"),
    (EventKind.LEFT, [], "left"),
    (EventKind.INVITED, ["Bob"], "invited Bob"),
    (EventKind.KICKED, ["Bob", ""], "put Bob out"),
    (EventKind.BANNED, ["Bob", "spam"], "banned Bob: spam"),
    (EventKind.UNBANNED, ["Bob"], "unbanned Bob"),
    (EventKind.MUTED, ["Bob", 1_482_148_800_000], "let Bob only read until 2016-12-19 12:00"),
    (EventKind.MUTED, ["Bob", 0], "unmuted Bob"),
    (EventKind.ROLE, ["Bob", "owner"], "made Bob owner"),
    (EventKind.TOPIC, ["plants"], "set the topic: plants"),
    (EventKind.DESCRIPTION, ["a {b}"], "described the room: a {b}"),
    (EventKind.SLOW_MODE, [90], "set one message in 1m 30s"),
    (EventKind.SLOW_MODE, [0], "ended the slow mode"),
    (EventKind.RETENTION, [86_400], "keeps messages for 1d"),
    (EventKind.RETENTION, [0], "keeps messages for ever"),
    (EventKind.ARCHIVED, [1], "archived the room"),
    (EventKind.ARCHIVED, [0], "opened the room again"),
    (EventKind.EDITED, [1], "edited 7: new"),
    (EventKind.DELETED, [], "deleted 7"),
    (EventKind.PINNED, [], "pinned 7"),
    (EventKind.UNPINNED, [], "unpinned 7"),
    (EventKind.REACTED, [":thanks:", 2], "reacted to 7 with :thanks: (2)"),
    (EventKind.UNREACTED, [":thanks:", 1], "took :thanks: back from 7 (1)"),
    (EventKind.VOTED, [1, 0, 2], "there was a vote on 7: 1 : 0 : 2"),
    (EventKind.POLL_CLOSED, [1, 0, 2], "closed the poll 7: 1 : 0 : 2"),
]


def test_every_kind_of_event_has_words() -> None:
    assert {kind for kind, _, _ in CASES} == set(EventKind) - {EventKind.POSTED}


def head_of(kind: EventKind, data: list[str | int]) -> Head:
    return Head(
        room=RoomName("garden"),
        event=EventIndex(3),
        kind=kind,
        actor=DisplayName("Alice"),
        index=MessageIndex(7),
        data=data,
        digest=b"",
        time=Milliseconds(0),
        sequence=SequenceNumber(1),
        batch_index=0,
    )


@pytest.mark.parametrize(("kind", "data", "words"), CASES)
def test_an_event_in_words(kind: EventKind, data: list[str | int], words: str) -> None:
    assert event_words(head_of(kind, data), Content("new", b""), utc=True) == words


@pytest.mark.parametrize("kind", list(EventKind))
def test_data_of_an_unknown_form_is_shown_somehow(kind: EventKind) -> None:
    for data in ([], ["?"], [1, 2, 3, 4]):
        assert event_words(head_of(kind, list(data)), None, utc=True)
