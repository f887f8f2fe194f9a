"""The ledger: what was appended is there afterwards, in order, or its loss is noticed (protocol, 4 and 10.10)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pbft.core.effects import Record, RecordKind
from pbft.core.types import SequenceNumber
from pbft.node.ledger import CARRIED, LedgerDamaged
from pbft.node.ledger_files import LEDGER_NAME, WITNESS_NAME
from tests.node.ledgers import (
    WAL_NAME,
    WINDOW,
    Image,
    fill,
    image_of,
    lay_out,
    open_ledger,
    record,
    records_in,
    slot,
    stable,
    verdict,
)

CARRIED_IN_ORDER = sorted(CARRIED, key=lambda kind: str(kind.value))


def test_what_was_appended_is_there_in_order_after_a_restart(tmp_path: Path) -> None:
    transactions = [slot(1), [record(2)], [], slot(3), [stable(4), record(5)]]
    fill(tmp_path, transactions)
    everything = tuple(each for transaction in transactions for each in transaction)
    assert records_in(tmp_path) == everything
    fill(tmp_path, [slot(6)])
    assert records_in(tmp_path) == (*everything, *slot(6))


def test_bytes_come_back_as_they_were(tmp_path: Path) -> None:
    awkward = [b"", b"\x00", b"'; DROP TABLE records; --", bytes(range(256)), b"\xff" * 100_000]
    records = [Record(RecordKind.BODY, SequenceNumber(2**63 - 1), data) for data in awkward]
    fill(tmp_path, [records])
    assert records_in(tmp_path) == tuple(records)


def test_an_empty_append_is_no_transaction(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append([])
    assert ledger.commits == 0
    ledger.append([record(1)])
    assert ledger.commits == 1
    ledger.close()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append([record(1)])
    assert {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == dict.fromkeys(
        [LEDGER_NAME, WAL_NAME, f"{LEDGER_NAME}-shm", WITNESS_NAME], 0
    )
    ledger.close()


def test_a_restart_gets_all_votes_above_the_last_stable_checkpoint_and_its_certificates(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for transaction in (slot(7), slot(9), [stable(4)], slot(8), [stable(8)], slot(10)):
        ledger.append(transaction)
    assert ledger.records_to_resume(SequenceNumber(9), WINDOW) == (*slot(9), stable(4), stable(8), *slot(10))
    ledger.close()


def test_a_state_that_lags_behind_the_stable_checkpoint_gets_what_it_has_to_execute_again(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for transaction in (slot(3), slot(4), [stable(4)], slot(5), slot(8), [stable(8)], slot(9)):
        ledger.append(transaction)
    lagging = ledger.records_to_resume(SequenceNumber(3), WINDOW)
    assert lagging == (*slot(4), stable(4), *slot(5), *slot(8), stable(8), *slot(9))
    ledger.close()


def test_a_state_that_is_lost_or_too_far_behind_gets_nothing_below_the_stable_checkpoint(tmp_path: Path) -> None:
    """It could not execute it: what comes next is missing, and a ledger may hold gigabytes."""
    ledger = open_ledger(tmp_path)
    for transaction in (slot(3), slot(4), [stable(4)], slot(5), slot(8), [stable(8)], slot(9)):
        ledger.append(transaction)
    above = (stable(4), stable(8), *slot(9))
    assert ledger.records_to_resume(None, WINDOW) == above, "it is not whole"
    assert ledger.records_to_resume(SequenceNumber(0), WINDOW) == above, "it is lost"
    assert ledger.records_to_resume(SequenceNumber(5), WINDOW) == above, "it ends before a gap"
    ledger.close()


def test_a_state_that_lags_far_behind_gets_no_more_than_a_window(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for sequence in range(1, 41):
        ledger.append(slot(sequence))
    ledger.append([stable(40)])
    ledger.append(slot(41))
    window = [each for sequence in range(3, 3 + WINDOW) for each in slot(sequence)]
    assert ledger.records_to_resume(SequenceNumber(2), WINDOW) == (*window, stable(40), *slot(41))
    ledger.close()


@pytest.mark.parametrize("kind", CARRIED_IN_ORDER)
def test_a_restart_gets_what_is_carried_whatever_its_sequence_number(tmp_path: Path, kind: RecordKind) -> None:
    ledger = open_ledger(tmp_path)
    for transaction in (slot(1), [record(0, kind)], [record(3, kind)], slot(4), [stable(4)]):
        ledger.append(transaction)
    resumed = ledger.records_to_resume(SequenceNumber(4), WINDOW)
    assert resumed == (record(0, kind), record(3, kind), stable(4))
    ledger.close()


# -- serving peers


def test_certificates_and_batches_of_a_range(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for sequence in (3, 1, 2, 5):
        ledger.append(slot(sequence))
    found = ledger.certificates(RecordKind.COMMITTED, 1, 3)
    assert found == [record(sequence, RecordKind.COMMITTED).data for sequence in (1, 2, 3)]
    assert ledger.certificates(RecordKind.COMMITTED, 4, 4) == []
    assert ledger.batch_records(SequenceNumber(5)) == [record(5, RecordKind.PROPOSAL)]
    ledger.close()


ROT = {
    "data": "UPDATE records SET data = zeroblob(length(data)) WHERE id = :id",
    "data made text": "UPDATE records SET data = 'text' WHERE id = :id",
    "data no UTF-8": "UPDATE records SET data = CAST(x'ff' AS TEXT) WHERE id = :id",
    "data made a number": "UPDATE records SET data = 7 WHERE id = :id",
    "link": "UPDATE records SET link = zeroblob(16) WHERE id = :id",
    "link made text": "UPDATE records SET link = 'link' WHERE id = :id",
    "kind": "UPDATE records SET kind = 'body' WHERE id = :id",
    "link of the one before": "UPDATE records SET link = zeroblob(16) WHERE id = :id - 1",
    "link of the one before made text": "UPDATE records SET link = 'link' WHERE id = :id - 1",
    "the one before lost": "DELETE FROM records WHERE id = :id - 1",
}


@pytest.mark.parametrize("rot", sorted(ROT))
def test_what_rots_while_the_node_runs_is_not_served(tmp_path: Path, rot: str) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append([record(1), *slot(2), record(3, RecordKind.PROPOSAL)])
    ledger._database.execute(ROT[rot], {"id": 2})
    with pytest.raises(LedgerDamaged, match="twice"):
        ledger.batch_records(SequenceNumber(2))
    assert ledger.batch_records(SequenceNumber(3)) == [record(3, RecordKind.PROPOSAL)]
    ledger.close()


@pytest.mark.parametrize("table", ["records", "anchor"])
def test_the_oldest_record_is_served_if_it_follows_what_was_dropped(tmp_path: Path, table: str) -> None:
    ledger = open_ledger(tmp_path, retained=2)
    ledger.append([*slot(1), *slot(2), *slot(3), *slot(4)])
    ledger.append([stable(4)])
    oldest = ledger.records()[0]
    assert oldest == record(3, RecordKind.PROPOSAL)
    assert ledger.batch_records(SequenceNumber(3)) == [oldest]
    ledger._database.execute(f"UPDATE {table} SET link = zeroblob(16)")
    with pytest.raises(LedgerDamaged):
        ledger.batch_records(SequenceNumber(3))
    ledger.close()


def test_a_certificate_that_rotted_is_not_served(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append([*slot(1), *slot(2)])
    ledger._database.execute("UPDATE records SET data = x'00' WHERE kind = 'committed' AND sequence = 2")
    assert ledger.certificates(RecordKind.COMMITTED, 1, 1) == [record(1, RecordKind.COMMITTED).data]
    with pytest.raises(LedgerDamaged):
        ledger.certificates(RecordKind.COMMITTED, 1, 2)
    ledger.close()


def test_what_rotted_is_not_copied_into_a_record_that_is_sound(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, retained=1)
    ledger.append([record(0, RecordKind.NEW_VIEW), *slot(1), *slot(2)])
    ledger._database.execute("UPDATE records SET data = x'00' WHERE id = 1")
    with pytest.raises(LedgerDamaged):
        ledger.append([stable(4)])
    ledger.close()
    assert verdict(tmp_path) is None


# -- pruning


def test_records_below_the_retained_ones_are_dropped_and_the_chain_still_holds(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, retained=4)
    for sequence in range(1, 21):
        ledger.append(slot(sequence))
        if sequence % 4 == 0:
            ledger.append([record(sequence, RecordKind.CHECKPOINT), stable(sequence)])
    ledger.close()
    kept = {each.sequence for each in records_in(tmp_path)}
    assert set(range(17, 21)) <= kept, "what is retained for peers"
    assert min(kept) >= 16
    assert records_in(tmp_path)[-1] == stable(20)
    fill(tmp_path, [slot(21)], retained=4)
    assert records_in(tmp_path)[-5:] == tuple(slot(21))


def test_nothing_is_dropped_while_an_earlier_record_of_a_kept_sequence_stands_before_it(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, retained=2)
    late, early = [record(1), record(2)], [record(9)]
    for transaction in (early, late, [stable(8)]):
        ledger.append(transaction)
    assert ledger.records() == (*early, *late, stable(8))
    ledger.close()


@pytest.mark.parametrize("kind", CARRIED_IN_ORDER)
def test_pruning_keeps_the_newest_record_of_each_kind_that_is_carried(tmp_path: Path, kind: RecordKind) -> None:
    ledger = open_ledger(tmp_path, retained=2)
    ledger.append([record(0, kind), record(0, kind, size=60)])
    for sequence in range(1, 41):
        ledger.append(slot(sequence))
        if sequence % 4 == 0:
            ledger.append([stable(sequence)])
        kept = [each for each in ledger.records() if each.kind is kind]
        assert kept[-1] == record(0, kind, size=60)
        assert len(kept) <= 2
    assert len(ledger.records()) < 40
    everything = ledger.records()
    ledger.close()
    assert records_in(tmp_path) == everything


def test_what_is_carried_stays_in_its_order(tmp_path: Path) -> None:
    """Repaired after it diverged is another thing than diverged after it was repaired."""
    order = [RecordKind.DIVERGED, RecordKind.REPAIRED]
    for name, kinds in (("well", order), ("ill", order[::-1])):
        ledger = open_ledger(tmp_path / name, retained=2)
        ledger.append([record(0, RecordKind.NEW_VIEW)])
        for sequence in range(1, 41):
            if sequence in {3, 9}:
                ledger.append([record(sequence, kinds[sequence == 9])])
            ledger.append(slot(sequence))
            if sequence % 4 == 0:
                ledger.append([stable(sequence)])
            newest = [
                each.kind for each in ledger.records_to_resume(SequenceNumber(sequence), WINDOW) if each.kind in order
            ]
            assert newest[-1:] == ([] if sequence < 3 else [kinds[sequence >= 9]])
        ledger.close()


@pytest.mark.parametrize("retained", [0, 1, 3])
def test_pruning_keeps_the_certificate_it_is_done_for_and_all_votes_above_it(tmp_path: Path, retained: int) -> None:
    ledger = open_ledger(tmp_path, retained=retained)
    for sequence in range(1, 13):
        ledger.append([record(sequence)])
        if sequence % 4 == 0:
            ledger.append([record(sequence + 1, RecordKind.COMMITTED), stable(sequence), record(sequence + 2)])
        records = ledger.records()
        low = max((each.sequence for each in records if each.kind is RecordKind.STABLE), default=0)
        assert low == sequence - sequence % 4
        votes = {each.sequence for each in records if each.kind is RecordKind.PREPARE}
        assert set(range(low + 1, sequence + 1)) <= votes
    ledger.close()
    assert records_in(tmp_path) == records


def test_a_crash_between_commit_and_witness_while_pruning_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The witness stands before the transaction that dropped old records, perhaps up to its own first ones."""
    ledger = open_ledger(tmp_path / "live", retained=1)
    ledger.append(slot(1))
    images: list[Image] = []
    real = os.pwrite

    def crash_then_write(descriptor: int, data: bytes, offset: int) -> int:
        images.append(image_of(tmp_path / "live"))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", crash_then_write)
    ledger.append([*slot(2), *slot(3), stable(4), record(5)])
    monkeypatch.setattr(os, "pwrite", real)
    everything = ledger.records()
    ledger.close()
    assert [verdict(lay_out(image, tmp_path / "crashed")) for image in images] == [everything]
