"""Messages and effects as one line of text each, for transcripts, traces and failure reports."""

from __future__ import annotations

from collections.abc import Iterator

from adversary.keys import Members
from crypto.digest import Digest
from crypto.signing import PublicKey
from pbft.core.effects import Effects, ReadEvents, RunQuery
from pbft.core.frames import NULL_BATCH
from pbft.core.messages import (
    Answer,
    Body,
    Checkpoint,
    CheckpointCertificate,
    ClientMessage,
    Commit,
    CommitCertificate,
    Credit,
    Events,
    Fetch,
    NewView,
    PeerMessage,
    Prepare,
    Proposal,
    Query,
    Reply,
    Signed,
    SignedRequest,
    Status,
    Subscribe,
    ToClient,
    Unsubscribe,
    ViewChange,
)
from pbft.core.types import ReplicaId

AnyMessage = PeerMessage | ClientMessage | ToClient


class Describe:
    """Digests are numbered d1, d2, ..., roots r1, r2, ... as they appear, so that transcripts outlive encodings."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._names: dict[tuple[str, Digest], str] = {}

    def digest(self, digest: Digest, letter: str = "d") -> str:
        if digest == NULL_BATCH.digest:
            return "null"
        count = sum(1 for kind, _ in self._names if kind == letter)
        return self._names.setdefault((letter, digest), f"{letter}{count + 1}")

    def source(self, source: ReplicaId | PublicKey) -> str:
        return self._members.device_name(source) if isinstance(source, bytes) else str(source)

    def message(self, message: AnyMessage) -> str:
        match message:
            case Proposal(pre_prepare=signed, batch=batch):
                vote = signed.message
                what = f"v={vote.view} n={vote.sequence} {self.digest(vote.batch_digest)}"
                return f"PRE-PREPARE {what} ops={batch.operation_count}"
            case Signed(message=Prepare() | Commit() as vote):
                kind = "PREPARE" if isinstance(vote, Prepare) else "COMMIT"
                return f"{kind} v={vote.view} n={vote.sequence} {self.digest(vote.batch_digest)}"
            case Signed(message=Checkpoint() as checkpoint):
                return f"CHECKPOINT n={checkpoint.sequence} {self.digest(checkpoint.state_root, 'r')}"
            case CommitCertificate(commit=vote, endorsements=endorsements):
                who = _who(replica for replica, _ in endorsements)
                return f"COMMIT-CERTIFICATE v={vote.view} n={vote.sequence} {self.digest(vote.batch_digest)} by={who}"
            case CheckpointCertificate(checkpoint=checkpoint, endorsements=endorsements):
                who = _who(replica for replica, _ in endorsements)
                root = self.digest(checkpoint.state_root, "r")
                return f"CHECKPOINT-CERTIFICATE n={checkpoint.sequence} {root} by={who}"
            case Signed(message=ViewChange() as change):
                return f"VIEW-CHANGE v={change.view} h={change.stable_checkpoint} P=[{self._shown(change)}]"
            case Signed(message=NewView() as new_view):
                who = _who(each.signer for each in new_view.view_changes)
                again = (each.message for each in new_view.pre_prepares)
                proposed = " ".join(f"{vote.sequence}:{self.digest(vote.batch_digest)}" for vote in again)
                return f"NEW-VIEW v={new_view.view} by={who} O=[{proposed}]"
            case Status():
                slots = " ".join(
                    f"{slot.sequence}:{'P' if slot.has_proposal else '-'}{slot.prepares:b}/{slot.commits:b}"
                    for slot in message.slots
                )
                stands = f"v={message.view} h={message.stable_checkpoint} executed={message.last_executed}"
                waits = "" if message.in_view else f" waiting V={list(message.view_changes)}"
                return f"STATUS {stands} [{slots}]{waits}"
            case Fetch(wanted=wanted):
                return "FETCH " + " ".join(f"n={sequence} {self.digest(digest)}" for sequence, digest in wanted)
            case Body(sequence=sequence, batch=batch):
                return f"BODY n={sequence} {self.digest(batch.digest)}"
            case SignedRequest(message=request, device=device):
                what = f"s={request.session} c={request.first_client_sequence}+{len(request.operations)}"
                return f"REQUEST {self.source(device)} {what} ack={request.ack_below}"
            case _:
                return self._for_clients(message)

    def _shown(self, change: ViewChange) -> str:
        votes = (held.pre_prepare.message for held in change.prepared)
        return " ".join(f"{vote.sequence}@{vote.view}:{self.digest(vote.batch_digest)}" for vote in votes)

    def _for_clients(self, message: AnyMessage) -> str:
        match message:
            case Signed(message=Reply() as reply):
                results = " ".join(f"{r.client_sequence}{'!' if r.refused else ''}@{r.index}" for r in reply.results)
                return f"REPLY n={reply.sequence} s={reply.session} c={results}"
            case Signed(message=Answer() as answer):
                return f"ANSWER q={answer.query_id} n={answer.sequence}"
            case Signed(message=Events() as events):
                closed = " closed" if events.closed else ""
                return f"EVENTS sub={events.subscription} first={events.first} count={len(events.items)}{closed}"
            case Query(query_id=number, minimum_sequence=minimum):
                return f"QUERY q={number} min={minimum}"
            case Subscribe(subscription=number, start=start):
                return f"SUBSCRIBE sub={number} start={start}"
            case Credit(subscription=number, taken=taken):
                return f"CREDIT sub={number} taken={taken}"
            case Unsubscribe(subscription=number):
                return f"UNSUBSCRIBE sub={number}"
            case _:
                return type(message).__name__

    def effects(self, effects: Effects, now: int) -> Iterator[str]:
        """In the order in which they are carried out."""
        yield from self._what_leaves(effects)
        yield from self._what_stays(effects, now)

    def _what_leaves(self, effects: Effects) -> Iterator[str]:
        for kind, records in (("persist", effects.persist), ("archive", effects.archive)):
            for record in records:
                yield f"{kind} {record.kind.value} n={record.sequence}"
        for evidence in effects.evidence:
            yield f"evidence {evidence.code} against {self.source(evidence.culprit)}"
        for send in effects.send:
            yield f"send {self.message(send.message)} -> {','.join(map(str, send.to))}"
        for reply in effects.reply:
            yield f"reply {self.message(reply.message)} -> {self.source(reply.device)}"

    def _what_stays(self, effects: Effects, now: int) -> Iterator[str]:
        for execute in effects.execute:
            yield f"execute n={execute.sequence} {self.digest(execute.batch.digest)}"
        for read in effects.read:
            match read:
                case RunQuery():
                    yield f"query q={read.query_id} for {self.source(read.device)}"
                case ReadEvents():
                    yield f"read-events sub={read.subscription} start={read.start} limit={read.limit}"
        for serve in effects.serve:
            yield f"serve {serve.what.value} {serve.first}..{serve.last} -> {serve.to}"
        for timer in effects.timers:
            yield f"timer {timer.timer.name} +{timer.at - now}"
        for alarm in effects.alarms:
            yield f"alarm {alarm.text}"
        for ignored in effects.ignored:
            yield f"ignored {ignored.message_type} of {self.source(ignored.source)}: {ignored.reason.value}"


def _who(replicas: Iterator[ReplicaId]) -> str:
    return ",".join(map(str, sorted(replicas)))
