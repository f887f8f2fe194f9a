"""Ledgers that lost or changed something: it is noticed, or nothing is lost (protocol, 4 and 10.10)."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pbft.node.ledger import LedgerDamaged, LedgerRefused
from pbft.node.ledger_files import LEDGER_NAME, WITNESS_NAME, genesis_of, link_of
from pbft.state.errors import StorageFailure
from tests.node.ledgers import (
    IDENTITY,
    WAL_NAME,
    Image,
    fill,
    flipped,
    image_of,
    lay_out,
    open_ledger,
    record,
    records_in,
    slot,
    stable,
    verdict,
)


def small_closed(directory: Path) -> Image:
    fill(directory, [slot(1), [record(2)], slot(3), [stable(4)]], retained=3)
    return image_of(directory)


def small_open(directory: Path) -> Image:
    """A ledger whose process was killed: all is in the write-ahead log, and part in the database too."""
    fill(directory, [slot(1), slot(2)])
    ledger = open_ledger(directory)
    for sequence in (3, 4):
        ledger.append(slot(sequence))
    image = image_of(directory)
    ledger.close()
    return image


SMALL: dict[str, Callable[[Path], Image]] = {"closed": small_closed, "killed": small_open}


@pytest.mark.parametrize(("kind", "name", "stride"), [
    ("closed", LEDGER_NAME, 7),
    ("killed", LEDGER_NAME, 31),
    ("killed", WAL_NAME, 17),
    ("closed", WITNESS_NAME, 1),
    ("killed", WITNESS_NAME, 1),
])  # fmt: skip
def test_pitfall_10_ledger_bit_flips_are_noticed(in_memory: Path, kind: str, name: str, stride: int) -> None:
    """Wherever a bit flips: everything is still there, or the ledger says that it is damaged. Nothing is lost."""
    image = SMALL[kind](in_memory / "sound")
    everything = verdict(lay_out(image, in_memory / "spoilt"))
    assert everything is not None
    noticed = 0
    # The headers of the file and of its pages byte by byte, the rest sampled.
    data = image[name]
    positions = sorted({*range(0, len(data), stride), *range(100)} & set(range(len(data))))
    for position in positions:
        for mask in {1 << position % 8, 0x80, 0xFF} if position < 100 else {1 << position % 8}:
            spoilt = image | {name: flipped(data, position, mask)}
            found = verdict(lay_out(spoilt, in_memory / "spoilt"))
            assert found in {None, everything}, f"byte {position} of {name} changed by {mask:#x}"
            noticed += found is None
    assert noticed > len(positions) // 20


@pytest.mark.parametrize("kind", sorted(SMALL))
@pytest.mark.parametrize("name", [LEDGER_NAME, WAL_NAME])
def test_a_file_cut_anywhere_is_noticed(in_memory: Path, kind: str, name: str) -> None:
    image = SMALL[kind](in_memory / "sound")
    if name not in image:
        return
    everything = verdict(lay_out(image, in_memory / "spoilt"))
    for length in range(0, len(image[name]), 311):
        found = verdict(lay_out(image | {name: image[name][:length]}, in_memory / "spoilt"))
        assert found in {None, everything}, f"{name} cut to {length} bytes"


def test_damage_stays_noticed_however_often_the_node_is_started(tmp_path: Path) -> None:
    image = small_open(tmp_path / "sound")
    data = image[WAL_NAME]
    spoilt = lay_out(image | {WAL_NAME: flipped(data, len(data) // 2, 1)}, tmp_path / "spoilt")
    assert [verdict(spoilt) for _ in range(3)] == [None, None, None]


def test_pitfall_10_ledger_torn_tail_is_cut(in_memory: Path) -> None:
    """Of a transaction that no one was told about, nothing remains; of those before it, everything."""
    ledger = open_ledger(in_memory / "live")
    ledger.append(slot(1))
    before = image_of(in_memory / "live")
    ledger.append(slot(2))
    after = image_of(in_memory / "live")
    ledger.close()
    old, new = tuple(slot(1)), (*slot(1), *slot(2))
    begin, end = len(before[WAL_NAME]), len(after[WAL_NAME])
    torn = 0
    for length in {*range(begin, end, 97), end}:
        cut = after | {WAL_NAME: after[WAL_NAME][:length], WITNESS_NAME: before[WITNESS_NAME]}
        found = verdict(lay_out(cut, in_memory / "torn"))
        assert found in {old, new}
        torn += found == old
        vouched = after | {WAL_NAME: after[WAL_NAME][:length]}
        assert verdict(lay_out(vouched, in_memory / "torn")) == (new if found == new else None)
    assert torn > 10


def test_after_a_torn_tail_was_cut_the_ledger_goes_on(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "live")
    ledger.append(slot(1))
    before = image_of(tmp_path / "live")
    ledger.append(slot(2))
    after = image_of(tmp_path / "live")
    ledger.close()
    torn = after | {WAL_NAME: after[WAL_NAME][:-100], WITNESS_NAME: before[WITNESS_NAME]}
    directory = lay_out(torn, tmp_path / "torn")
    fill(directory, [slot(3)])
    assert records_in(directory) == (*slot(1), *slot(3))


CHANGES = {
    "first deleted": "DELETE FROM records WHERE id = (SELECT min(id) FROM records)",
    "middle deleted": "DELETE FROM records WHERE id = 8",
    "last deleted": "DELETE FROM records WHERE id = (SELECT max(id) FROM records)",
    "all deleted": "DELETE FROM records",
    "data changed": "UPDATE records SET data = zeroblob(length(data)) WHERE id = 8",
    "data emptied": "UPDATE records SET data = x'' WHERE id = 8",
    "data made text": "UPDATE records SET data = 'text' WHERE id = 8",
    "data made a number": "UPDATE records SET data = 7 WHERE id = 8",
    "kind changed": "UPDATE records SET kind = 'commit' WHERE id = 8",
    "kind made bytes": "UPDATE records SET kind = CAST(kind AS BLOB) WHERE id = 8",
    "kind no UTF-8": "UPDATE records SET kind = CAST(x'ff' AS TEXT) WHERE id = 8",
    "sequence changed": "UPDATE records SET sequence = sequence + 1 WHERE id = 8",
    "sequence made text": "UPDATE records SET sequence = 'one' WHERE id = 8",
    "link changed": "UPDATE records SET link = zeroblob(16) WHERE id = 8",
    "link made text": "UPDATE records SET link = 'link' WHERE id = 8",
    "anchor deleted": "DELETE FROM anchor",
    "anchor moved": "UPDATE anchor SET id = id + 1",
    "anchor's link changed": "UPDATE anchor SET link = zeroblob(16)",
    "anchor's link made text": "UPDATE anchor SET link = 'link'",
    "anchor's id made text": "UPDATE anchor SET id = 'one'",
    "table dropped": "DROP TABLE records",
    "owner dropped": "DROP TABLE owner",
    "owner deleted": "DELETE FROM owner",
    "owner changed": "UPDATE owner SET identity = x'00'",
    "owner made text": "UPDATE owner SET identity = 'me'",
    "owner doubled": "INSERT INTO owner SELECT * FROM owner",
    "column renamed": "ALTER TABLE records RENAME COLUMN data TO body",
    "swapped": """
        UPDATE records SET id = -1 WHERE id = 8;
        UPDATE records SET id = 8 WHERE id = 9;
        UPDATE records SET id = 9 WHERE id = -1
    """,
    "moved": "UPDATE records SET id = (SELECT max(id) FROM records) + 1 WHERE id = 8",
    "one slipped in": """
        INSERT INTO records SELECT (SELECT max(id) FROM records) + 1, kind, 99, data, link FROM records LIMIT 1
    """,
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_record_changed_behind_the_ledgers_back_is_noticed(tmp_path: Path, change: str) -> None:
    small_closed(tmp_path)
    database = sqlite3.connect(tmp_path / LEDGER_NAME)
    database.executescript(CHANGES[change])
    database.close()
    with pytest.raises(LedgerDamaged, match="twice"):
        records_in(tmp_path)


def test_a_wrong_index_is_noticed(tmp_path: Path) -> None:
    """An index is derived data, which the chain does not cover: SQLite's own check has to find it."""
    fill(tmp_path, [slot(sequence) for sequence in range(1, 9)], retained=2)
    database = sqlite3.connect(tmp_path / LEDGER_NAME)
    (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'records_by_sequence'").fetchone()
    (size,) = database.execute("PRAGMA page_size").fetchone()
    database.close()
    data = bytearray((tmp_path / LEDGER_NAME).read_bytes())
    spoilt = 0
    for position in range((root - 1) * size, root * size):
        if data[position : position + 8] == b"proposal":
            data[position - 1] ^= 0x40  # the sequence number before it
            spoilt += 1
    assert spoilt == 8
    (tmp_path / LEDGER_NAME).write_bytes(data)
    with pytest.raises(LedgerDamaged, match="index"):
        records_in(tmp_path)


def losses(old: Image, new: Image) -> dict[str, Image]:
    """What may have become of the files of a ledger; `old` is an earlier image of them."""
    witness = new[WITNESS_NAME]
    newer = (int.from_bytes(witness[:8], "big") + 1).to_bytes(8, "big") + witness[8:]
    return {
        "database gone": {WITNESS_NAME: witness},
        "database empty": new | {LEDGER_NAME: b""},
        "database is garbage": new | {LEDGER_NAME: b"garbage" * 1000},
        "database is older": new | {LEDGER_NAME: old[LEDGER_NAME]},
        "witness gone": {LEDGER_NAME: new[LEDGER_NAME]},
        "witness empty": new | {WITNESS_NAME: b""},
        "witness cut": new | {WITNESS_NAME: witness[:-1]},
        "witness longer": new | {WITNESS_NAME: witness + b"\x00"},
        "witness newer": new | {WITNESS_NAME: newer},
        "database gone and witness empty": {WITNESS_NAME: b""},
        "database empty and witness empty": {LEDGER_NAME: b"", WITNESS_NAME: b""},
    }


def test_a_file_lost_or_replaced_is_noticed(tmp_path: Path) -> None:
    fill(tmp_path / "sound", [slot(1)])
    old = image_of(tmp_path / "sound")
    fill(tmp_path / "sound", [slot(2), slot(3)])
    new = image_of(tmp_path / "sound")
    for loss, image in losses(old, new).items():
        directory = lay_out(image, tmp_path / "spoilt")
        assert [verdict(directory) for _ in range(2)] == [None, None], loss


def test_a_witness_that_a_power_loss_left_behind_does_no_harm(tmp_path: Path) -> None:
    fill(tmp_path / "sound", [slot(1)])
    old = image_of(tmp_path / "sound")
    fill(tmp_path / "sound", [slot(2), slot(3)])
    new = image_of(tmp_path / "sound")
    directory = lay_out(new | {WITNESS_NAME: old[WITNESS_NAME]}, tmp_path / "behind")
    assert records_in(directory) == (*slot(1), *slot(2), *slot(3))


def test_the_second_of_two_power_losses_is_no_damage_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first left an old witness, and what comes first after it drops records, which must not outrun it."""
    open_ledger(tmp_path).close()
    at_first = (tmp_path / WITNESS_NAME).read_bytes()
    fill(tmp_path, [slot(1), slot(2)])
    (tmp_path / WITNESS_NAME).write_bytes(at_first)
    synced = [at_first]
    sync = os.fdatasync

    def noting(descriptor: int) -> None:
        sync(descriptor)
        synced.append((tmp_path / WITNESS_NAME).read_bytes())

    monkeypatch.setattr(os, "fdatasync", noting)
    fill(tmp_path, [[stable(4)], slot(5)], retained=1)
    (tmp_path / WITNESS_NAME).write_bytes(synced[-1])
    assert len(synced) == 3, "at the opening and before the ledger is shortened"
    assert slot(5)[-1] in records_in(tmp_path)


def killed_inside_a_sync(directory: Path) -> Path:
    """Whole records in the log that perhaps no disk has, and the witness of before."""
    fill(directory / "before", [slot(1), slot(2)])
    image = small_open(directory / "killed")
    return lay_out(image | {WITNESS_NAME: image_of(directory / "before")[WITNESS_NAME]}, directory / "restarted")


def test_what_only_the_systems_memory_had_is_on_the_disk_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite writes the log into the database once more and syncs it; then the witness may say so."""
    directory = killed_inside_a_sync(tmp_path)
    at_sync: list[Image] = []
    sync = os.fdatasync

    def noting(descriptor: int) -> None:
        at_sync.append(image_of(directory))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", noting)
        ledger = open_ledger(directory)
    assert ledger._database.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: else SQLite would not sync"
    everything = ledger.records()
    ledger.close()
    assert everything[-1] == slot(4)[-1]
    (image,) = at_sync
    assert image[WAL_NAME] == b""
    without_log = {name: data for name, data in image.items() if name != WAL_NAME}
    assert verdict(lay_out(without_log, tmp_path / "power lost")) == everything


def test_a_disk_that_does_not_sync_what_was_found_is_a_failure_and_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = killed_inside_a_sync(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(StorageFailure, match=f"{WITNESS_NAME}: Input/output error"):
            open_ledger(directory)
    assert slot(4)[-1] in records_in(directory)


@pytest.mark.parametrize("retained", [1, 1000])
def test_the_ledger_of_another_group_or_replica_is_refused(tmp_path: Path, retained: int) -> None:
    fill(tmp_path, [slot(1), slot(2), slot(3), [stable(4)], slot(5)], retained=retained)
    before = image_of(tmp_path)
    with pytest.raises(LedgerRefused, match="another"):
        open_ledger(tmp_path, identity=b"somebody else", retained=retained)
    assert image_of(tmp_path) == before


def test_the_empty_ledger_of_another_replica_is_refused_too(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    with pytest.raises(LedgerRefused, match="another"):
        open_ledger(tmp_path, identity=b"somebody else")


def test_the_damaged_ledger_of_another_replica_is_damaged(tmp_path: Path) -> None:
    small_closed(tmp_path)
    database = sqlite3.connect(tmp_path / LEDGER_NAME)
    database.executescript(CHANGES["data changed"])
    database.close()
    with pytest.raises(LedgerDamaged):
        open_ledger(tmp_path, identity=b"somebody else")


def test_a_kind_of_a_later_version_is_refused_and_not_skipped(tmp_path: Path) -> None:
    fill(tmp_path, [[record(1)]])
    genesis = genesis_of(IDENTITY)
    link = link_of(genesis + genesis, 1, "invention", 1, b"")
    database = sqlite3.connect(tmp_path / LEDGER_NAME)
    database.execute("UPDATE records SET kind = 'invention', data = x'', link = ?", (link,))
    database.commit()
    database.close()
    with pytest.raises(LedgerRefused, match=r"record 1 is of kind 'invention'.* run the version"):
        records_in(tmp_path)


def test_a_ledger_of_before_the_first_release_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, [slot(1)])
    database = sqlite3.connect(tmp_path / LEDGER_NAME)
    database.executescript("DROP TABLE owner; PRAGMA user_version = 0")
    database.close()
    with pytest.raises(LedgerRefused, match="earlier version"):
        records_in(tmp_path)


def test_a_directory_without_any_ledger_has_lost_it(tmp_path: Path) -> None:
    """Every replica gets one when its group is founded."""
    with pytest.raises(LedgerDamaged, match="gone"):
        records_in(tmp_path)
    assert list(tmp_path.iterdir()) == []
