"""What carries out the effects of a simulated replica, in their order.

What must always hold is checked at once: one history, no gaps, nothing sent before it was stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pbft.core.codec import Opener
from pbft.core.effects import (
    Effects,
    EventsDone,
    Execute,
    InstallPages,
    InstallState,
    QueryDone,
    Record,
    RecordKind,
    ReplyTo,
    Send,
    ServeArchive,
)
from pbft.core.frames import wire_of
from pbft.core.messages import Body, Checkpoint, Commit, NewView, Proposal, Reply, Signed
from pbft.core.types import ReplicaId, SequenceNumber
from tests.harness.simnode import Flight, SimNode, answer_read, archived_frames

if TYPE_CHECKING:
    from tests.harness.cluster import Cluster


class Hands:
    """Does for every replica of a cluster what its node would do, and notes in the cluster what came of it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def actions(self, node: SimNode, effects: Effects) -> Iterator[Callable[[], None]]:
        if effects.persist:
            yield lambda: self._persist(node, effects.persist)
        yield lambda: node.archive.extend(effects.archive)
        if effects.evidence:
            yield lambda: node.evidence.extend(effects.evidence)
        for send in effects.send:
            for peer in send.to:
                yield lambda send=send, peer=peer: self._send(node, send, peer)  # type: ignore[misc]
        for reply in effects.reply:
            yield lambda reply=reply: self._reply(node, reply)  # type: ignore[misc]
        for install in effects.install:
            yield lambda install=install: self._install(node, install)  # type: ignore[misc]
        for execute in effects.execute:
            yield lambda execute=execute: self._execute(node, execute)  # type: ignore[misc]
        for read in effects.read:
            yield lambda read=read: node.inputs.append(answer_read(node, read, self._cluster.now(node.me)))  # type: ignore[misc]
        for serve in effects.serve:
            frames = archived_frames(node, serve, Opener(self._cluster.group, self._cluster.members.verifier))
            yield lambda serve=serve, frames=frames: self._serve(node, serve, frames)  # type: ignore[misc]
        for ask in effects.serve_state:
            answer = node.executor.serve_state(ask.fetch)
            yield lambda ask=ask, answer=answer: self._cluster.inject(node.me, ask.to, answer)  # type: ignore[misc]
        yield lambda: node.timers.update({timer.timer: timer.at for timer in effects.timers})
        node.alarms.extend(alarm.text for alarm in effects.alarms)
        node.ignored.update(ignored.reason for ignored in effects.ignored)

    def _persist(self, node: SimNode, records: tuple[Record, ...]) -> None:
        node.ledger += [*node.archive, *records]
        for record in [*node.archive, *records]:
            node.stored.update(self._statements_in(record))
        node.archive.clear()

    def _statements_in(self, record: Record) -> Iterator[bytes]:
        yield record.data
        if record.kind not in (RecordKind.PROPOSAL, RecordKind.NEW_VIEW):
            return
        match Opener(self._cluster.group, self._cluster.members.verifier).parse_peer(record.data).value:
            case Proposal(pre_prepare=pre_prepare):
                yield pre_prepare.wire
            case Signed(message=NewView(pre_prepares=pre_prepares)):
                yield from (each.wire for each in pre_prepares)

    def _send(self, node: SimNode, send: Send, peer: ReplicaId) -> None:
        assert peer != node.me, "a replica sent to itself"
        message = send.message
        signer = message.pre_prepare.signer if isinstance(message, Proposal) else getattr(message, "signer", None)
        if signer == node.me and not isinstance(message, Body):
            wire = message.pre_prepare.wire if isinstance(message, Proposal) else message.wire  # type: ignore[union-attr]
            assert wire in node.stored, self._cluster.report(f"{node.me} sent {message} before it was stored")
        if isinstance(message, Signed) and signer == node.me:
            vote = message.message
            if isinstance(vote, Commit):
                kinds = {record.kind for record in node.ledger if record.sequence == vote.sequence}
                assert RecordKind.PREPARED in kinds, self._cluster.report(
                    "COMMIT sent before its certificate was stored"
                )
            if isinstance(vote, Checkpoint):
                assert node.executor.durable_checkpoint >= vote.sequence, self._cluster.report(
                    "CHECKPOINT before the state"
                )
        self._cluster.sent[type(message).__name__] += 1
        flight = Flight(node.me, peer, wire_of(self._cluster.group.epoch, message))
        if self._cluster.nodes.get(peer) is not None and not self._cluster.nodes[peer].alive:
            return
        if self._cluster.on_send is None or self._cluster.on_send(flight):
            self._cluster.flying.append(flight)

    def _reply(self, node: SimNode, reply: ReplyTo) -> None:
        message = self._cluster.openers[node.me].open_reply(reply.message.wire).message
        self._cluster.replies.append((node.me, reply.device, message))
        if isinstance(message, Reply):
            for result in message.results:
                key = (reply.device, message.session, result.client_sequence)
                self._cluster.results.setdefault(key, {})[node.me] = result

    def _install(self, node: SimNode, install: InstallPages | InstallState) -> None:
        node.inputs = deque(each for each in node.inputs if not isinstance(each, QueryDone | EventsDone))
        if isinstance(install, InstallPages):
            node.executor.install_pages(install)
        else:
            node.inputs.append(node.executor.install_state(install, self._cluster.now(node.me)))

    def _execute(self, node: SimNode, execute: Execute) -> None:
        if self._cluster.group.is_checkpoint(execute.sequence):
            self._persist(node, ())
        if execute.sequence > 1 and self._cluster.group.is_checkpoint(SequenceNumber(execute.sequence - 1)):
            vouched = {record.sequence for record in node.ledger if record.kind is RecordKind.CHECKPOINT}
            stable = max((record.sequence for record in node.ledger if record.kind is RecordKind.STABLE), default=0)
            mute = self._cluster.replicas[node.me].rules.is_mute
            assert execute.sequence - 1 in vouched or execute.sequence - 1 <= stable or mute, self._cluster.report(
                "executed beyond a checkpoint without a stored vote"
            )
        node.inputs.append(node.executor.execute(execute, self._cluster.now(node.me)))
        agreed = self._cluster.order.setdefault(execute.sequence, execute.batch.digest)
        assert agreed == execute.batch.digest, self._cluster.report(
            f"two batches were executed at {execute.sequence}"
        )
        ran = node.executor.state.ran
        assert len(set(ran)) == len(ran), self._cluster.report("an operation ran twice")

    def _serve(self, node: SimNode, serve: ServeArchive, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self._cluster.inject(node.me, serve.to, frame)
