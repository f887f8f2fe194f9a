"""A small application for tests: accounts with a balance, and logs of lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

from crypto.canonical import Value, decode, encode
from crypto.digest import Digest, digest_of, digest_of_parts
from crypto.signing import PublicKey
from pbft.core.application import (
    Call,
    EventItem,
    HashedPages,
    KeyType,
    Outcome,
    RangePages,
    Reader,
    Rows,
    TableSpec,
)
from pbft.core.effects import BatchExecuted, Execute
from pbft.core.group import Group, Parameters
from pbft.core.messages import Batch, Request, SignedRequest
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, Now, SequenceNumber, SessionNumber
from pbft.state.executor import Executor, open_state

ACCOUNTS = TableSpec(name="accounts", key=(KeyType.BYTES,), pages=HashedPages(prefix=1, count=16))
LINES = TableSpec(name="lines", key=(KeyType.TEXT, KeyType.INTEGER), pages=RangePages(prefix=1, shift=2))


def device(number: int) -> PublicKey:
    return PublicKey(bytes([number]) * 32)


STRANGER = device(99)
NOW = Now(steady=Milliseconds(5), wall=Milliseconds(6))


def op(*parts: Value) -> bytes:
    return encode(list(parts))


class Toy:
    """Operations: ["join"], ["add", n], ["say", log, text], ["read"], ["fail", log], ["raise", log, how].

    `fail` writes nothing and says so; `raise` writes, then raises. A device is known once it joined (or always, when
    `open_to_all`).
    """

    def __init__(self, *, open_to_all: bool = True) -> None:
        self.tables: Sequence[TableSpec] = (ACCOUNTS, LINES)
        self.open_to_all = open_to_all
        self.calls: list[Call] = []

    def knows(self, rows: Reader, device: PublicKey) -> bool:
        return self.open_to_all or rows.get("accounts", (device,)) is not None

    def execute(self, rows: Rows, call: Call, operation: bytes) -> Outcome:
        self.calls.append(call)
        match decode(operation, bytes_max=1000):
            case ["join"]:
                rows.put("accounts", (call.device,), (0,))
                return Outcome(b"joined")
            case ["add", int(number)]:
                (balance,) = rows.get("accounts", (call.device,)) or (0,)
                assert isinstance(balance, int)
                rows.put("accounts", (call.device,), (balance + number,))
                return Outcome(str(balance + number).encode(), topics=(call.device,))
            case ["leave"]:
                rows.delete("accounts", (call.device,))
                return Outcome(b"left")
            case ["say", str(log), str(text)]:
                return Outcome(str(self.say(rows, log, text, call)).encode(), topics=(log.encode(),))
            case ["read"]:
                return Outcome(repr(rows.get("accounts", (call.device,))).encode(), remember=False)
            case ["raise", str(log), str(how)]:
                self.say(rows, log, "never seen", call)
                self.fail(rows, how)
        return Outcome(b"no")

    def say(self, rows: Rows, log: str, text: str, call: Call) -> int:
        count = rows.get("lines", (log, 0)) or (0,)
        assert isinstance(count[0], int)
        number = count[0] + 1
        rows.put("lines", (log, 0), (number,))
        rows.put("lines", (log, number), (text, call.time, [call.device, [call.sequence, call.index]]))
        return number

    def fail(self, rows: Rows, how: str) -> None:
        match how:
            case "recursion":
                self.fail(rows, how)
            case "memory":
                raise MemoryError
            case "row":
                rows.put("accounts", (STRANGER,), (1.5,))  # type: ignore[arg-type]  # what the layer must catch
            case "tuple":
                rows.put("accounts", (STRANGER,), ([(1,)],))  # type: ignore[list-item]  # the same
            case "key":
                rows.put("lines", ("log", -1), ())
            case "missing":
                rows.get("lines", ("log", True))
            case "assert":
                raise AssertionError(how)
            case _:
                raise RuntimeError(how)

    def tidy(self, rows: Rows, sequence: SequenceNumber, time: Milliseconds) -> None:
        """Keeps everything."""

    def query(self, reader: Reader, device: PublicKey, query: bytes) -> bytes:
        if query == b"put":
            reader.put("accounts", (device,), (7,))  # type: ignore[attr-defined]  # what a Reader must not allow
        if query == b"raise":
            raise RuntimeError("query of death")
        return repr([(key, row) for key, row in reader.scan("lines", prefix=(query.decode(),), limit=100)]).encode()

    def events(
        self, reader: Reader, device: PublicKey, topic: bytes, start: EventIndex, limit: int
    ) -> Sequence[EventItem] | None:
        if device == STRANGER:
            return None
        if topic == b"raise":
            raise RuntimeError("event of death")
        log = topic.decode()
        if reader.get("lines", (log, 0)) is None:
            return None
        found = reader.scan("lines", prefix=(log,), start=(log, start + 1), limit=limit)
        return [EventItem(head=str(row[0]).encode()) for _, row in found]


def small_group(name: str = "toy", **parameters: int) -> Group:
    settings = {"checkpoint_interval": 4, "pipeline_depth": 2, "client_window": 8, "sessions_per_device": 2}
    return Group(
        name=name,
        nonce=b"n" * 16,
        members=tuple(device(100 + number) for number in range(4)),
        parameters=Parameters(**(settings | parameters)),
    )


def request(by: PublicKey, first: int, *operations: bytes, session: int = 1, ack_below: int = 0) -> SignedRequest:
    message = Request(
        session=SessionNumber(session),
        first_client_sequence=ClientSequence(first),
        ack_below=ClientSequence(ack_below),
        operations=operations,
    )
    wire = encode([by, session, first, ack_below, list(operations)])
    return SignedRequest(message=message, device=by, wire=wire, digest=digest_of(wire))


def batch(*requests: SignedRequest, timestamp: int = 1000) -> Batch:
    digest = digest_of_parts(b"test/batch", timestamp.to_bytes(8, "big"), *(each.digest for each in requests))
    return Batch(timestamp=Milliseconds(timestamp), requests=requests, digest=digest, wire=b"")


def run(executor: Executor, *requests: SignedRequest, timestamp: int = 1000) -> BatchExecuted:
    """Execute the next batch."""
    sequence = SequenceNumber(executor.position.last_executed + 1)
    execute = Execute(sequence=sequence, batch=batch(*requests, timestamp=timestamp))
    return executor.execute(execute, NOW)


def answers(done: BatchExecuted) -> list[bytes | None]:
    """Results of the batch's operations, None for a refused one."""
    return [None if each.refused else each.result for done in done.results for each in done.results]


