"""The moments of a run, for reports: what was said to whom and what became of it, as plain data within a bound."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from adversary.attacks.outcome import Moment
from adversary.simulator.network import REPLICA_ADDRESSES
from adversary.simulator.run import Simulation
from adversary.simulator.scenario import Scenario
from pbft.core.errors import ProtocolViolation
from pbft.core.messages import (
    Checkpoint,
    CheckpointCertificate,
    ClientMessage,
    Commit,
    CommitCertificate,
    NewView,
    PeerMessage,
    Prepare,
    Proposal,
    Reply,
    SharedEvidence,
    Signed,
    SignedRequest,
    ToClient,
    ViewChange,
)

MOMENTS_MAX: Final = 20_000
RESERVED: Final = 1_000
"""Of them for lies, and for what becomes of replicas and people."""
DIGITS: Final = 8
TEXT_MAX: Final = 200

_HAPPENS: Final = (
    (re.compile(r"^start$"), "starts"),
    (re.compile(r"^dies$"), "crashes"),
    (re.compile(r"^stopped: (?P<text>.*)"), "stops"),
    (re.compile(r"^alarm: (?P<text>.*)"), "alarm"),
    (re.compile(r"^execute (?P<sequence>\d+): (?P<digest>[0-9a-f]+)"), "executes"),
    (re.compile(r"^install (?P<sequence>\d+): "), "installs a state"),
    (re.compile(r"^broken: (?P<text>.*)"), "breaks"),
    (re.compile(r"^healed$"), "heals"),
)
"""Notes of the trace about whoever is their source, and what a report calls them."""
_BEGIN = re.compile(r"^begin (?P<id>\d+) (?P<kind>\w+)")
_END = re.compile(r"^end (?P<id>\d+)")


class About(NamedTuple):
    """What a message is about."""

    what: str
    text: str = ""
    view: int | None = None
    sequence: int | None = None
    digest: str = ""


class Recorder:
    """A `Watch` of one run. Beyond its bound it keeps what happened, and of messages only lies."""

    def __init__(self, scenario: Scenario, moments_max: int = MOMENTS_MAX) -> None:
        self._scenario = scenario
        self._moments_max = moments_max
        self._moments: list[Moment] = []
        self._said: dict[tuple[object, ...], str] = {}
        """What each twin said of each slot first."""
        self._faults = {fault.id: fault for fault in scenario.faults}
        self._twins = {liar.replica for liar in scenario.liars if "twin" in liar.strategy}
        self._run: Simulation | None = None

    def attach(self, run: Simulation) -> None:
        """Its decoder tells what frames are about, and its hosts which of them are lies."""
        self._run = run
        for host in run.hosts:
            host.played.watch()

    @property
    def moments(self) -> tuple[Moment, ...]:
        return tuple(self._moments)

    # -- what a run tells

    def noted(self, at_us: int, what: str, source: int, to: int, frame: bytes) -> None:
        if frame:
            self._message(at_us, what, source, to, frame, lost=False)
        else:
            self._happening(at_us, what, source)

    def lost(self, at_us: int, what: str, source: int, to: int, frame: bytes) -> None:
        self._message(at_us, what, source, to, frame, lost=True)

    def proven(self, at_us: int, source: int, code: str, culprit: int | bytes) -> None:
        whom = f"device {culprit.hex()[:DIGITS]}" if isinstance(culprit, bytes) else f"replica {culprit}"
        self._keep(
            Moment(at_ms=at_us / 1000, source=self._place(source), what="proves", text=f"{code} against {whom}")
        )

    def accepted(self, at_us: int, client: int, sequence: int, text: str) -> None:
        self._keep(
            Moment(at_ms=at_us / 1000, source=self._place(client), what="accepted", text=text, sequence=sequence)
        )

    # -- what is made of it

    def _message(self, at_us: int, what: str, source: int, to: int, frame: bytes, *, lost: bool) -> None:
        about = self._about(what, frame)
        lie = self._is_lie(source, frame) or self._contradicts(source, about)
        if len(self._moments) >= self._moments_max - RESERVED and not lie:
            return
        moment = Moment(
            at_ms=at_us / 1000,
            source=self._place(source),
            to=self._place(to),
            what=about.what,
            text=about.text[:TEXT_MAX],
            view=about.view,
            sequence=about.sequence,
            digest=about.digest,
            lie=lie,
            lost=lost,
        )
        self._keep(moment)

    def _is_lie(self, source: int, frame: bytes) -> bool:
        return self._run is not None and source < REPLICA_ADDRESSES and self._run.hosts[source].lied(frame)

    def _contradicts(self, source: int, about: About) -> bool:
        """Twins are honest each; together they lie."""
        if source >= REPLICA_ADDRESSES or self._replica(source) not in self._twins or not about.digest:
            return False
        slot = (self._replica(source), about.what, about.view, about.sequence)
        return self._said.setdefault(slot, about.digest) != about.digest

    def _happening(self, at_us: int, what: str, source: int) -> None:
        begin, end = _BEGIN.match(what), _END.match(what)
        if begin or end:
            self._fault(at_us, int((begin or end)["id"]), begins=begin is not None)  # type: ignore[index]
            return
        for pattern, name in _HAPPENS:
            found = pattern.match(what)
            if found is not None:
                given = found.groupdict()
                moment = Moment(
                    at_ms=at_us / 1000,
                    source="" if source < 0 else self._place(source),
                    what=name,
                    text=given.get("text", "")[:TEXT_MAX],
                    sequence=int(given["sequence"]) if "sequence" in given else None,
                    digest=given.get("digest", "")[:DIGITS],
                )
                self._keep(moment)
                return

    def _fault(self, at_us: int, number: int, *, begins: bool) -> None:
        fault = self._faults.get(number)
        if fault is None:
            return
        kind = type(fault).__name__
        names = {"Partition": ("partition", "heals"), "Pause": ("pauses", "resumes")}
        told = {"Crash", "Damage"}  # what they do is noted by whom it is done to
        if kind in told:
            return
        what = names.get(kind, (kind.lower(), f"{kind.lower()} ends"))[not begins]
        replica = getattr(fault, "replica", None)
        sides = getattr(fault, "sides", ())
        text = " | ".join(" ".join(map(str, side)) for side in sides) if begins else ""
        source = "" if replica is None else f"replica {replica}"
        self._keep(Moment(at_ms=at_us / 1000, source=source, what=what, text=text))

    def _keep(self, moment: Moment) -> None:
        if len(self._moments) < self._moments_max:
            self._moments.append(moment)

    def _replica(self, address: int) -> int:
        size = self._scenario.replicas
        if address < size:
            return address
        return [liar.replica for liar in self._scenario.liars if "twin" in liar.strategy][address - size]

    def _place(self, address: int) -> str:
        if address >= REPLICA_ADDRESSES:
            return f"client {self._scenario.clients[address - REPLICA_ADDRESSES].name}"
        copy = "" if address < self._scenario.replicas else " (copy)"
        return f"replica {self._replica(address)}{copy}"

    def _about(self, kind: str, frame: bytes) -> About:
        assert self._run is not None  # noqa: S101 - attached before it begins
        frames = self._run.frames
        try:
            match kind:
                case "client":
                    return about(frames.from_client(frame))
                case "reply":
                    return about(frames.from_replica(frame))
                case _:
                    return about(frames.from_peer(frame))
        except ProtocolViolation as error:
            return About("GARBAGE", str(error))


def about(message: PeerMessage | ClientMessage | ToClient) -> About:
    """In the protocol's own words."""
    match message:
        case Proposal(pre_prepare=signed, batch=batch):
            vote = signed.message
            text = f"{batch.operation_count} operations"
            return About("PRE-PREPARE", text, vote.view, vote.sequence, vote.batch_digest.hex()[:DIGITS])
        case Signed(message=Prepare() | Commit() as vote):
            name = "PREPARE" if isinstance(vote, Prepare) else "COMMIT"
            return About(name, "", vote.view, vote.sequence, vote.batch_digest.hex()[:DIGITS])
        case Signed(message=Checkpoint() as vouched):
            return About("CHECKPOINT", "", None, vouched.sequence, vouched.state_root.hex()[:DIGITS])
        case Signed(message=ViewChange() as change):
            shown = ", ".join(str(each.pre_prepare.message.sequence) for each in change.prepared) or "nothing"
            return About("VIEW-CHANGE", f"stable {change.stable_checkpoint}, prepared {shown}", change.view)
        case Signed(message=NewView() as new_view):
            again = ", ".join(str(each.message.sequence) for each in new_view.pre_prepares) or "nothing"
            return About("NEW-VIEW", f"proposes again {again}", new_view.view)
        case Signed(message=Reply() as reply):
            return About("REPLY", f"{len(reply.results)} results", None, reply.sequence)
        case CommitCertificate(commit=vote):
            return About("COMMIT-CERTIFICATE", "", vote.view, vote.sequence, vote.batch_digest.hex()[:DIGITS])
        case CheckpointCertificate(checkpoint=vouched):
            return About("CHECKPOINT-CERTIFICATE", "", None, vouched.sequence, vouched.state_root.hex()[:DIGITS])
        case SignedRequest(message=request):
            return About("REQUEST", f"operation {request.first_client_sequence}")
        case SharedEvidence():
            return About("EVIDENCE")
        case Signed(message=other):
            return About(type(other).__name__.upper())
        case _:
            return About(type(message).__name__.upper())
