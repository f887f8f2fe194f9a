from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clients.demo import sample_log
from clients.imported_users import user_signer
from clients.irc_import import line_nonce
from clients.irc_log import LogError, parse_log, read_log
from crypto.signing import Ed25519Signer

TEXT = """\
=== alice has joined #room
[23:58] <alice> hello
[23:59]  * bob waves
[00:01] <|trey|> past\x08 midnight\x03
[00:00] <alice> a minute back is no midnight
not a line of a log
[00:02] <alice>
"""


def ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def test_messages_actions_and_events_are_told_apart_and_dated() -> None:
    log = parse_log(Path("room-2004-11-15_03.txt"), TEXT, b"d" * 32)
    assert [(line.number, line.nick, line.text, line.action, line.said_ms) for line in log.lines] == [
        (2, "alice", "hello", False, ms(2004, 11, 15, 23, 58)),
        (3, "bob", "waves", True, ms(2004, 11, 15, 23, 59)),
        (4, "|trey|", "past midnight", False, ms(2004, 11, 16, 0, 1)),
        (5, "alice", "a minute back is no midnight", False, ms(2004, 11, 16, 0, 0)),
    ]
    assert (log.events, log.unreadable) == (1, 2)
    assert log.nicks == ("alice", "bob", "|trey|")


def test_without_a_date_in_the_name_there_are_no_times() -> None:
    log = parse_log(Path("room.txt"), TEXT, b"d" * 32)
    assert {line.said_ms for line in log.lines} == {None}
    assert parse_log(Path("room-2004-13-99.txt"), TEXT, b"d" * 32).lines[0].said_ms is None


def test_the_sample_is_a_real_morning() -> None:
    log = sample_log()
    assert len(log.lines) >= 300
    assert len(log.nicks) > 50
    assert log.unreadable == 0


@pytest.mark.parametrize(
    ("data", "word"), [(b"[10:00] <a> \xff\n", "line 1"), (None, "cannot be read")], ids=["not UTF-8", "not there"]
)
def test_a_log_that_cannot_be_read_says_why(tmp_path: Path, data: bytes | None, word: str) -> None:
    path = tmp_path / "log.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(LogError, match=word) as raised:
        read_log(path)
    assert str(path) in str(raised.value)


def test_keys_and_nonces_are_found_again_and_differ() -> None:
    importer, other = Ed25519Signer.generate(), Ed25519Signer.generate()
    assert user_signer(importer, "bob").public_key == user_signer(importer, "bob").public_key
    keys = {user_signer(who, nick).public_key for who in (importer, other) for nick in ("bob", "eve")}
    assert len(keys) == 4
    log = sample_log()
    nonces = {line_nonce(who, log, line) for who in (importer, other) for line in log.lines}
    assert len(nonces) == 2 * len(log.lines), "who has the log alone cannot know them"
