"""The VIEW-CHANGEs and the NEW-VIEW that a replica holds, and who lacks them. PBFT section 4.4."""

from __future__ import annotations

from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import NewView, Signed, Status, ViewChange
from pbft.core.types import ReplicaId, View


class ViewVotes:
    """One VIEW-CHANGE of each replica, that to the highest view; and the NEW-VIEW of the current view."""

    def __init__(self, group: Group, me: ReplicaId, log: Log) -> None:
        self._group = group
        self._me = me
        self._log = log
        self._changes: dict[ReplicaId, Signed[ViewChange]] = {}
        self.new_view: Signed[NewView] | None = None
        """None in view 0, and while the current view has not begun."""

    def put(self, signed: Signed[ViewChange]) -> None:
        self._changes[signed.signer] = signed

    def of(self, replica: ReplicaId) -> Signed[ViewChange] | None:
        return self._changes.get(replica)

    def to(self, view: View) -> tuple[Signed[ViewChange], ...]:
        """Those to `view`, in order of replica."""
        return tuple(change for _, change in sorted(self._changes.items()) if change.message.view == view)

    def above(self, view: View) -> tuple[tuple[ReplicaId, View], ...]:
        """Who asks for a view above this one, and for which, in order of replica."""
        asked = ((replica, change.message.view) for replica, change in sorted(self._changes.items()))
        return tuple((replica, wanted) for replica, wanted in asked if wanted > view)

    def wanted_by(self, count: int) -> View:
        """The highest view that `count` replicas want, or a higher one; -1 if there are not so many."""
        views = sorted((change.message.view for change in self._changes.values()), reverse=True)
        return views[count - 1] if len(views) >= count else View(-1)

    def forget_to(self, view: View) -> None:
        self._changes = {replica: held for replica, held in self._changes.items() if held.message.view > view}

    def held(self) -> tuple[View, ...]:
        """For STATUS: the view of each replica's VIEW-CHANGE here, 0 for none; empty if there are none at all."""
        if not self._changes:
            return ()
        views = {replica: change.message.view for replica, change in self._changes.items()}
        return tuple(views.get(replica, View(0)) for replica in self._group.replicas)

    def missing(self) -> tuple[ReplicaId, ...]:
        """Whose VIEW-CHANGE to the view that is waited for is not here."""
        there = {replica for replica, change in self._changes.items() if change.message.view >= self._log.view}
        return tuple(replica for replica in self._group.replicas if replica not in there)

    def what_lacks(self, peer_status: Status) -> Signed[ViewChange] | Signed[NewView] | None:
        """This replica's VIEW-CHANGE, or the NEW-VIEW, if the peer has not got it."""
        log = self._log
        waits = peer_status.view == log.view and not peer_status.in_view
        if log.in_view:
            return self.new_view if peer_status.view < log.view or waits else None
        mine = self._changes.get(self._me)
        views = peer_status.view_changes
        held = views[self._me] if self._me < len(views) else View(0)
        if mine is None or held >= mine.message.view:
            return None
        return mine if peer_status.view < log.view or waits else None
