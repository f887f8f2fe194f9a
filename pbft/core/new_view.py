"""What a NEW-VIEW must propose again, as a pure function of its VIEW-CHANGEs. PBFT section 4.4."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crypto.digest import Digest
from pbft.core.frames import NULL_BATCH
from pbft.core.messages import CheckpointCertificate, NewView, PrePrepare, ViewChange
from pbft.core.types import SequenceNumber


def highest_checkpoint(changes: Iterable[ViewChange]) -> CheckpointCertificate | None:
    """The highest one certified among them; None if all stand at the beginning."""
    certified = [change.checkpoint for change in changes if change.checkpoint is not None]
    return max(certified, key=lambda held: held.checkpoint.sequence, default=None)


def proposed_again(changes: Sequence[ViewChange]) -> list[tuple[SequenceNumber, Digest]]:
    """O: every sequence number from the highest certified checkpoint to the highest prepared one.

    Each gets the digest prepared there in the highest view, or the null batch, which fills the gaps.
    """
    checkpoint = highest_checkpoint(changes)
    lowest = checkpoint.checkpoint.sequence if checkpoint is not None else SequenceNumber(0)
    prepared: dict[SequenceNumber, PrePrepare] = {}
    for change in changes:
        for certificate in change.prepared:
            vote = certificate.pre_prepare.message
            known = prepared.get(vote.sequence)
            if known is None or (vote.view, vote.batch_digest) > (known.view, known.batch_digest):
                prepared[vote.sequence] = vote
    highest = max(prepared, default=lowest)
    return [
        (sequence, prepared[sequence].batch_digest if sequence in prepared else NULL_BATCH.digest)
        for sequence in map(SequenceNumber, range(lowest + 1, highest + 1))
    ]


def proposes_what_it_must(new_view: NewView) -> bool:
    """Whether its proposals are the ones that its VIEW-CHANGEs call for, all of them and in order."""
    expected = proposed_again([change.message for change in new_view.view_changes])
    return [(each.message.sequence, each.message.batch_digest) for each in new_view.pre_prepares] == expected