def sample_batches() -> Iterable[Batch]:
    """Twelve batches that touch everything: refusals, failures, eviction, acknowledgements, a null batch."""
    for number in range(12):
        if number == 5:
            yield batch(timestamp=0)
            continue
        yield batch(
            request(device(1), number, op("add", number), ack_below=max(0, number - 3)),
            request(device(2), 0, op("say", "łog", f"line {number}"), op("add", 1), session=number),
            request(device(3), number % 3, op("raise", "łog", ["x", "recursion", "row"][number % 3])),
            request(device(number), 0, op("say", f"log {number % 5}", "ß"), op("leave"), op("read")),
            request(device(2), 0, op("add", 1), session=number % 4),
            timestamp=1000 + 10 * (number % 4),
        )


def roots(executor: Executor, batches: Iterable[Batch]) -> list[Digest]:
    """Execute all, commit each, and return the state root after each."""
    found = []
    for each in batches:
        sequence = SequenceNumber(executor.position.last_executed + 1)
        executor.execute(Execute(sequence=sequence, batch=each), NOW)
        found.append(executor.state_root())
        executor.settle()
    return found


def main() -> None:
    """Print the roots of the sample batches: run in other environments, they must be the same."""
    executor = open_state(":memory:", Toy(), small_group())
    sys.stdout.write(json.dumps([root.hex() for root in roots(executor, sample_batches())]))
    executor.close()


if __name__ == "__main__":
    main()
