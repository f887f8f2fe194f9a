"""How a ledger begins: at founding, and again after a loss. A crash at any point leaves none that knows of nothing.

Attack 44 (total_disk_loss), pitfall 10 (non-atomic stores).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pbft.core.effects import Record, RecordKind
from pbft.core.types import SequenceNumber
from pbft.node.ledger import Ledger, LedgerDamaged, LedgerRefused
from pbft.node.ledger_files import LEDGER_NAME, WITNESS_NAME, has_run
from pbft.state.errors import StorageFailure
from tests.node.ledgers import (
    IDENTITY,
    WAL_NAME,
    WINDOW,
    Image,
    fill,
    flipped,
    image_of,
    lay_out,
    open_ledger,
    records_in,
    slot,
    stable,
    verdict,
)

REASON = "ledger.sqlite: record 3 was changed or lost"
AMNESIA = Record(RecordKind.AMNESIA, SequenceNumber(0), REASON.encode())


def everything_in(directory: Path) -> Image:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


@contextmanager
def images_before_every_write(directory: Path, patch: pytest.MonkeyPatch) -> Iterator[list[Image]]:
    """What the directory holds before each call that changes it, and in the end: what a kill there leaves."""
    images: list[Image] = []
    looking = False

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal looking
            if not looking:
                looking = True
                images.append(everything_in(directory))
                looking = False
            return real(*arguments, **options)

        return call

    class Watched(sqlite3.Connection):
        execute = watched(sqlite3.Connection.execute)
        executemany = watched(sqlite3.Connection.executemany)
        executescript = watched(sqlite3.Connection.executescript)
        close = watched(sqlite3.Connection.close)

    connect = sqlite3.connect
    with patch.context() as inner:
        for name in ("replace", "unlink", "touch"):
            inner.setattr(Path, name, watched(getattr(Path, name)))
        for name in ("rename", "fsync", "open"):
            inner.setattr(os, name, watched(getattr(os, name)))
        inner.setattr(sqlite3, "connect", lambda path, **options: connect(path, factory=Watched, **options))
        yield images
    images.append(everything_in(directory))


def spoilt(directory: Path) -> Image:
    """A ledger whose process was killed, with a bit flipped in its log."""
    fill(directory, [slot(1), slot(2)])
    ledger = open_ledger(directory)
    for sequence in (3, 4):
        ledger.append(slot(sequence))
    image = image_of(directory)
    ledger.close()
    log = image[WAL_NAME]
    return image | {WAL_NAME: flipped(log, len(log) // 2, 1)}


LOSSES: dict[str, Callable[[Image], Image]] = {
    "a bit flipped": lambda image: image,
    "witness gone": lambda image: {name: data for name, data in image.items() if name != WITNESS_NAME},
    "database gone": lambda image: {name: data for name, data in image.items() if name != LEDGER_NAME},
    "all but the log gone": lambda image: {WAL_NAME: image[WAL_NAME]},
    "everything gone": lambda _: {},
    "database empty": lambda image: image | {LEDGER_NAME: b""},
}


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_pitfall_10_killed_between_any_two_writes_of_a_new_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    directory = lay_out(LOSSES[loss](spoilt(tmp_path / "sound")), tmp_path / "spoilt")
    assert verdict(directory) is None
    before = everything_in(directory)
    with images_before_every_write(directory, monkeypatch) as images:
        Ledger.begin_again(directory, IDENTITY, REASON)
    assert verdict(directory) == (AMNESIA,)
    distinct = [image for number, image in enumerate(images) if number == 0 or image != images[number - 1]]
    assert len(distinct) > 4
    crashed = tmp_path / "crashed"
    for image in distinct:
        assert set(before.values()) <= set(image.values()), "what was left of the old one is kept"
        found = verdict(lay_out(image, crashed))
        assert found in {None, (AMNESIA,)}, "a ledger that has forgotten that it forgot"
        if found is None:  # the next start begins again once more
            Ledger.begin_again(lay_out(image, crashed), IDENTITY, REASON)
            assert verdict(crashed) == (AMNESIA,)


def test_what_is_left_is_kept_under_a_free_name_each_time(tmp_path: Path) -> None:
    fill(tmp_path, [slot(1)])
    for number in (1, 2, 3):
        (tmp_path / WITNESS_NAME).unlink()
        assert Ledger.begin_again(tmp_path, IDENTITY, REASON) == tmp_path / f"ledger.damaged-{number}"
        assert records_in(tmp_path) == (AMNESIA,)
    aside = tmp_path / "aside"
    aside.mkdir()
    shutil.copy(tmp_path / "ledger.damaged-1", aside / LEDGER_NAME)
    database = sqlite3.connect(aside / LEDGER_NAME)
    assert database.execute("SELECT count(*) FROM records").fetchone() == (len(slot(1)),)
    database.close()


def test_the_new_ledger_goes_on_and_never_forgets_that_it_forgot(tmp_path: Path) -> None:
    Ledger.begin_again(tmp_path, IDENTITY, REASON)
    ledger = Ledger(tmp_path, IDENTITY, retained_sequences=2)
    for sequence in range(1, 41):
        ledger.append(slot(sequence))
        if sequence % 4 == 0:
            ledger.append([stable(sequence)])
        assert AMNESIA in ledger.records_to_resume(SequenceNumber(sequence), WINDOW)
    ledger.close()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    Ledger.begin_again(tmp_path, IDENTITY, REASON)
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    assert modes == {LEDGER_NAME: 0, WITNESS_NAME: 0}


def test_a_disk_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(StorageFailure, match=r"missing.*start the node again"):
        Ledger.begin_again(missing, IDENTITY, REASON)
    with pytest.raises(StorageFailure, match=r"missing.*start the node again"):
        Ledger.create(missing, IDENTITY)


# -- founding


def test_pitfall_10_killed_between_any_two_writes_of_the_founding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no group before all its ledgers are made; founding is done again, with other keys."""
    with images_before_every_write(tmp_path, monkeypatch) as images:
        Ledger.create(tmp_path, IDENTITY)
    assert verdict(tmp_path) == ()
    crashed = tmp_path / "crashed"
    for image in images:
        lay_out(image, crashed)
        assert not has_run(crashed)
        Ledger.create(crashed, b"another key")
        Ledger(crashed, b"another key", retained_sequences=1).close()


def test_a_ledger_with_votes_is_never_made_anew(tmp_path: Path) -> None:
    fill(tmp_path, [slot(1)])
    for lost in (None, WITNESS_NAME):
        if lost is not None:
            (tmp_path / lost).unlink()
        before = everything_in(tmp_path)
        with pytest.raises(LedgerRefused, match="leave it alone"):
            Ledger.create(tmp_path, IDENTITY)
        assert everything_in(tmp_path) == before
    with pytest.raises(LedgerDamaged):
        records_in(tmp_path)
