"""Hands to make a history with, for a checker to judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from adversary.craft import Craft, digest
from adversary.simulator.invariants import Checker
from adversary.simulator.run import Simulation
from chatsvc.application.operations import Register, encode_operation
from crypto.canonical import encode
from pbft.client.quorums import Accepted
from pbft.core.effects import BatchExecuted, ExecutedRequest, FromPeer, Received
from pbft.core.messages import OperationResult, SignedRequest
from pbft.core.types import ClientSequence, Milliseconds, Now, ReplicaId, SequenceNumber

NOW = Now(steady=Milliseconds(1000), wall=Milliseconds(1_700_000_000_000))


@dataclass
class Bench:
    """A checker, two correct hosts (0 and 1), a faulty one (3), and hands to make history with."""

    run: Simulation
    craft: Craft
    checker: Checker
    accounts: int = field(default=0)

    def __post_init__(self) -> None:
        for host in self.run.hosts:
            host.start()
        self.zero, self.one, _, self.liar = self.run.hosts

    def register(self, name: str, first: int = 0) -> SignedRequest:
        return self.craft.request(name, first, encode_operation(Register(name)))

    def executed(
        self, sequence: int, *requests: SignedRequest, results: tuple[bytes, ...] = (), root: str = ""
    ) -> BatchExecuted:
        """What the executor says of a batch of one-operation requests. Results: those of Register, unless given."""
        names = [self.craft.members.device_name(request.device) for request in requests]
        given = results or tuple(encode(["registered", name]) for name in names)
        return BatchExecuted(
            now=NOW,
            sequence=SequenceNumber(sequence),
            batch=self.craft.batch(*requests),
            results=tuple(
                ExecutedRequest(
                    device=request.device,
                    session=request.message.session,
                    results=(
                        OperationResult(
                            client_sequence=request.message.first_client_sequence,
                            index=index,
                            refused=False,
                            result=result,
                        ),
                    ),
                )
                for index, (request, result) in enumerate(zip(requests, given, strict=True))
            ),
            topics=(),
            state_root=digest(root) if root else None,
        )

    def accepted(self, sequence: int, result: bytes) -> Accepted:
        return Accepted(
            client_sequence=ClientSequence(0),
            sequence=SequenceNumber(sequence),
            index=0,
            result=result,
            vouchers=(ReplicaId(0), ReplicaId(1)),
        )

    def proposals(self) -> Iterator[tuple[Received, Any]]:
        """Two conflicting proposals of replica 0 reach host 1, one after the other."""
        for name in ("alice", "bob"):
            proposal = self.craft.proposal(0, 1, self.craft.batch(self.register(name)))
            yield Received(now=NOW, messages=(FromPeer(peer=ReplicaId(0), message=proposal),)), proposal
