"""What the screen shows at 80x24, drawn to text without a terminal."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC

import pytest

from chatsvc.application.answers import Unread
from chatsvc.application.events import Content, EventKind
from chatsvc.application.names import RoomName
from chatsvc.application.schema import MessageIndex, MessageKind
from clients.terminal.keys import KEYS
from clients.terminal.lines import Fate
from clients.terminal.markup import marked
from clients.terminal.model import Model, ReplicaHealth, Side, SideRow
from clients.terminal.screen import Screen
from clients.terminal.texts import shown
from pbft.core.types import ReplicaId
from tests.terminal.saying import Garden

SIZE = (80, 24)
HEALTHY = tuple(ReplicaHealth(replica=ReplicaId(number), answers=True, view=3, executed=9) for number in range(4))


def room(name: str, *, count: int = 0, mentions: int = 0, people: tuple[str, ...] = ()) -> Unread:
    return Unread(
        room=RoomName(name),
        topic="plants and such",
        direct=bool(people),
        with_=people,
        read=MessageIndex(0),
        message_count=count,
        mentions=mentions,
    )


class Desk:
    """A screen without session, over a model that a test fills."""

    def __init__(self, *others: Unread) -> None:
        self.model = Model(me="Alice", group="test", connected=True, health=HEALTHY)
        self.model.update_rooms([room("garden"), *others])
        self.model.enter("garden")
        self.garden = Garden()
        self.left = False
        self.screen = Screen(self.model, zone=UTC, on_quit=self.leave)

    def leave(self) -> None:
        self.left = True

    def says(self, body: str, **more: object) -> None:
        self.model.apply("garden", self.garden.says(body, **more))  # type: ignore[arg-type]

    def happens(self, kind: EventKind, *data: str | int, **more: object) -> None:
        self.model.apply("garden", self.garden.happens(kind, *data, **more))  # type: ignore[arg-type]

    def rows(self, size: tuple[int, int] = SIZE) -> list[str]:
        canvas = self.screen.render(size, True)
        return [row.decode().rstrip() for row in canvas.text]

    def text(self, size: tuple[int, int] = SIZE) -> str:
        return "\n".join(self.rows(size))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.screen.keypress(SIZE, key)

    @property
    def typed(self) -> str:
        return str(self.screen.input.edit.edit_text)


def test_a_room_with_its_topic_messages_and_the_line_below() -> None:
    desk = Desk()
    desk.says("hello")
    desk.says("waves", kind=MessageKind.ACTION)
    desk.says("hi Bob", actor="Alice", reply_to=0)
    desk.happens(EventKind.JOINED, actor="Carol")
    rows = desk.rows()
    assert len(rows) == 24
    assert rows[0] == " #garden plants and such"
    assert rows[-8:] == [
        "── Monday, 19 December 2016 " + "─" * 52,
        "12:00 ✓ <Bob> hello",
        "12:01 ✓ * Bob waves",
        "12:02 ✓ > Bob: hello",
        "        <Alice> hi Bob",
        "12:03   -- Carol joined",
        " Alice connected 0+1+2+3+ view 3",
        ">",
    ]


def test_what_was_changed_shows_it() -> None:
    desk = Desk()
    desk.says("one")
    desk.says("two", thread="Roses")
    desk.says("three", actor="Carol")
    desk.happens(EventKind.EDITED, 1, index=0, content=Content("uno", b""))
    desk.happens(EventKind.REACTED, "👍", 2, index=1)
    desk.happens(EventKind.REACTED, ":rose:", 1, index=1)
    desk.happens(EventKind.PINNED, index=1)
    desk.happens(EventKind.DELETED, actor="Bob", index=2)
    text = desk.text()
    assert "<Bob> uno (edited)" in text
    assert "<Bob> [Roses] (pinned) two" in text
    assert "        👍 2  :rose: 1" in text
    assert "<Carol> (deleted by Bob)" in text
    assert "three" not in text


def test_what_is_marked_up_is_shown_as_it_is_meant() -> None:
    text = "a **bold** and *slanted* `x = 1` [site](https://example.org) end"
    assert marked("body", text) == [
        ("body", "a "),
        ("bold", "bold"),
        ("body", " and "),
        ("italic", "slanted"),
        ("body", " "),
        ("code", "x = 1"),
        ("body", " site <"),
        ("link", "https://example.org"),
        ("body", "> end"),
    ]
    assert marked("mention", "> quoted\nplain") == [("quote", "▎ quoted"), ("mention", "\nplain")]


def test_a_poll_is_a_bar_for_each_option() -> None:
    desk = Desk()
    desk.says("Tea?\nyes\nno", kind=MessageKind.POLL)
    desk.happens(EventKind.VOTED, 3, 1, actor="", index=0)
    rows = [row.strip() for row in desk.rows()]
    assert "12:00 ✓ <Bob> Poll: Tea?" in rows
    assert "1. █████████░░░ 3  yes" in rows
    assert "2. ███░░░░░░░░░ 1  no" in rows
    assert "4 votes, /vote #0 1" in rows
    desk.happens(EventKind.POLL_CLOSED, 3, 1, index=0)
    assert "4 votes, closed" in desk.text()


def test_a_reply_quotes_words_and_not_how_they_are_marked_up() -> None:
    desk = Desk()
    desk.says("Tea?\nyes\nno", kind=MessageKind.POLL)
    desk.says("**yes**, and `milk`", reply_to=0)
    desk.says("me too", reply_to=1)
    rows = [row.strip() for row in desk.rows()]
    assert "12:01 ✓ > Bob: Tea?" in rows
    assert "12:02 ✓ > Bob: yes, and milk" in rows


@pytest.mark.parametrize(
    ("fate", "row"),
    [
        (Fate.PENDING, "… <Alice> hello"),
        (Fate.UNKNOWN, "? <Alice> hello (outcome unknown; asking again, it is never posted twice)"),
        (Fate.ACCEPTED, "✓ <Alice> hello"),
        (Fate.FAILED, "✗ <Alice> hello (not sent: muted; /retry or /discard)"),
        (Fate.GIVEN_UP, "? <Alice> hello (not known whether it was sent: muted; /retry or /discard)"),
    ],
)
def test_an_own_line_shows_how_it_stands_with_it(fate: Fate, row: str) -> None:
    desk = Desk()
    log = desk.model.rooms["garden"].log
    line = log.send(b"nonce", "hello")
    assert line is not None
    log.mark(line, fate, "muted")
    assert desk.rows((120, 24))[-3].endswith(row)


def test_new_days_and_unread_messages_are_set_apart() -> None:
    desk = Desk()
    desk.says("yesterday")
    desk.garden.event += 24 * 60
    desk.says("today")
    desk.model.rooms["garden"].unread_from = 1
    rows = desk.rows()
    places = [place for place, row in enumerate(rows) if row.startswith("──")]
    assert [rows[place].strip("─ ") for place in places] == [
        "Monday, 19 December 2016",
        "Tuesday, 20 December 2016",
        "unread",
    ]


def test_the_status_line_tells_of_replicas_and_of_other_rooms() -> None:
    desk = Desk(room("attic", count=2), room("@x", count=1, people=("Bob",)))
    desk.model.health = (
        HEALTHY[0],
        replace(HEALTHY[1], answers=False),
        replace(HEALTHY[2], behind=99),
        replace(HEALTHY[3], lies=1),
    )
    desk.model.selected = 7
    assert desk.rows()[-2] == " Alice connected 0+1-2~3! view 3 #7 selected @Bob:1! #attic:2"
    desk.model.connected = False
    desk.model.complain("room #attic: no")
    assert desk.rows()[-2].startswith(" Alice reconnecting... 0+")
    assert desk.rows()[-3] == " room #attic: no"


def test_the_list_of_rooms_has_its_column_where_there_is_room_and_when_asked_for() -> None:
    desk = Desk(room("attic", count=2, mentions=1))
    assert "#attic 1!" not in desk.text()
    wide = desk.rows((120, 24))
    assert wide[1].startswith("#attic 1!")
    assert wide[2].startswith("#garden")
    desk.press("f2")
    assert "#attic 1!" not in desk.text((120, 24))
    desk.press("f2")
    assert "#attic 1!" in desk.text()


def test_lists_stand_at_the_right_and_go_with_escape() -> None:
    desk = Desk()
    desk.press("f1")
    text = desk.text()
    assert "Keys (Esc closes)" in text
    assert KEYS[0].help.split(" (")[0] in text
    desk.press("esc")
    assert "Keys (Esc closes)" not in desk.text()
    desk.press("?")
    assert "Keys (Esc closes)" in desk.text()
    assert "Keys (Esc closes)" in desk.text((40, 24))


def test_a_question_mark_within_a_line_is_typed() -> None:
    desk = Desk()
    desk.press("w", "h", "y", "?")
    assert desk.typed == "why?"
    assert desk.rows()[-1] == "> why?"


# -- scrolling and selecting


def bodies_on(desk: Desk) -> list[str]:
    return [row.rpartition("> ")[2] for row in desk.rows()[1:-2] if "<" in row]


def test_the_log_follows_its_end_until_it_is_scrolled_and_stays_there_while_more_comes() -> None:
    desk = Desk()
    for number in range(60):
        desk.says(f"line {number}")
    assert bodies_on(desk)[-1] == "line 59"
    desk.press("page up")
    there = bodies_on(desk)
    assert there[-1] == "line 40"
    for number in range(60, 90):
        desk.says(f"line {number}")
    assert bodies_on(desk) == there
    desk.press("page down", "page down")
    assert bodies_on(desk)[-1] == "line 78"
    desk.press("ctrl end")
    assert bodies_on(desk)[-1] == "line 89"


def test_scrolling_ends_at_the_first_line() -> None:
    desk = Desk()
    for number in range(30):
        desk.says(f"line {number}")
    desk.rows()
    desk.press(*["page up"] * 9)
    assert bodies_on(desk)[0] == "line 0"
    assert desk.rows()[1].startswith("── Monday")
    desk.press(*["page down"] * 9)
    assert bodies_on(desk)[-1] == "line 29"
    assert not desk.model.rooms["garden"].log.held


def test_a_long_message_is_scrolled_row_by_row() -> None:
    desk = Desk()
    desk.says("\n".join(f"row {number}" for number in range(50)))
    assert desk.rows()[-3].strip() == "row 49"
    desk.screen.mouse_event(SIZE, "mouse press", 4, 5, 5, True)
    assert desk.rows()[-3].strip() == "row 46"
    desk.screen.mouse_event(SIZE, "mouse press", 5, 5, 5, True)
    assert desk.rows()[-3].strip() == "row 49"


def test_selecting_brings_the_message_to_the_screen() -> None:
    desk = Desk()
    for number in range(60):
        desk.says(f"line {number}")
    desk.rows()
    for _ in range(40):
        desk.press("ctrl up")
        desk.rows()
    assert desk.model.selected == 20
    assert "line 20" in bodies_on(desk)
    desk.press("esc")
    assert desk.model.selected is None


def test_a_click_selects_a_message_and_another_one_ends_it() -> None:
    desk = Desk()
    desk.says("one")
    desk.says("two")
    rows = desk.rows()
    row = next(place for place, text in enumerate(rows) if "one" in text)
    selected = []
    for _ in range(2):
        desk.screen.mouse_event(SIZE, "mouse press", 1, 10, row, True)
        selected.append(desk.model.selected)
        desk.rows()
    assert selected == [0, None]
    desk.press("x")
    assert desk.typed == "x", "the line below keeps the keys"


# -- typing


def test_a_paste_of_lines_is_one_message_and_sends_nothing() -> None:
    desk = Desk()
    desk.press("begin paste", "a", "enter", "/", "q", "tab", "up", "\x9b", "end paste")
    assert desk.typed == "a\n/q    <U+009B>"
    assert not desk.left
    desk.press("meta enter", "z")
    assert desk.typed.endswith("\nz")


def test_a_long_text_leaves_the_messages_their_place() -> None:
    desk = Desk()
    desk.says("hello")
    desk.press("begin paste", *["x", "enter"] * 40, "end paste")
    rows = desk.rows()
    assert "<Bob> hello" in desk.text()
    assert [row for row in rows if row == "x"] == ["x"] * 5


def test_each_room_keeps_what_was_typed_in_it() -> None:
    desk = Desk(room("attic"))
    desk.rows()
    desk.press("d", "r", "a", "f", "t")
    desk.model.enter("attic")
    desk.rows()
    assert desk.typed == ""
    desk.model.enter("garden")
    desk.rows()
    assert desk.typed == "draft"


def test_replies_and_edits_show_at_the_prompt_and_end_with_escape() -> None:
    desk = Desk()
    desk.says("hello")
    desk.says("mine", actor="Alice")
    desk.press("ctrl up", "ctrl up", "meta r")
    assert desk.rows()[-1] == "reply to #0 >"
    desk.press("esc", "meta e")
    assert desk.rows()[-1] == "edit #1 > mine"
    desk.press("esc")
    assert (desk.rows()[-1], desk.typed) == (">", "")
    desk.press("ctrl up", "ctrl up", "meta e")
    assert desk.model.says == "only what you said yourself can be edited"


def test_without_a_connection_nothing_typed_is_lost() -> None:
    desk = Desk()
    desk.press("h", "i", "enter")
    assert desk.typed == "hi"
    assert "not connected yet" in desk.text()
    desk.press("ctrl c")
    assert desk.left


# -- hostile text

HOSTILE = "a\x1b[2J\x07\x9b31m\u202egnp\u2066\u2028x\ty"


def test_nothing_that_others_say_reaches_the_terminal_as_a_control() -> None:
    desk = Desk(room("@x", count=1, people=(HOSTILE,)))
    desk.model.me = "Alice\x1b"
    desk.model.rooms["garden"].topic = HOSTILE
    desk.says(HOSTILE, actor=HOSTILE, thread=HOSTILE)
    desk.says(f"{HOSTILE}\n{HOSTILE}\n{HOSTILE}", actor=HOSTILE, kind=MessageKind.POLL, reply_to=0)
    desk.happens(EventKind.REACTED, HOSTILE, 1, index=0)
    desk.happens(EventKind.KICKED, HOSTILE, HOSTILE, actor=HOSTILE)
    desk.happens(EventKind.DELETED, actor=HOSTILE, index=1)
    log = desk.model.rooms["garden"].log
    line = log.send(b"n", HOSTILE, thread=HOSTILE, reply_to=0)
    assert line is not None
    log.mark(line, Fate.FAILED, HOSTILE)
    desk.model.complain(HOSTILE)
    desk.model.rooms["garden"].thread = HOSTILE
    desk.model.side = Side(HOSTILE, [SideRow(HOSTILE)])
    for size in ((120, 40), SIZE):
        for row in desk.screen.render(size, True).text:
            assert not {unicodedata.category(character) for character in row.decode()} & {"Cc", "Cf", "Zl", "Zp"}


def test_joined_emoji_and_letters_of_all_scripts_stay() -> None:
    for text in ("👩‍🌾 שלום मुक्ति", "line\nline"):
        assert shown(text) == text
