"""From frames to inputs: parsing, checking signatures in slices, and the one inbox of the replica's task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from pbft.core.claims import Claim, Unverified, check_claims
from pbft.core.codec import Opener
from pbft.core.effects import (
    ClientGone,
    Evidence,
    FrameRefused,
    FromClient,
    FromPeer,
    LinkUp,
    StateDamaged,
    TimerExpired,
)
from pbft.core.errors import ProtocolViolation
from pbft.core.refused import proof_in

SLICE_CLAIMS = 32
"""Signature checks between two looks at the other connections: about a millisecond."""
THREAD_CLAIMS_MIN = 16
"""Fewer are checked where they are: a thread costs more than it saves."""

THREAD_FRAME_BYTES_MIN = 4096
"""The same, where it is not known how many there are."""

T = TypeVar("T")


class Intake:
    """Opens the frames of one chunk in order, up to the first that is no good."""

    def __init__(self, opener: Opener, *, threads: int) -> None:
        self._opener = opener
        self._limiter = trio.CapacityLimiter(threads) if threads else None

    async def open(
        self,
        frames: Sequence[bytes],
        parse: Callable[[bytes], Unverified[T]],
        is_useless: Callable[[T], bool] = lambda _: False,
    ) -> tuple[list[T], ProtocolViolation | None]:
        """The messages before the first violation, and the violation. What is useless is dropped unchecked."""
        parsed: list[Unverified[T]] = []
        violation: ProtocolViolation | None = None
        for frame in frames:
            try:
                parsed.append(parse(frame))
            except ProtocolViolation as error:
                violation = error
                violation.frame = frame
                break
        opened: list[T] = []
        waiting: list[tuple[bytes, Unverified[T]]] = []
        count = 0
        for frame, item in zip(frames, parsed, strict=False):
            if is_useless(item.value):
                continue
            waiting.append((frame, item))
            count += len(item.claims)
            if count >= SLICE_CLAIMS:
                failure = await self._check(waiting, opened)
                if failure is not None:
                    return opened, failure
                waiting, count = [], 0
                await trio.lowlevel.checkpoint()
        failure = await self._check(waiting, opened)
        return opened, failure or violation

    async def _check(
        self, waiting: Sequence[tuple[bytes, Unverified[T]]], opened: list[T]
    ) -> ProtocolViolation | None:
        for frame, item in waiting:
            try:
                await self._check_claims(item.claims)
            except ProtocolViolation as error:
                error.frame = frame
                return error
            opened.append(self._opener.accept(item))
        return None

    async def proof_in(self, violation: ProtocolViolation) -> Evidence | None:
        """What the frame that did not open proves of its signer, if anything."""
        # Memory of one's own: it may be used in a thread, and what was checked before must not count.
        opener = Opener(self._opener.group, self._opener.verifier)
        if self._limiter is not None and len(violation.frame) >= THREAD_FRAME_BYTES_MIN:
            return await trio.to_thread.run_sync(proof_in, opener, violation.frame, limiter=self._limiter)
        return proof_in(opener, violation.frame)

    async def _check_claims(self, claims: Sequence[Claim]) -> None:
        verifier = self._opener.verifier
        if self._limiter is not None and len(claims) >= THREAD_CLAIMS_MIN:
            await trio.to_thread.run_sync(check_claims, verifier, claims, limiter=self._limiter)
            return
        for start in range(0, len(claims), SLICE_CLAIMS):
            if start:
                await trio.lowlevel.checkpoint()
            check_claims(verifier, claims[start : start + SLICE_CLAIMS])


Notice = LinkUp | ClientGone | TimerExpired | StateDamaged | FrameRefused


Messages = tuple[FromPeer | FromClient, ...]


class Inbox:
    """What waits for the replica's task: at most one chunk of a connection, while its reader holds the next."""

    def __init__(self) -> None:
        self._entries: list[Messages | Notice] = []
        self._messages: list[FromPeer | FromClient] = []
        self._waiting: set[object] = set()
        self._taken = trio.Event()
        self._wake = trio.Event()

    async def put(self, source: object, messages: Sequence[FromPeer | FromClient]) -> None:
        """Leave messages; waits first while an earlier chunk of the same source has not been taken."""
        while source in self._waiting:
            await self._taken.wait()
        self._waiting.add(source)
        self._messages.extend(messages)
        self._wake.set()

    def post(self, notice: Notice) -> None:
        """Leave a notice, behind the messages that came before: a client is gone after what it said."""
        self._close_entry()
        self._entries.append(notice)
        self._wake.set()

    async def wait(self) -> None:
        """Until there is something to take."""
        await self._wake.wait()

    def take(self) -> list[Messages | Notice]:
        """Everything that waits, in order of arrival; messages with no notice between them together."""
        self._close_entry()
        entries, self._entries = self._entries, []
        self._waiting.clear()
        self._taken.set()
        self._taken = trio.Event()
        self._wake = trio.Event()
        return entries

    def _close_entry(self) -> None:
        if self._messages:
            self._entries.append(tuple(self._messages))
            self._messages.clear()
