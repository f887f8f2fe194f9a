"""The replica's slots between the watermarks, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator

from pbft.core.effects import IgnoreReason
from pbft.core.errors import invariant
from pbft.core.group import Group
from pbft.core.slot import Slot
from pbft.core.types import Milliseconds, SequenceNumber, View


class Log:
    """Slots in the window above the low watermark h, the last stable checkpoint, and, while this replica has not
    executed so far, those it has still to execute. At most two windows of them."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.view = View(0)
        self.in_view = True
        """False from this replica's VIEW-CHANGE on until the NEW-VIEW of `view`."""
        self.low_watermark = SequenceNumber(0)
        self.last_executed = SequenceNumber(0)
        self._slots: dict[SequenceNumber, Slot] = {}

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def high_watermark(self) -> SequenceNumber:
        return SequenceNumber(self.low_watermark + self.group.parameters.window)

    @property
    def highest(self) -> SequenceNumber:
        """The highest sequence number with a slot, or the last executed one."""
        return max(self._slots, default=self.last_executed)

    def why_outside(self, sequence: SequenceNumber) -> IgnoreReason | None:
        """Whether votes are taken at a sequence number."""
        if sequence <= self.low_watermark:
            return IgnoreReason.BELOW_LOW_WATERMARK
        if sequence > self.high_watermark:
            return IgnoreReason.ABOVE_HIGH_WATERMARK
        return None

    def why_not_to_execute(self, sequence: SequenceNumber) -> IgnoreReason | None:
        """Whether a certificate at a sequence number is of use: inside the window, or next to what was executed."""
        if sequence <= self.last_executed:
            return IgnoreReason.ALREADY_EXECUTED
        if sequence <= self.last_executed + self.group.parameters.window:
            return None
        return self.why_outside(sequence)

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
        """The slot at a sequence number that is voted on or to be executed, made if need be."""
        slot = self._slots.get(sequence)
        if slot is None:
            useful = self.why_outside(sequence) is None or self.why_not_to_execute(sequence) is None
            invariant(useful, f"slot {sequence} is outside the window")
            slot = self._slots[sequence] = Slot(sequence=sequence, since=now)
        return slot

    def slots(self) -> Iterator[Slot]:
        """In order."""
        for sequence in sorted(self._slots):
            yield self._slots[sequence]

    def unexecuted(self) -> Iterator[Slot]:
        """Slots above the last executed sequence number, in order."""
        return (slot for slot in self.slots() if slot.sequence > self.last_executed)

    def move_to(self, view: View, now: Milliseconds, *, in_view: bool) -> None:
        """Take part in `view`, or wait for its NEW-VIEW; votes already here for it stay. PBFT section 4.4."""
        invariant(view >= self.view, "back to an earlier view")
        if view > self.view:
            self.view = view
            for slot in list(self._slots.values()):
                slot.leave_view(now)
                if slot.is_empty and not slot.bodies:
                    del self._slots[slot.sequence]
        self.in_view = in_view

    def advance(self, stable_checkpoint: SequenceNumber) -> None:
        """Raise h and forget the slots at and below it, but for those still to be executed."""
        self.low_watermark = max(self.low_watermark, stable_checkpoint)
        self._forget()

    def _forget(self) -> None:
        reach = self.last_executed + self.group.parameters.window
        for sequence in [sequence for sequence in self._slots if sequence <= self.low_watermark]:
            # Beyond its reach it executes nothing: it fetches the state, however far the group goes on meanwhile.
            is_useful = self.last_executed < sequence <= reach and self._slots[sequence].certificate is not None
            if not is_useful:
                del self._slots[sequence]

    def executed(self, sequence: SequenceNumber) -> None:
        """The state stands at `sequence` now."""
        self.last_executed = sequence
        if sequence <= self.low_watermark:
            self._slots.pop(sequence, None)

    def stand_at(self, sequence: SequenceNumber) -> None:
        """Another state was put in place: it stands at `sequence`, which may be lower than before."""
        self.last_executed = sequence
        self._forget()
