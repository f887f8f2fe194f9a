"""The replica's slots between the watermarks, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator

from pbft.core.effects import IgnoreReason
from pbft.core.errors import invariant
from pbft.core.group import Group
from pbft.core.slot import Slot
from pbft.core.types import Milliseconds, SequenceNumber, View


class Log:
    """Holds at most `window` slots: all above the low watermark h, the last stable checkpoint."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.view = View(0)
        self.low_watermark = SequenceNumber(0)
        self.last_executed = SequenceNumber(0)
        self._slots: dict[SequenceNumber, Slot] = {}

    @property
    def high_watermark(self) -> SequenceNumber:
        return SequenceNumber(self.low_watermark + self.group.parameters.window)

    @property
    def highest(self) -> SequenceNumber:
        """The highest sequence number with a slot, or the last executed one."""
        return max(self._slots, default=self.last_executed)

    def why_outside(self, sequence: SequenceNumber) -> IgnoreReason | None:
        if sequence <= self.low_watermark:
            return IgnoreReason.BELOW_LOW_WATERMARK
        if sequence > self.high_watermark:
            return IgnoreReason.ABOVE_HIGH_WATERMARK
        return None

    def why_ignore_vote(self, view: View, sequence: SequenceNumber) -> IgnoreReason | None:
        """What PRE-PREPARE, PREPARE and COMMIT have in common. PBFT section 4.2."""
        if view < self.view:
            return IgnoreReason.OLD_VIEW
        if view > self.view:
            return IgnoreReason.FUTURE_VIEW
        return self.why_outside(sequence)

    def get(self, sequence: int) -> Slot | None:
        return self._slots.get(SequenceNumber(sequence))

    def slot(self, sequence: SequenceNumber, now: Milliseconds) -> Slot:
        """The slot at a sequence number inside the window, made if need be."""
        slot = self._slots.get(sequence)
        if slot is None:
            invariant(self.why_outside(sequence) is None, f"slot {sequence} is outside the window")
            slot = self._slots[sequence] = Slot(sequence=sequence, since=now)
        return slot

    def unexecuted(self) -> Iterator[Slot]:
        """Slots above the last executed sequence number, in order."""
        for sequence in sorted(self._slots):
            if sequence > self.last_executed:
                yield self._slots[sequence]

    def advance(self, stable_checkpoint: SequenceNumber) -> None:
        """Raise h and forget the slots at and below it."""
        invariant(stable_checkpoint <= self.last_executed, "a checkpoint above what was executed")
        self.low_watermark = max(self.low_watermark, stable_checkpoint)
        for sequence in [sequence for sequence in self._slots if sequence <= self.low_watermark]:
            del self._slots[sequence]
