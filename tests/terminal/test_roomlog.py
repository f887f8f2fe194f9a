"""A room's log: pages of history and events, in whatever order they come, fold into what stands there."""

from __future__ import annotations

from itertools import permutations

import pytest

from chatsvc.application.answers import Reaction
from chatsvc.application.events import Content, EventKind
from chatsvc.application.schema import MessageKind
from clients.sdk import RoomEvent
from clients.terminal.lines import Entry, Fate, Happening
from clients.terminal.roomlog import LINES_MAX, PENDING_MAX, RoomLog
from tests.terminal.saying import RECEIPT, VOUCHERS, Garden, message


def bodies(log: RoomLog) -> list[str]:
    return [line.message.body if isinstance(line, Entry) else line.text for line in log.lines]


def test_messages_stand_in_their_order_once_however_often_they_come() -> None:
    garden, log = Garden(), RoomLog("Alice")
    first, second = garden.says("one"), garden.says("two")
    assert log.apply(first) is not None
    assert log.apply(second) is not None
    assert log.apply(first) is None
    log.add_page([message(0, "one"), message(1, "two")])
    assert bodies(log) == ["one", "two"]
    assert [entry.vouchers for entry in log.entries()] == [VOUCHERS, VOUCHERS]


def test_a_page_of_history_stands_before_what_has_happened_since() -> None:
    garden, log = Garden(), RoomLog("Alice")
    garden.event = garden.index = 2
    log.apply(garden.says("three"))
    log.apply(garden.happens(EventKind.JOINED, actor="Carol"))
    log.add_page([message(0, "one"), message(1, "two")])
    assert bodies(log) == ["one", "two", "three", "Carol joined"]
    assert log.first_index == 0


def changes(garden: Garden) -> list[RoomEvent]:
    return [
        garden.happens(EventKind.EDITED, 1, index=0, content=Content("edited", b"")),
        garden.happens(EventKind.REACTED, "👍", 1, actor="Alice", index=0),
        garden.happens(EventKind.REACTED, "👍", 2, actor="Carol", index=0),
        garden.happens(EventKind.PINNED, index=0),
        garden.happens(EventKind.UNREACTED, "👍", 1, index=0),
    ]


def test_changes_count_for_messages_that_are_loaded_after_them() -> None:
    """A page may be asked for before an event and be answered after it, or the reverse: all ends are the same."""
    garden = Garden()
    posted = garden.says("hello")
    events = changes(garden)
    for page_at in range(len(events) + 1):
        log = RoomLog("Alice")
        log.next_event = 1
        for place, event in enumerate(events):
            if place == page_at:
                log.add_page([message(0)])
            log.apply(event)
        if page_at == len(events):
            log.add_page([message(0)])
        (entry,) = log.entries()
        assert (entry.message.body, entry.message.edits, entry.pinned) == ("edited", 1, True)
        assert entry.message.reactions == (Reaction("👍", 1),)
    assert posted.head.event == 0


def test_a_page_that_knows_more_than_the_events_is_not_undone_by_them() -> None:
    garden, log = Garden(), RoomLog("Alice")
    log.apply(garden.says("hello"))
    edited = garden.happens(EventKind.EDITED, 1, index=0, content=Content("first edit", b""))
    log.add_page([message(0, "second edit", edits=2)])
    log.apply(edited)
    assert bodies(log) == ["second edit"]
    log.add_page([message(0, "", deleted_by="Bob")])
    log.apply(garden.happens(EventKind.EDITED, 2, index=0, content=Content("second edit", b"")))
    assert log.entries()[0].message.body == ""


def test_a_deletion_takes_everything_but_the_place() -> None:
    garden, log = Garden(), RoomLog("Alice")
    log.apply(garden.says("secret"))
    for event in changes(garden):
        log.apply(event)
    log.apply(garden.happens(EventKind.DELETED, actor="Carol", index=0))
    entry = log.entries()[0]
    assert (entry.message.body, entry.message.deleted_by, entry.message.reactions, entry.pinned) == (
        "",
        "Carol",
        (),
        False,
    )


