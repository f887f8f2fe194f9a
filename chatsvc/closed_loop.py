"""One person who keeps a number of messages under way: an answer makes room for the next one. For measuring."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

import trio

from chatsvc.application.operations import Post, encode_operation
from chatsvc.application.results import Rejected, decode_result
from crypto.signing import Signer
from pbft.client.driver import ReplicaClient
from pbft.client.quorums import Accepted, Outcome

OUTCOME_SECONDS = 30.0
"""After which nobody waits for an outcome any more."""


@dataclass(slots=True)
class Loop:
    """One client's closed loop. Each message can be known again by its nonce."""

    client: ReplicaClient
    signer: Signer
    """Of the client's requests."""
    room: str
    body: str
    number: int
    journal: list[tuple[float, bytes]] | None = None
    """When each accepted message was, by `time.perf_counter`, and its nonce; None if nobody wants to know."""
    submitted: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    accepted: int = 0
    rejected: int = 0
    """Ordered, and refused by the chat: they changed nothing."""
    unknown: int = 0
    """Of which nobody said in time whether they ran."""
    outstanding: int = 0
    running: bool = True
    idle: trio.Event = field(default_factory=trio.Event)

    def start(self, window: int) -> None:
        for _ in range(window):
            self._submit()

    def _submit(self) -> None:
        self.outstanding += 1
        self.submitted += 1
        nonce = self.number.to_bytes(4, "big") + self.submitted.to_bytes(8, "big")
        operation = encode_operation(Post(room=self.room, body=self.body, nonce=nonce))
        done = partial(self._done, time.perf_counter(), nonce)
        self.client.submit_nowait(operation, done, within_s=OUTCOME_SECONDS)

    def _done(self, started: float, nonce: bytes, outcome: Outcome) -> None:
        self.outstanding -= 1
        if not isinstance(outcome, Accepted):
            self.unknown += 1
        elif isinstance(decode_result(outcome.result), Rejected):
            self.rejected += 1
        else:
            self._accepted(started, nonce)
        if self.running:
            self._submit()
        elif not self.outstanding:
            self.idle.set()

    def _accepted(self, started: float, nonce: bytes) -> None:
        self.accepted += 1
        now = time.perf_counter()
        self.latencies_ms.append((now - started) * 1000)
        if self.journal is not None:
            self.journal.append((now, nonce))

    @property
    def failed(self) -> int:
        return self.rejected + self.unknown

    def forget(self) -> None:
        """What was measured while warming up."""
        self.latencies_ms.clear()
        self.accepted = self.rejected = self.unknown = 0
