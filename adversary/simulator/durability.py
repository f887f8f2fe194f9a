"""What hosts have on their disks, against what they say: nothing is sent that is not stored, nor against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adversary.simulator.broken import Broken
from adversary.simulator.marks import Marks
from adversary.simulator.votes import Votes
from pbft.core.effects import Record, RecordKind
from pbft.core.messages import Checkpoint, Commit, NewView, PeerMessage, Signed, ViewChange
from pbft.core.types import View

if TYPE_CHECKING:
    from adversary.simulator.host import Host


class Durability:
    """Of one run. Disks are those of hosts, by their number; votes are those of replicas."""

    def __init__(self, marks: Marks) -> None:
        self._stored: dict[int, set[bytes]] = {}
        self._prepared: dict[int, set[int]] = {}
        """Sequence numbers of stored prepared certificates, by host."""
        self._votes = Votes(marks)
        self._views: dict[bytes, tuple[View, tuple[bytes, ...]]] = {}
        """The view of VIEW-CHANGE and NEW-VIEW frames, and the proposals in them, by their bytes."""
        self._durable_view: dict[int, View] = {}
        self._vouchable: dict[int, int] = {}
        """The highest checkpoint that a host ever had on its disk."""

    def begin_again(self, host: int) -> None:
        """Its ledger is a new one."""
        self._stored[host], self._prepared[host] = set(), set()

    def on_start(self, host: int) -> None:
        self._stored.setdefault(host, set())
        self._prepared.setdefault(host, set())

    def on_restored(self, host: Host) -> None:
        """What its ledger holds was told."""
        self._votes.on_restart(host.me, self._durable_view.get(host.number, View(0)))

    def on_state(self, host: int, sequence: int) -> None:
        """The state of a checkpoint is on its disk."""
        self._vouchable[host] = max(sequence, self._vouchable.get(host, 0))

    def note_view(self, message: object) -> None:
        """Of a message that somebody may store: records do not say of which view they are."""
        if isinstance(message, Signed) and isinstance(message.message, ViewChange | NewView):
            proposals = message.message.pre_prepares if isinstance(message.message, NewView) else ()
            self._views[message.wire] = message.message.view, tuple(each.wire for each in proposals)

    def on_stored(self, host: int, records: Sequence[Record]) -> None:
        self._stored[host].update(record.data for record in records)
        prepared = (record.sequence for record in records if record.kind is RecordKind.PREPARED)
        self._prepared[host].update(prepared)
        for record in records:
            if record.kind in {RecordKind.VIEW_CHANGE, RecordKind.NEW_VIEW}:
                view, proposals = self._views.get(record.data, (View(0), ()))
                self._stored[host].update(proposals)
                self._durable_view[host] = max(view, self._durable_view.get(host, View(0)))

    def on_send(self, host: Host, message: PeerMessage, statement: Signed[Any]) -> None:
        """A correct replica sends a statement of its own, alone or in a proposal."""
        stored = self._stored[host.number]
        if message.wire not in stored and statement.wire not in stored:  # type: ignore[union-attr]
            raise Broken("stored first", f"{host.me} sends {statement.message} before it is stored")
        wrong = self._votes.on_send(host.me, message)
        if wrong is not None:
            raise Broken("one vote", wrong)
        vote = statement.message
        if isinstance(vote, Commit) and vote.sequence not in self._prepared[host.number]:
            raise Broken("stored first", f"{host.me} commits at {vote.sequence} without a stored certificate")
        if isinstance(vote, Checkpoint) and self._vouchable.get(host.number, 0) < vote.sequence:
            raise Broken("stored first", f"{host.me} vouches for a state at {vote.sequence} that is not durable")