def test_a_poll_counts_what_the_events_say() -> None:
    garden, log = Garden(), RoomLog("Alice")
    log.apply(garden.says("Tea?\nyes\nno", kind=MessageKind.POLL))
    entry = log.entries()[0]
    assert (entry.options, entry.votes) == (("yes", "no"), (0, 0))
    log.apply(garden.happens(EventKind.VOTED, 1, 0, actor="", index=0))
    log.set_poll(0, (0, 5), closed=True)  # asked for before the vote was heard of: the event knows better
    assert (entry.votes, entry.closed) == ((1, 0), False)
    log.apply(garden.happens(EventKind.POLL_CLOSED, 1, 1, index=0))
    assert (entry.votes, entry.closed) == ((1, 1), True)
    assert isinstance(log.lines[-1], Happening)


# -- own lines


@pytest.mark.parametrize("order", list(permutations(["event", "outcome"])))
def test_an_own_line_becomes_its_message_whichever_comes_first(order: tuple[str, ...]) -> None:
    garden, log = Garden(), RoomLog("Alice")
    line = log.send(b"nonce", "hello")
    assert line is not None
    assert log.shown == [line]
    for what in order:
        if what == "event":
            log.apply(garden.says("hello", actor="Alice", nonce=b"nonce"))
        else:
            log.accepted(line, 0, RECEIPT)
            assert line.fate is Fate.ACCEPTED or line not in log.pending
    (entry,) = log.shown
    assert isinstance(entry, Entry)
    assert entry.receipt == RECEIPT


@pytest.mark.parametrize(("actor", "nonce"), [("Mallory", b"nonce"), ("Alice", b"other"), ("Alice", b"")])
def test_a_message_of_others_takes_no_pending_line_away(actor: str, nonce: bytes) -> None:
    garden, log = Garden(), RoomLog("Alice")
    log.send(b"nonce", "hello")
    log.apply(garden.says("hello", actor=actor, nonce=nonce))
    assert len(log.pending) == 1


def test_a_line_of_unknown_outcome_is_settled_by_the_history_too() -> None:
    log = RoomLog("Alice")
    line = log.send(b"nonce", "hello")
    assert line is not None
    log.mark(line, Fate.UNKNOWN)
    log.add_page([message(0, author="Alice", nonce=b"nonce")])
    assert log.pending == []


# -- bounds


def test_what_is_kept_is_bounded_and_grows_only_while_somebody_reads_further_up() -> None:
    log = RoomLog("Alice")
    log.complete = True
    log.add_page([message(index) for index in range(LINES_MAX + 5)])
    assert (len(log.lines), log.first_index, log.complete) == (LINES_MAX, 5, False)
    log.held = True
    log.add_page([message(index) for index in range(5)])
    assert (len(log.lines), log.first_index) == (LINES_MAX + 5, 0)
    log.held = False
    log.add_page([message(LINES_MAX + 5)])
    assert len(log.lines) == LINES_MAX
    assert log.entry(0) is None


def test_only_so_many_lines_wait() -> None:
    log = RoomLog("Alice")
    assert all(log.send(bytes([number]), "hello") for number in range(PENDING_MAX))
    assert log.send(b"more", "hello") is None


def test_a_log_that_begins_anew_keeps_the_lines_that_wait() -> None:
    """Also for whoever sends them, and knows the old log only."""
    garden, old = Garden(), RoomLog("Alice")
    old.apply(garden.says("hello"))
    line = old.send(b"nonce", "mine")
    assert line is not None
    log = old.renewed()
    assert log.shown == [line]
    old.accepted(line, 1, RECEIPT)
    log.apply(garden.says("mine", actor="Alice", nonce=b"nonce"))
    assert (bodies(log), old.pending) == (["mine"], [])
    assert log.entries()[0].receipt == RECEIPT
