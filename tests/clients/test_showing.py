"""What reaches a terminal: marks, times, colours, and nothing that it obeys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chatsvc.application.answers import Message
from chatsvc.application.bodies import MessageText
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial
from clients import times
from clients.console import Output, author_colour, message_text, plain
from clients.markdown import marked_up
from clients.sdk import ClientFailure
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber
from tests.chatsvc.fakes import NOON


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("plain", "plain"),
        ("**bold** and *italic* and _italic_", "bold and italic and italic"),
        ("**bold *and italic* at once**", "bold and italic at once"),
        ("`**code**`", "**code**"),
        ("a * b * c, 2*3*4, snake_case_name, __init__", "a * b * c, 2*3*4, snake_case_name, __init__"),
        ("**never closed", "**never closed"),
        ("[here](https://example.org/a)", "here <https://example.org/a>"),
        ("[here](javascript:alert)", "[here](javascript:alert)"),
        ("see https://example.org/_a_b_.", "see https://example.org/_a_b_."),
        ("> said\nanswer", "\u258e said\nanswer"),
        ("```python\nx = **y**\n```\nafter", "x = **y**\nafter"),
        ("```\nnever closed", "```\nnever closed"),
        ("", ""),
    ],
)
def test_what_is_marked_up_is_shown_as_it_is_meant(body: str, shown: str) -> None:
    assert marked_up(body).plain == shown


def test_marks_have_styles() -> None:
    spans = {
        (str(span.style), marked_up("**b** `c`").plain[span.start : span.end])
        for span in marked_up("**b** `c`").spans
    }
    assert ("bold", "b") in spans
    assert ("cyan", "c") in spans


@pytest.mark.parametrize("body", ["**a " * 1024, "*" * 4096, "_a" * 2048, "[" * 4096, "`" * 4096, "> " * 2048])
def test_odd_bodies_lose_no_text_that_is_no_mark(body: str) -> None:
    kept = [character for character in marked_up(body).plain if character not in "*_`>\u258e "]
    assert kept == [character for character in body if character not in "*_`> "]


def message(body: str, **more: Any) -> Message:
    fields: dict[str, Any] = {"author": DisplayName("Alice"), "kind": MessageKind.TEXT, "body": MessageText(body)}
    return Message(
        room=RoomName("garden"),
        index=MessageIndex(3),
        time=NOON,
        sequence=SequenceNumber(9),
        batch_index=0,
        serial=MessageSerial(4),
        event=EventIndex(5),
        **(fields | more),
    )


def test_a_message_is_shown_with_what_became_of_it() -> None:
    assert str(message_text(message("one\ntwo", edits=1), pinned=True, utc=True)) == (
        "2016-12-19 12:00 #garden 3 <Alice> one\n    two (edited) (pinned)"
    )
    deleted = message("", deleted_by=DisplayName("Bob"), thread="bulbs", reply_to=MessageIndex(1))
    assert str(message_text(deleted, utc=True)).endswith("<Alice> [bulbs] [to 1] (deleted by Bob)")
    waves = message("*waves*", kind=MessageKind.ACTION)
    assert str(message_text(waves, utc=True, marks=True)).endswith("* Alice waves")
    claimed = message("I resign", claimed_ms=Milliseconds(1_000_000_000_000))
    assert str(message_text(claimed, utc=True)) == "2001-09-09 01:46 (claimed) #garden 3 <Alice> I resign"


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    assert plain("a\x1b[31m\u202eb\x9bc\td\n") == "a<U+001B>[31m<U+202E>b<U+009B>c\td\n"
    assert "\x1b" not in str(message_text(message("\x1b]0;mine\x07"), utc=True, marks=True))
    assert "\u202e" not in str(message_text(message("[\u202e](https://example.org)"), utc=True, marks=True))


def test_only_people_make_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).result({}, ":bug: :thumbs_up:")
    assert capsys.readouterr().out == ":bug: :thumbs_up:\n"


def test_a_name_has_its_colour_whatever_its_case() -> None:
    assert author_colour("Alice") == author_colour("ALICE")
    assert len({author_colour(name) for name in ("alice", "bob", "carol", "dave", "eve", "frank")}) > 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("15min", 900), ("2h30m", 9000), ("1w", 604_800), ("off", 0), ("0", 0)],
)
def test_spans(text: str, seconds: int) -> None:
    assert times.span_ms(text) == seconds * 1000


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5x", "0s", "999999999w", "\u0665m", "1hour"])
def test_no_spans(text: str) -> None:
    with pytest.raises(ClientFailure, match="no span of time"):
        times.span_ms(text)


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "now_ms", lambda: int(NOON))
    midnight = NOON - 43_200_000
    for text, expected in [
        ("2016-12-19", midnight),
        ("2016-12-19 12:00", NOON),
        ("2016-12-19T13:00+01:00", NOON),
        ("today", midnight),
        ("yesterday", midnight - times.DAY_MS),
        ("2h", NOON - 7_200_000),
    ]:
        assert times.moment_ms(text, utc=True) == expected, text
    local = datetime(2016, 12, 19, 12, tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    assert times.minute(NOON, utc=False) == local
    assert times.moment_ms(local, utc=False) == NOON


def test_times_that_no_calendar_here_has_are_shown() -> None:
    assert times.minute(Milliseconds(253_402_300_799_999), utc=True) == "9999-12-31 23:59"
    assert times.minute(Milliseconds(253_402_300_799_999), utc=False)


def test_a_span_in_words() -> None:
    assert [times.in_words(ms) for ms in (0, 999, 60_000, 90_061_000)] == ["0s", "0s", "1m", "1d 1h 1m 1s"]
