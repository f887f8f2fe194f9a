"""Moments and spans as people write and read them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

from clients.sdk import ClientFailure, ExitCode

SECOND_MS = 1000
DAY_MS = 86_400_000
SPAN_MS_MAX = 100 * 366 * DAY_MS

_UNITS_MS = {
    "s": SECOND_MS,
    "m": 60 * SECOND_MS,
    "min": 60 * SECOND_MS,
    "h": 3600 * SECOND_MS,
    "d": DAY_MS,
    "w": 7 * DAY_MS,
}
_SPAN = re.compile(r"([0-9]{1,9})(s|min|m|h|d|w)", re.ASCII)
_NOTHING = frozenset({"0", "off", "none", "never"})


def now_ms() -> int:
    """Milliseconds since 1970 by this machine's clock: the group's may differ a little."""
    return time.time_ns() // 1_000_000


def span_ms(text: str) -> int:
    """Return the milliseconds that `15m`, `2h30m`, `7d` or `1w` stand for, and 0 for `0`, `off`, `none` and `never`.

    Raises ClientFailure.
    """
    if text.casefold() in _NOTHING:
        return 0
    total, position = 0, 0
    for found in _SPAN.finditer(text):
        if found.start() != position:
            break
        total += int(found[1]) * _UNITS_MS[found[2]]
        position = found.end()
    if position != len(text) or not 0 < total <= SPAN_MS_MAX:
        msg = f"{text[:40]!r} is no span of time: write it like 90s, 15m, 2h30m, 7d or 1w"
        raise ClientFailure(msg, exit_code=ExitCode.USAGE)
    return total


def in_words(milliseconds: int) -> str:
    """Return a span like `2h 30m`; the second is the smallest unit."""
    left, words = milliseconds // SECOND_MS, []
    for name, seconds in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= seconds:
            words.append(f"{left // seconds}{name}")
            left %= seconds
    return " ".join(words) or "0s"


def moment_ms(text: str, *, utc: bool) -> int:
    """Return the milliseconds since 1970 of a date, also with a time of day, `today`, `yesterday`, or a span ago.

    Without an offset it is local time, or UTC if `utc`. Raises ClientFailure.
    """
    if _SPAN.match(text):
        return max(0, now_ms() - span_ms(text))
    try:
        return max(0, int(_date(text, utc=utc).timestamp() * 1000))
    except (ValueError, OverflowError, OSError) as error:
        example = "2026-05-31, '2026-05-31 14:00', yesterday, or 2h for so long ago"
        msg = f"{text[:40]!r} is no moment: write it like {example}"
        raise ClientFailure(msg, exit_code=ExitCode.USAGE) from error


def _date(text: str, *, utc: bool) -> datetime:
    days = {"today": 0, "yesterday": 1}.get(text.casefold())
    if days is None:
        found = datetime.fromisoformat(text)
    else:
        midnight = moment(now_ms(), utc=utc).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        found = midnight - timedelta(days=days)
    if found.tzinfo is None:
        return found.replace(tzinfo=UTC) if utc else found.astimezone()
    return found


def moment(milliseconds: int, *, utc: bool) -> datetime:
    """Return the moment in local time, or in UTC: also where local time knows of no such year."""
    at = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    try:
        return at if utc else at.astimezone()
    except (OverflowError, ValueError, OSError):
        return at


def minute(milliseconds: int, *, utc: bool) -> str:
    return moment(milliseconds, utc=utc).strftime("%Y-%m-%d %H:%M")


def second(milliseconds: int, *, utc: bool) -> str:
    return moment(milliseconds, utc=utc).strftime("%Y-%m-%d %H:%M:%S")
