"""Load on a running group, and what it costs: closed loops of clients, each with a window of operations."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from chatsvc.application.operations import Create, Join, Operation, Register, encode_operation
from chatsvc.application.results import ErrorCode, Rejected, decode_result
from chatsvc.closed_loop import OUTCOME_SECONDS, Loop
from clients.sdk import ClientFailure, ExitCode
from crypto.signing import Domain, Ed25519Signer, Ed25519Verifier
from pbft.client.connection import Dial, dial_tcp
from pbft.client.directory import GroupDirectory
from pbft.client.driver import ReplicaClient, open_client
from pbft.client.inspection import Report, inspect_all
from pbft.client.quorums import Accepted, Settings

WARM_UP_S = 1.0
VERIFY_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """`window`: operations a client has outstanding. `bundle`: most operations under one signature."""

    clients: int
    window: int
    bundle: int
    seconds: float
    body_bytes: int


@dataclass(slots=True, kw_only=True)
class LoadResult:
    """Figures of one run. Times in milliseconds, costs in microseconds of CPU an operation."""

    accepted: int
    failed: int
    seconds: float
    latencies_ms: list[float]
    client_cpu_us: float
    replica_cpu_us: list[float | None]
    commits_per_s: list[float | None]
    verify_per_s: float

    def record(self, plan: LoadPlan) -> dict[str, Any]:
        """For JSON."""
        throughput = self.accepted / self.seconds
        return {
            "clients": plan.clients,
            "window": plan.window,
            "bundle": plan.bundle,
            "body_bytes": plan.body_bytes,
            "seconds": round(self.seconds, 3),
            "accepted": self.accepted,
            "failed": self.failed,
            "accepted_per_s": round(throughput, 1),
            "latency_ms": {name: self.percentile(share) for name, share in PERCENTILES.items()},
            "cpu_us_per_operation": {
                "client": round(self.client_cpu_us, 1),
                "replicas": [None if cost is None else round(cost, 1) for cost in self.replica_cpu_us],
            },
            "fsyncs_per_s": [None if rate is None else round(rate, 1) for rate in self.commits_per_s],
            "ed25519_verify_per_s": round(self.verify_per_s),
            "accepted_per_verify": round(throughput / self.verify_per_s, 4),
        }

    def percentile(self, share: float) -> float | None:
        """The latency that `share` of the operations did not exceed. Nearest rank."""
        if not self.latencies_ms:
            return None
        ordered = sorted(self.latencies_ms)
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)


PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def verify_rate() -> float:
    """Ed25519 verifications a second on one core, of a short statement: the unit that machines are compared by."""
    signer, verifier = Ed25519Signer.generate(), Ed25519Verifier()
    domain = Domain(group_id=bytes(32), epoch=0, message_type="BENCH")
    body = bytes(200)
    signature = signer.sign(domain, body)
    count = 0
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < VERIFY_SECONDS:
        for _ in range(50):
            verifier.verify(signer.public_key, domain, body, signature)
        count += 50
    return count / passed


@asynccontextmanager
async def open_loops(
    directory: GroupDirectory,
    plan: LoadPlan,
    *,
    journal: bool = False,
    dial_of: Callable[[int], Dial] = lambda _: dial_tcp,
) -> AsyncIterator[list[Loop]]:
    """`plan.clients` fresh users in a fresh room, ready to be started. Raises ClientFailure.

    `dial_of`: how each of them reaches the replicas, by its number."""
    room = f"bench-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        loops: list[Loop] = []
        for number in range(plan.clients):
            settings = Settings(bundle=plan.bundle, outbox_max=max(16_384, 2 * plan.window))
            signer = Ed25519Signer.generate()
            client = await stack.enter_async_context(
                open_client(directory, signer, settings=settings, dial=dial_of(number))
            )
            await client.wait_connected(directory.group.quorum)
            await _do(client, Register(name=f"{room}-{number}"))
            await _do(client, Create(room=room, topic="") if number == 0 else Join(room=room))
            body, kept = "x" * plan.body_bytes, list[tuple[float, bytes]]() if journal else None
            loops.append(Loop(client=client, signer=signer, room=room, body=body, number=number, journal=kept))
        yield loops


async def end_loops(loops: Sequence[Loop]) -> None:
    """Submit nothing more, and wait for the outcomes of what is under way."""
    for loop in loops:
        loop.running = False
    with trio.move_on_after(OUTCOME_SECONDS):
        for loop in loops:
            if loop.outstanding:
                await loop.idle.wait()


async def run_load(
    directory: GroupDirectory,
    plan: LoadPlan,
    progress: Callable[[float], None],
    *,
    dial_of: Callable[[int], Dial] = lambda _: dial_tcp,
) -> LoadResult:
    """Let `plan.clients` users talk in a room. Raises ClientFailure.

    `progress` is told the seconds measured so far.
    """
    verify_before = verify_rate()
    async with open_loops(directory, plan, dial_of=dial_of) as loops:
        for loop in loops:
            loop.start(plan.window)
        await trio.sleep(WARM_UP_S)
        before = await inspect_all(directory, timeout_s=5)
        for loop in loops:
            loop.forget()
        cpu, started = time.process_time(), time.perf_counter()
        while (passed := time.perf_counter() - started) < plan.seconds:
            progress(passed)
            await trio.sleep(min(0.25, plan.seconds - passed))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        accepted = sum(loop.accepted for loop in loops)
        failed = sum(loop.failed for loop in loops)
        latencies = [latency for loop in loops for latency in loop.latencies_ms]
        after = await inspect_all(directory, timeout_s=5)
        await end_loops(loops)
    return LoadResult(
        accepted=accepted,
        failed=failed,
        seconds=seconds,
        latencies_ms=latencies,
        client_cpu_us=cpu / max(accepted, 1) * 1e6,
        replica_cpu_us=_differences(before, after, "cpu_s", 1e6 / max(accepted, 1)),
        commits_per_s=_differences(before, after, "ledger_commits", 1 / seconds),
        verify_per_s=(verify_before + verify_rate()) / 2,
    )


async def _do(client: ReplicaClient, operation: Operation) -> None:
    outcome = await client.submit(encode_operation(operation), within_s=OUTCOME_SECONDS)
    if not isinstance(outcome, Accepted):
        msg = f"{type(operation).__name__.lower()}: no outcome within {OUTCOME_SECONDS:g} s; is a quorum up?"
        raise ClientFailure(msg, exit_code=ExitCode.UNKNOWN)
    result = decode_result(outcome.result)
    if isinstance(result, Rejected) and result.code is not ErrorCode.ALREADY_A_MEMBER:
        msg = f"{type(operation).__name__.lower()}: {result.detail}"
        raise ClientFailure(msg, exit_code=ExitCode.REJECTED)


def _differences(
    before: Sequence[Report | str], after: Sequence[Report | str], name: str, scale: float
) -> list[float | None]:
    """Per replica; None for one that did not answer both times."""
    return [
        (end[name] - start[name]) * scale if isinstance(start, dict) and isinstance(end, dict) else None
        for start, end in zip(before, after, strict=True)
    ]
