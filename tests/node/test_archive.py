"""Old batches out of the ledger: the committed one of a slot, or the one with a digest, committed or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbft.core.codec import Opener
from pbft.core.effects import Archived, Record, RecordKind, ServeArchive
from pbft.core.messages import Batch, Body
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.node.archive import archived_frames
from pbft.node.ledger import Ledger, LedgerDamaged
from tests.harness.craft import Craft
from tests.harness.keys import make_group
from tests.node.ledgers import open_ledger

MEMBERS = make_group(4)
CRAFT = Craft(MEMBERS)
SLOT = SequenceNumber(7)
COMMITTED, OTHER, FETCHED, STRANGE = (CRAFT.batch(CRAFT.request("a", number)) for number in range(4))


def slot_with_three_batches(directory: Path) -> Ledger:
    """Two proposals in different views, one of them committed, and a body that was fetched."""
    ledger = open_ledger(directory)
    ledger.append(
        [
            Record(RecordKind.PROPOSAL, SLOT, CRAFT.proposal(0, SLOT, OTHER).wire),
            Record(RecordKind.PROPOSAL, SLOT, CRAFT.proposal(1, SLOT, COMMITTED, view=1).wire),
            Record(RecordKind.BODY, SLOT, FETCHED.wire),
            Record(
                RecordKind.COMMITTED, SLOT, CRAFT.commit_certificate(SLOT, COMMITTED.digest, (0, 1, 2), view=1).wire
            ),
        ]
    )
    return ledger


def served(ledger: Ledger, batch: Batch | None) -> list[Batch]:
    opener = Opener(MEMBERS.group, MEMBERS.verifier)
    serve = ServeArchive(
        to=ReplicaId(1), what=Archived.BODIES, first=SLOT, last=SLOT, digest=batch.digest if batch else None
    )
    bodies = [opener.open_peer(frame) for frame in archived_frames(ledger, opener, serve)]
    assert all(isinstance(body, Body) and body.sequence == SLOT for body in bodies)
    return [body.batch for body in bodies if isinstance(body, Body)]


def test_by_digest_each_batch_is_found_and_no_other(tmp_path: Path) -> None:
    ledger = slot_with_three_batches(tmp_path)
    for batch in (COMMITTED, OTHER, FETCHED):
        assert served(ledger, batch) == [batch]
    assert served(ledger, STRANGE) == []
    ledger.close()


def test_without_a_digest_it_is_the_committed_one(tmp_path: Path) -> None:
    ledger = slot_with_three_batches(tmp_path)
    assert served(ledger, None) == [COMMITTED]
    ledger.close()


def test_of_a_slot_that_is_not_committed_nothing_is_served_without_a_digest(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append([Record(RecordKind.PROPOSAL, SLOT, CRAFT.proposal(0, SLOT, OTHER).wire)])
    assert served(ledger, None) == []
    assert served(ledger, OTHER) == [OTHER]
    ledger.close()


def test_a_record_that_does_not_open_is_damage(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.append([Record(RecordKind.COMMITTED, SLOT, b"no certificate")])
    with pytest.raises(LedgerDamaged, match="sequence number 7 no longer opens"):
        served(ledger, None)
    ledger.close()
