"""The model: rooms, what is unread, what is selected, and how the replicas do."""

from __future__ import annotations

import pytest

from chatsvc.application.answers import Unread
from chatsvc.application.events import EventKind, NoticeHead, NoticeKind
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.schema import MessageIndex
from clients.terminal.marks import ReadMarks
from clients.terminal.model import Model, Report, Side, health_of
from pbft.client.errors import LinkState
from pbft.core.types import EventIndex, Milliseconds, ReplicaId
from tests.terminal.saying import Garden


def unread(room: str, *, read: int = 0, count: int = 0, mentions: int = 0, people: tuple[str, ...] = ()) -> Unread:
    return Unread(
        room=RoomName(room),
        topic="",
        direct=bool(people),
        with_=people,
        read=MessageIndex(read),
        message_count=count,
        mentions=mentions,
    )


def model_of(*rooms: Unread) -> Model:
    model = Model(me="Alice")
    model.update_rooms(rooms)
    return model


def test_rooms_come_and_go_as_the_group_lists_them() -> None:
    model = model_of(unread("garden"), unread("attic"), unread("@abc", people=("Bob", "Carol")))
    assert [room.title for room in model.ordered_rooms()] == ["#attic", "#garden", "@Bob, Carol"]
    model.enter("garden")
    assert model.update_rooms([unread("attic"), unread("cellar")]) == ["cellar"]
    assert sorted(model.rooms) == ["attic", "cellar"]
    assert model.open is None


def test_what_is_unread_is_counted_and_read_when_it_is_seen() -> None:
    model, garden = model_of(unread("garden"), unread("attic")), Garden()
    model.enter("attic")
    assert model.apply("garden", garden.says("hello")) is not None
    assert model.apply("garden", garden.says("mine", actor="Alice")) is None
    room = model.rooms["garden"]
    assert (room.unread, room.is_urgent) == (2, False)
    assert model.next_room(1, unread=True) == "garden"
    model.enter("garden")
    assert model.saw() is None  # nothing is on the screen before it is loaded
    room.is_loaded = True
    assert model.saw() == ("garden", 2)
    assert model.saw() is None
    assert (room.unread, room.unread_from) == (0, 0)
    model.enter("attic")
    assert room.unread_from is None


def test_a_late_list_takes_nothing_back() -> None:
    model, garden = model_of(unread("garden")), Garden()
    model.apply("garden", garden.says("hello"))
    model.enter("garden")
    model.rooms["garden"].is_loaded = True
    model.saw()
    model.update_rooms([unread("garden", count=0, read=0, mentions=3)])
    assert (model.rooms["garden"].unread, model.rooms["garden"].mentions) == (0, 0)


def test_mentions_and_conversations_come_first() -> None:
    model = model_of(unread("a", count=1), unread("b", count=1), unread("@x", count=1, people=("Bob",)))
    assert model.next_room(1, unread=True) == "@x"
    notice = NoticeHead(
        notice=EventIndex(0),
        kind=NoticeKind.MENTION,
        room=RoomName("b"),
        index=MessageIndex(0),
        by=DisplayName("Bob"),
        time=Milliseconds(0),
    )
    model.enter("a")
    model.notice(notice)
    assert model.rooms["b"].is_urgent
    assert model.next_room(1, unread=True) == "b"


def test_the_next_room_goes_round() -> None:
    model = model_of(unread("a"), unread("b"), unread("c"))
    assert [model.next_room(step) for step in (1, -1)] == ["a", "a"]
    model.enter("c")
    assert [model.next_room(step) for step in (1, -1)] == ["a", "b"]
    assert Model().next_room(1) is None


def test_who_is_there_follows_the_events() -> None:
    model, garden = model_of(unread("garden")), Garden()
    for event in (
        garden.happens(EventKind.JOINED, actor="Bob"),
        garden.happens(EventKind.JOINED, actor="Carol"),
        garden.happens(EventKind.KICKED, "Bob", "", actor="Carol"),
        garden.happens(EventKind.ROLE, "Alice", "moderator", actor="Carol"),
        garden.happens(EventKind.TOPIC, "plants", actor="Carol"),
    ):
        model.apply("garden", event)
    room = model.rooms["garden"]
    assert (room.members, room.role, room.topic) == (["Carol"], "moderator", "plants")
    assert not model.has_left(garden.happens(EventKind.LEFT, actor="Bob"))
    assert model.has_left(garden.happens(EventKind.LEFT, actor="Alice"))
    assert model.has_left(garden.happens(EventKind.BANNED, "Alice", "spam", actor="Carol"))


def test_selecting_goes_up_from_the_last_message_and_ends_below_it() -> None:
    model, garden = model_of(unread("garden")), Garden()
    model.select(-1)
    assert model.selected is None
    model.enter("garden")
    for body in ("one", "two"):
        model.apply("garden", garden.says(body))
    found: list[int | None] = []
    for step in (-1, -1, -1, 1, 1):
        model.select(step)
        found.append(model.selected)
    assert found == [1, 0, 0, 1, None]


def test_a_thread_beside_the_room_goes_on() -> None:
    model, garden = model_of(unread("garden")), Garden()
    model.side = Side("Thread", [], room="garden", thread="Roses")
    model.apply("garden", garden.says("red", thread="roses"))
    model.apply("garden", garden.says("elsewhere", thread="tulips"))
    assert [row.text for row in model.side.rows] == ["Bob: red"]


@pytest.mark.parametrize(
    ("connected", "lies", "report", "mark"),
    [
        (True, 0, {"last_executed": 100, "view": 3}, "+"),
        (True, 0, {}, "+"),
        (True, 0, {"last_executed": 50, "view": 3}, "~"),
        (False, 0, {"last_executed": 50}, "-"),
        (True, 2, {"last_executed": 100}, "!"),
        (True, 0, {"last_executed": "100", "view": None}, "+"),
    ],
)
def test_how_a_replica_does(connected: bool, lies: int, report: dict[str, object], mark: str) -> None:
    replica = ReplicaId(0)
    link = LinkState(replica=replica, connected=connected, refused=None, last_error=None)
    (health,) = health_of([link], {replica: lies} if lies else {}, {replica: Report(report, 100)})
    assert health.mark == mark


def test_the_view_is_that_of_most() -> None:
    links = [LinkState(replica=ReplicaId(i), connected=True, refused=None, last_error=None) for i in range(4)]
    reports = {ReplicaId(i): Report({"view": view}, 0) for i, view in enumerate((4, 99, 4))}
    model = Model(health=health_of(links, {}, reports))
    assert model.view == 4
    assert Model().view is None


def test_read_markers_are_told_at_most_once_in_three_seconds_and_before_leaving() -> None:
    marks = ReadMarks()
    assert marks.wait_s(0) is None
    marks.saw("garden", 1)
    assert marks.wait_s(0) == 0
    assert marks.take_due(0) == [("garden", 1)]
    marks.saw("garden", 3)
    marks.saw("garden", 2)
    marks.saw("attic", 7)
    assert marks.take_due(1) == [("attic", 7)]
    assert marks.wait_s(1) == 2
    assert marks.take_due(1) == []
    assert marks.take_due(1, leaving=True) == [("garden", 3)]
    assert marks.wait_s(1) is None
