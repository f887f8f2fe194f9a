"""Replicas in one process, in virtual time. Messages travel as wire bytes.

Effects are carried out in their order (`hands`); a crash may come between any two.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from adversary import craft
from crypto.digest import Digest
from crypto.signing import PublicKey, Signer
from pbft.core.codec import Opener
from pbft.core.effects import (
    ClientGone,
    EventsDone,
    FrameRefused,
    FromClient,
    FromPeer,
    Input,
    LinkUp,
    QueryDone,
    Received,
    Recovered,
    Timer,
    TimerExpired,
)
from pbft.core.errors import ProtocolViolation
from pbft.core.frames import sign_request, wire_of
from pbft.core.messages import (
    ClientMessage,
    OperationResult,
    PeerMessage,
    Request,
    SignedRequest,
)
from pbft.core.refused import proof_in
from pbft.core.replica import Replica
from pbft.core.types import ClientSequence, Milliseconds, Now, ReplicaId, SequenceNumber, SessionNumber
from pbft.core.voting_rules import VotingRules
from tests.harness.describe import Describe
from tests.harness.executor import MemoryExecutor
from tests.harness.hands import Hands
from tests.harness.keys import Members, make_group
from tests.harness.simnode import Flight, SimNode

WALL_START_MS = craft.WALL_START_MS
DELIVERIES_AT_ONCE_MAX = 20_000
"""More deliveries than this without time passing are a flood."""


class Cluster:
    """`n` replicas; those in `byzantine` run no core: a test speaks for them."""

    def __init__(
        self,
        n: int = 4,
        *,
        seed: int = 0,
        members: Members | None = None,
        byzantine: Sequence[int] = (),
        start: bool = True,
        real: bool = False,
        **parameters: Any,
    ) -> None:
        self.seed = seed
        self.members = members or make_group(n, seed=seed, real=real, **parameters)
        self.group = self.members.group
        self.describe = Describe(self.members)
        self.now_ms = 1000
        self.flying: list[Flight] = []
        correct = [me for me in self.group.replicas if me not in byzantine]
        self.nodes = {me: SimNode(me, MemoryExecutor(self.group)) for me in correct}
        self.replicas: dict[ReplicaId, Replica] = {}
        self.openers = {me: Opener(self.group, self.members.verifier) for me in self.group.replicas}
        self.order: dict[SequenceNumber, Digest] = {}
        """What was executed where first: every replica must agree."""
        self.results: dict[tuple[PublicKey, int, int], dict[ReplicaId, OperationResult]] = {}
        self.replies: list[tuple[ReplicaId, PublicKey, Any]] = []
        self.sent: Counter[str] = Counter()
        self.trace: Callable[[str], None] | None = None
        self.on_send: Callable[[Flight], bool] | None = None
        """Says whether a frame may leave."""
        self.drops_useless = False
        """Whether votes that can change nothing are dropped unopened, as a node does under load."""
        self.deferred = False
        """Whether executed batches wait to be taken up by `pump`."""
        self._hands = Hands(self)
        if start:
            for me in self.nodes:
                self.restart(me, link_up=False)
            self.introduce()

    def introduce(self) -> None:
        """Links are up, and everybody has heard of everybody."""
        for me, replica in self.replicas.items():
            for peer in self.group.others(me):
                replica.repair.on_heard(peer, self.now(me).steady)

    # -- time, crash and restart

    def now(self, me: ReplicaId) -> Now:
        wall = WALL_START_MS + self.now_ms + self.nodes[me].skew_ms
        return Now(steady=Milliseconds(self.now_ms), wall=Milliseconds(wall))

    def crash(self, me: int, *, power_loss: bool = False) -> None:
        """What is neither in the ledger nor in the state is gone, and so is what travelled to or from it."""
        node = self.nodes[ReplicaId(me)]
        node.alive, node.fuse = False, None
        node.archive, node.timers, node.inputs = [], {}, deque()
        self.flying = [flight for flight in self.flying if me not in (flight.source, flight.to)]
        if power_loss:
            node.executor.lose_power()

    def restart(self, me: int, *, link_up: bool = True) -> None:
        node = self.nodes[ReplicaId(me)]
        opener = self.openers[node.me] = Opener(self.group, self.members.verifier)
        self.replicas[node.me] = Replica(
            group=self.group,
            me=node.me,
            rules=VotingRules(self.group, node.me, self.members.signers[node.me]),
            opener=opener,
            executed=node.executor,
        )
        node.alive = True
        recovered = Recovered(
            now=self.now(node.me),
            records=tuple(node.ledger),
            last_executed=node.executor.state.last_executed,
            checkpoint=node.executor.state.checkpoint,
            is_whole=node.executor.state.is_whole,
            evidence=tuple(node.evidence),
        )
        self.step(node.me, recovered)
        if link_up:
            self.connect(me)

    def connect(self, me: int) -> None:
        for peer in self.nodes:
            if peer != me and self.nodes[peer].alive:
                self.step(ReplicaId(me), LinkUp(now=self.now(ReplicaId(me)), peer=peer))
                self.step(peer, LinkUp(now=self.now(peer), peer=ReplicaId(me)))

    def advance(self, milliseconds: int) -> None:
        """Let time pass, and timers expire that fall into it."""
        end = self.now_ms + milliseconds
        while True:
            due = [(at, me, timer) for me, node in self.nodes.items() for timer, at in node.timers.items()]
            due = sorted((item for item in due if item[0] <= end), key=lambda item: (item[0], item[1]))
            if not due:
                break
            at, me, timer = due[0]
            self.now_ms = max(self.now_ms, at)
            self.fire(me, timer)
        self.now_ms = end

    def fire(self, me: int, timer: Timer = Timer.STATUS) -> None:
        node = self.nodes[ReplicaId(me)]
        node.timers.pop(timer, None)
        if self.trace is not None:
            self.trace(f"timer {timer.name} at {me}")
        self.step(node.me, TimerExpired(now=self.now(node.me), timer=timer))

    # -- messages

    def request(
        self,
        device: str,
        *operations: bytes,
        session: int = 1,
        first: int = 0,
        ack: int = 0,
        to: Sequence[int] | None = None,
    ) -> SignedRequest:
        """Sign a request and send it to the primary, or to whom it says."""
        message = Request(
            session=SessionNumber(session),
            first_client_sequence=ClientSequence(first),
            ack_below=ClientSequence(ack),
            operations=operations or (b"operation %d" % first,),
        )
        request = sign_request(self.group, self.members.device(device), message)
        self.send_request(request, (0,) if to is None else to)
        return request

    def send_request(self, request: SignedRequest, to: Sequence[int]) -> None:
        self.flying.extend(Flight(request.device, ReplicaId(replica), request.wire) for replica in to)

    def inject(self, source: int, to: int, message: PeerMessage | bytes) -> None:
        """Put a message on the link from `source`, whoever signed it."""
        frame = message if isinstance(message, bytes) else wire_of(self.group.epoch, message)
        self.flying.append(Flight(ReplicaId(source), ReplicaId(to), frame))

    def deliver(self, flight: Flight) -> None:
        """Open a frame as its receiver does, and step. A ProtocolViolation reaches the caller."""
        node = self.nodes.get(flight.to)
        if node is None or not node.alive:
            return
        item: FromPeer | FromClient
        if isinstance(flight.source, bytes):
            device, opened = PublicKey(flight.source), self.openers[flight.to].open_client(flight.frame)
            item = FromClient(device=device, message=opened)
        else:
            opener = self.openers[flight.to]
            try:
                parsed = opener.parse_peer(flight.frame)
                if self.drops_useless and self.replicas[flight.to].is_useless(parsed.value):
                    return
                item = FromPeer(peer=flight.source, message=opener.open(parsed))
            except ProtocolViolation:
                evidence = proof_in(opener, flight.frame)
                if evidence is not None:
                    self.step(flight.to, FrameRefused(now=self.now(flight.to), evidence=evidence))
                raise
        if self.trace is not None:
            self.trace(f"deliver {self.text(flight)}")
        self.step(flight.to, Received(now=self.now(flight.to), messages=(item,)))

    def text(self, flight: Flight) -> str:
        opener = Opener(self.group, self.members.verifier)
        from_client = isinstance(flight.source, bytes)
        message = opener.open_client(flight.frame) if from_client else opener.open_peer(flight.frame)
        return f"{self.describe.message(message)} {self.describe.source(flight.source)}->{flight.to}"

    def from_client(self, device: Signer, to: int, message: ClientMessage) -> None:
        """Deliver a client's message at once."""
        me, key = ReplicaId(to), device.public_key
        frame = wire_of(self.group.epoch, message)
        item = FromClient(device=key, message=self.openers[me].open_client(frame))
        self.step(me, Received(now=self.now(me), messages=(item,)))

    def client_gone(self, device: Signer, at: int) -> None:
        me = ReplicaId(at)
        self.step(me, ClientGone(now=self.now(me), device=device.public_key))

    def deliver_all(self) -> None:
        """Everything under way and what follows from it, first in first out; time stands still."""
        for _ in range(DELIVERIES_AT_ONCE_MAX):
            if not self.flying:
                return
            self.deliver(self.flying.pop(0))
        raise AssertionError(self.report("messages without end"))

    def settle(self, until: Callable[[], bool], *, within_ms: int = 20_000) -> None:
        """Deliver everything and let time pass until `until`; fails with the seed after `within_ms`."""
        end = self.now_ms + within_ms
        self.deliver_all()
        while not until():
            if self.now_ms >= end:
                raise AssertionError(self.report(f"no progress within {within_ms} ms"))
            self.advance(50)
            self.deliver_all()

    # -- one step

    def step(self, me: ReplicaId, given: Input) -> None:
        """Step, and carry the effects out, unless a crash comes between two of them."""
        node = self.nodes[me]
        if not node.alive:
            return
        effects = self.replicas[me].step(given)
        if self.trace is not None:
            for line in self.describe.effects(effects, self.now_ms):
                self.trace(f"  {me}: {line}")
        for action in self._hands.actions(node, effects):
            if node.fuse is not None:
                if node.fuse == 0:
                    self.crash(me)
                    return
                node.fuse -= 1
            action()
        if not self.deferred:
            self.pump(me)

    def pump(self, me: ReplicaId) -> None:
        """Hand the machine the results of what it asked to be executed or read."""
        inputs = self.nodes[me].inputs
        while inputs and self.nodes[me].alive:
            given = inputs.popleft()
            if self.trace is not None:
                self.trace(f"{_name(given)} at {me}")
            self.step(me, given)

    # -- what to assert

    def executed_everywhere(self, count: int) -> Callable[[], bool]:
        """Whether every living replica ran `count` operations and all stand at the same place."""

        def done() -> bool:
            states = [node.executor.state for node in self.nodes.values() if node.alive]
            level = len({state.last_executed for state in states}) == 1
            return level and all(len(state.ran) == count for state in states)

        return done

    def assert_same_state(self) -> None:
        states = [node.executor.state for node in self.nodes.values() if node.alive]
        assert len({state.root() for state in states}) == 1, self.report("roots differ")
        assert len({tuple(state.history) for state in states}) == 1, self.report("histories differ")

    def report(self, what: str) -> str:
        stands = "; ".join(
            f"{me}: executed {node.executed}, h {self.replicas[me].log.low_watermark}, "
            f"{self.replicas[me].repair.status().slots}"
            for me, node in self.nodes.items()
            if me in self.replicas
        )
        return f"{what} (n={self.group.size} seed={self.seed} t={self.now_ms} ms). Replicas: {stands}"


def _name(given: Input) -> str:
    match given:
        case QueryDone(query_id=number):
            return f"query-done q={number}"
        case EventsDone(subscription=number):
            return f"events-done sub={number}"
        case _:
            return f"executed n={getattr(given, 'sequence', '?')}"
