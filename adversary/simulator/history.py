"""What was executed, in the one order that all correct replicas share, and whether it should have been."""

from __future__ import annotations

from adversary.simulator.beyond import Beyond, Name, Place
from adversary.simulator.broken import Broken
from adversary.simulator.model import ChatModel, Model, same_result
from crypto.digest import Digest
from crypto.signing import PublicKey
from pbft.core.effects import BatchExecuted, RunQuery
from pbft.core.messages import Batch, OperationResult
from pbft.core.types import ReplicaId, SequenceNumber


class History:
    """Of one run. The first correct replica to execute something makes it; the others are compared with that."""

    def __init__(self, beyond: Beyond) -> None:
        self._beyond = beyond
        self.model: Model = ChatModel()
        self.order: dict[int, Digest] = {}
        self.results: dict[Place, tuple[Name, OperationResult]] = {}
        self.roots: dict[int, Digest] = {}
        self._ran: dict[Name, Place] = {}
        self._signed: dict[PublicKey, set[Digest]] = {}
        self._answers: dict[tuple[PublicKey, bytes, int], bytes] = {}

    def on_request(self, device: PublicKey, digest: Digest) -> None:
        """A client signed this."""
        self._signed.setdefault(device, set()).add(digest)

    def knows(self, device: bytes) -> bool:
        """Whether it tells what it signs, so that nobody can blame it; strangers tell nothing."""
        return device in self._signed

    def on_first(self, done: BatchExecuted) -> None:
        """A correct replica executes this before all others: they will have to do the same."""
        self.order[done.sequence] = done.batch.digest
        self._beyond.on_first(done)
        self._check_signed(done.batch)
        operations: dict[Name, bytes] = {
            (request.device, int(request.message.session), request.message.first_client_sequence + offset): operation
            for request in done.batch.requests
            for offset, operation in enumerate(request.message.operations)
        }
        self.model.begin(done.sequence, done.batch.timestamp)
        for request in done.results:
            for result in request.results:
                name = (request.device, int(request.session), int(result.client_sequence))
                place = (int(done.sequence), result.index)
                self.results[place] = (name, result)
                if not result.refused:
                    self._ran_once(name, place, operations[name], result)
        if done.state_root is not None:
            self.model.checkpoint()

    def _ran_once(self, name: Name, place: Place, operation: bytes, result: OperationResult) -> None:
        expected = self.model.apply(name[0], operation, place[1])
        if not same_result(expected, result.result):
            raise Broken("model", f"at {place} the result is {result.result!r}, the model says {expected}")
        if expected is None or expected[0] == "error":
            return  # without effect: reads, and what strangers ask, may run again
        first = self._ran.setdefault(name, place)
        if first != place:
            raise Broken("exactly once", f"an operation of {name[0].hex()[:8]} ran at {first} and again at {place}")

    def _check_signed(self, batch: Batch) -> None:
        for request in batch.requests:
            own = self._signed.get(request.device)
            if own is not None and request.digest not in own:
                raise Broken("signed requests", f"a request of {request.device.hex()[:8]} that it never made")

    def compare(self, replica: ReplicaId, done: BatchExecuted) -> None:
        """A correct replica executes what is known: with the results and the root of the others?"""
        for request in done.results:
            for result in request.results:
                known = self.results.get((int(done.sequence), result.index))
                if known is None or known[1] != result:
                    raise Broken("equal roots", f"{replica} got another result at {done.sequence}, {result.index}")
        if done.state_root is not None:
            root = self.roots.setdefault(done.sequence, done.state_root)
            if root != done.state_root:
                raise Broken("equal roots", f"{replica} has another root at {done.sequence}")

    def on_answer(self, replica: ReplicaId, read: RunQuery, sequence: SequenceNumber, result: bytes) -> None:
        """Of a correct replica, out of the state after `sequence`."""
        first = self._answers.setdefault((read.device, read.query, int(sequence)), result)
        if first != result:
            raise Broken("answers", f"{replica} gives another answer at {sequence} than others")
