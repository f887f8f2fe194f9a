"""The files of an SQLite database, and moving those of a damaged one out of the way."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from crypto.files import sync_directory

ENDS = ("", "-wal", "-shm", "-journal")
"""A database and what SQLite keeps beside it, by the end of its name."""
DAMAGED_KEPT_MAX = 3
"""Copies of one database. A disk that goes on failing would fill up with them."""


def database_files(path: Path) -> list[Path]:
    """All files that the database at `path` may consist of, itself first."""
    return [path.with_name(path.name + end) for end in ENDS]


def set_aside(path: Path, *beside: Path) -> Path:
    """Move a damaged database, and the files `beside` that belong to it, under the next free name; return that name.

    Keeps the newest DAMAGED_KEPT_MAX. Whatever a crash leaves here is opened again as damaged, or begun anew: the
    database goes first, and SQLite drops the log of one that is not there. Raises OSError.
    """
    ends = [*ENDS, *(each.suffix for each in beside)]
    before = _set_aside_before(path, ends)
    aside = path.with_name(f"{path.stem}.damaged-{max(before, default=0) + 1}")
    for source, end in zip([*database_files(path), *beside], ends, strict=True):
        if source.exists():
            os.rename(source, aside.with_name(aside.name + end))  # noqa: PTH104 - says what is done
    for number in sorted(before)[: -DAMAGED_KEPT_MAX + 1]:
        for old in before[number]:
            old.unlink()
    sync_directory(path.parent)
    return aside


def _set_aside_before(path: Path, ends: Iterable[str]) -> dict[int, list[Path]]:
    """Files of copies that were set aside, by their number."""
    name = re.compile(rf"{re.escape(path.stem)}\.damaged-([0-9]+)(?:{'|'.join(map(re.escape, ends))})")
    found: dict[int, list[Path]] = {}
    for each in sorted(path.parent.iterdir()):
        if (match := name.fullmatch(each.name)) is not None:
            found.setdefault(int(match[1]), []).append(each)
    return found
