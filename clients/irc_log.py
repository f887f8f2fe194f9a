"""Reading IRC logs: who said what, and when.

    [HH:MM] <nick> text        a message
    [HH:MM]  * nick text       an action (/me)
    === anything               joins, leaves, renames and other events, counted and passed over

Control characters (colours, a stray backspace) are dropped from texts: the chat refuses them.
The clock has no date: the first line's is in the file's name (`channel-YYYY-MM-DD...`) and wraps at midnight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

_MESSAGE = re.compile(r"\[(\d\d):(\d\d)\] <([^>]*)> ?(.*)")
_ACTION = re.compile(r"\[(\d\d):(\d\d)\]\s+\* (\S+) ?(.*)")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_DATE_IN_NAME = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_HALF_DAY = timedelta(hours=12)
LOG_BYTES_MAX = 256 * 1024 * 1024


class LogError(Exception):
    """The log cannot be read. The text names the file, the line and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One thing said. `said_ms`: since 1970-01-01 UTC, None if the file's name has no date."""

    number: int
    """Line of the file, from 1."""
    nick: str
    text: str
    action: bool
    said_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log in the order of its lines. `digest`: SHA-256 of the file, to know it again."""

    path: Path
    digest: bytes
    lines: tuple[LogLine, ...]
    events: int
    unreadable: int

    @property
    def nicks(self) -> tuple[str, ...]:
        """In order of their first line."""
        return tuple(dict.fromkeys(line.nick for line in self.lines))


def read_log(path: Path) -> Log:
    """Raises LogError."""
    try:
        size = path.stat().st_size
        if size > LOG_BYTES_MAX:
            msg = f"{path}: {size} bytes, at most {LOG_BYTES_MAX} are read; split the file"
            raise LogError(msg)
        data = path.read_bytes()
        text = data.decode()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise LogError(msg) from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        msg = f"{path}: line {line} is not UTF-8; convert the file, e.g. with iconv"
        raise LogError(msg) from error
    return parse_log(path, text, sha256(data).digest())


def parse_log(path: Path, text: str, digest: bytes) -> Log:
    """Lines that have none of the three forms are counted, not guessed at."""
    lines: list[LogLine] = []
    events = unreadable = 0
    day = _date_in(path.name)
    last: timedelta | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith("==="):
            events += 1
            continue
        match = _MESSAGE.match(_CONTROL.sub("", line)) or _ACTION.match(_CONTROL.sub("", line))
        if match is None or not match[3].strip() or not match[4].strip():
            unreadable += bool(line.strip())
            continue
        clock = timedelta(hours=int(match[1]), minutes=int(match[2]))
        if last is not None and last - clock > _HALF_DAY and day is not None:
            day += timedelta(days=1)
        last = clock
        said = None if day is None else int((day + clock).timestamp() * 1000)
        action = match.re is _ACTION
        lines.append(LogLine(number=number, nick=match[3].strip(), text=match[4], action=action, said_ms=said))
    return Log(path=path, digest=digest, lines=tuple(lines), events=events, unreadable=unreadable)


def _date_in(name: str) -> datetime | None:
    match = _DATE_IN_NAME.search(name)
    if match is None:
        return None
    try:
        return datetime(int(match[1]), int(match[2]), int(match[3]), tzinfo=UTC)
    except ValueError:
        return None
