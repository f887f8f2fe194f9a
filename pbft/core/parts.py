"""What a replica is made of, and which part knows which."""

from __future__ import annotations

from typing import Protocol

from pbft.core.admission import Admission, ExecutedOperations
from pbft.core.checkpoints import Checkpoints
from pbft.core.codec import Opener
from pbft.core.exchange import Exchange
from pbft.core.execution import Execution
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.ordering import Ordering
from pbft.core.readers import Readers
from pbft.core.rejoin import Rejoin, RejoinHelp
from pbft.core.repair import Repair
from pbft.core.request_pool import RequestPool
from pbft.core.state_repair import StateRepair
from pbft.core.state_serving import StateServing
from pbft.core.state_walk import LocalState
from pbft.core.supervision import Supervision
from pbft.core.types import ReplicaId
from pbft.core.view_changes import ViewChanges
from pbft.core.view_votes import ViewVotes
from pbft.core.voting_rules import VotingRules
from pbft.core.witness import Witness


class ExecutedState(ExecutedOperations, LocalState, Protocol):
    """What the core looks up in the executed state."""


class Parts:
    """Each part is given those that it asks or tells, so that they are made from the bottom up: first what keeps and
    knows, then what decides."""

    ordering: Ordering
    views: ViewChanges
    supervision: Supervision
    state_repair: StateRepair

    def __init__(
        self, *, group: Group, me: ReplicaId, rules: VotingRules, opener: Opener, executed: ExecutedState
    ) -> None:
        self.group = group
        self.me = me
        self.rules = rules
        self.opener = opener
        self.executed = executed
        self.log = Log(group)
        self.pool = RequestPool(group.parameters, group.size - 1)
        self.witness = Witness(group, self.log)
        self.exchange = Exchange(group, me, opener)
        self.admission = Admission(
            group=group,
            me=me,
            rules=rules,
            log=self.log,
            pool=self.pool,
            executed=executed,
            witness=self.witness,
        )
        self.rejoin = Rejoin(group, me, rules, self.log)
        self.rejoin_help = RejoinHelp(group, me, self.log)
        self.votes = ViewVotes(group, me, self.log)
        self.checkpoints = Checkpoints(
            group=group, me=me, rules=rules, log=self.log, rejoin=self.rejoin, witness=self.witness
        )
        self.repair = Repair(
            group=group,
            me=me,
            log=self.log,
            checkpoints=self.checkpoints,
            votes=self.votes,
            rejoin=self.rejoin,
        )
        self.execution = Execution(
            group=group,
            log=self.log,
            checkpoints=self.checkpoints,
            repair=self.repair,
            rejoin=self.rejoin,
            witness=self.witness,
        )
        self.state_serving = StateServing(group, me)
        self.readers = Readers(rules, knows=executed.knows)
        self._make_what_decides()

    def _make_what_decides(self) -> None:
        self.ordering = Ordering(
            group=self.group,
            me=self.me,
            rules=self.rules,
            log=self.log,
            pool=self.pool,
            execution=self.execution,
            rejoin=self.rejoin,
            witness=self.witness,
        )
        self.views = ViewChanges(
            group=self.group,
            me=self.me,
            rules=self.rules,
            log=self.log,
            pool=self.pool,
            checkpoints=self.checkpoints,
            ordering=self.ordering,
            admission=self.admission,
            rejoin=self.rejoin,
            votes=self.votes,
            witness=self.witness,
        )
        self.supervision = Supervision(
            group=self.group,
            rules=self.rules,
            log=self.log,
            pool=self.pool,
            checkpoints=self.checkpoints,
            repair=self.repair,
            ordering=self.ordering,
            views=self.views,
            rejoin_help=self.rejoin_help,
        )
        self.state_repair = StateRepair(
            group=self.group,
            me=self.me,
            log=self.log,
            checkpoints=self.checkpoints,
            ordering=self.ordering,
            execution=self.execution,
            rejoin=self.rejoin,
            local=self.executed,
        )
