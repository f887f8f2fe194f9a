"""From frames to inputs: parsing, checking signatures in slices, and the one inbox of the replica's task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
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
from pbft.core.errors import InvalidMessageSignature, ProtocolViolation
from pbft.core.evidence import InvalidEvidence
from pbft.core.refused import claims_inside, suspicion_in
from pbft.core.types import ReplicaId
from pbft.node.turns import BYTES_PER_UNIT, CLAIM_UNITS, FRAME_UNITS, SLICE_UNITS, Party, Share, Turn, Turns

SLICE_CLAIMS = SLICE_UNITS // CLAIM_UNITS
"""Signature checks between two looks at the other connections: about a millisecond."""
THREAD_CLAIMS_MIN = 16
"""Fewer are checked where they are: a thread costs more than it saves."""

SOMEBODY: Party = (Share.NEWCOMERS, None, None)

T = TypeVar("T")
Admit = Callable[[list[Unverified[T]], Turn], Awaitable[list[Unverified[T]]]]
"""May hold messages up before their signatures are checked, and gives back those that may go on. If it waits, it ends
the turn before and begins it again."""


class Intake:
    """Opens the frames of one chunk in order, up to the first that is no good, in turns with other connections."""

    def __init__(self, opener: Opener, *, threads: int, turns: Turns) -> None:
        self._opener = opener
        self._turns = turns
        self._limiter = trio.CapacityLimiter(threads) if threads else None
        self.dropped = 0
        """Messages that were useless, or found no room."""

    async def open(
        self,
        frames: Sequence[bytes],
        parse: Callable[[bytes], Unverified[T]],
        is_useless: Callable[[T], bool] = lambda _: False,
        *,
        party: Party = SOMEBODY,
        admit: Admit[T] | None = None,
    ) -> tuple[list[T], ProtocolViolation | None]:
        """The messages before the first violation, and the violation. What is useless is dropped unchecked."""
        opened: list[T] = []
        waiting: list[tuple[bytes, Unverified[T]]] = []
        claims = 0
        violation: ProtocolViolation | None = None
        turn = Turn(self._turns, party)
        await turn.begin()
        try:
            for frame in frames:
                try:
                    item = parse(frame)
                except ProtocolViolation as error:
                    violation = error
                    violation.frame = frame
                    break
                turn.units += FRAME_UNITS + len(frame) // BYTES_PER_UNIT
                if is_useless(item.value):
                    self.dropped += 1
                else:
                    waiting.append((frame, item))
                    claims += len(item.claims)
                if turn.units + claims * CLAIM_UNITS >= SLICE_UNITS:
                    failure = await self._check(waiting, opened, turn, admit)
                    if failure is not None:
                        return opened, failure
                    waiting, claims = [], 0
                    await turn.renew()
            failure = await self._check(waiting, opened, turn, admit)
        finally:
            turn.end()
        return opened, failure or violation

    async def _check(
        self,
        waiting: list[tuple[bytes, Unverified[T]]],
        opened: list[T],
        turn: Turn,
        admit: Admit[T] | None,
    ) -> ProtocolViolation | None:
        if admit is not None and waiting:
            admitted = {id(item) for item in await admit([item for _, item in waiting], turn)}
            self.dropped += len(waiting) - len(admitted)
            waiting = [(frame, item) for frame, item in waiting if id(item) in admitted]
        for frame, item in waiting:
            try:
                await self._check_claims(item.claims, turn)
            except ProtocolViolation as error:
                error.frame = frame
                return error
            opened.append(self._opener.accept(item))
        return None

    async def proof_in(
        self,
        frame: bytes,
        *,
        party: Party,
        may_prove: Callable[[str, ReplicaId], bool],
        spend: Callable[[int], None],
        in_full: bool = True,
    ) -> Evidence | None:
        """What a frame that did not open proves of its signer, if anything; in turns, as all checks of signatures.

        Nothing is looked into that `may_prove` has enough of. `spend` is told of the signatures about to be checked,
        in units; unless `in_full` that is the signer's own alone, which is enough for what is malformed inside.
        Garbage costs nothing here: who brings it must not come by a debt behind which he may lie.
        """
        opener = Opener(self._opener.group, self._opener.verifier)  # what was checked before must not count
        suspicion = suspicion_in(opener, frame)
        if suspicion is None or not may_prove(suspicion.code, suspicion.culprit):
            return None
        turn = Turn(self._turns, party)
        await turn.begin()
        try:
            if not await self._hold(suspicion.own, turn, spend):
                return None
            turn.units += FRAME_UNITS + len(frame) // BYTES_PER_UNIT
            for claims in claims_inside(opener, suspicion):
                if not in_full:
                    return None
                if not await self._hold(claims, turn, spend):
                    return suspicion.evidence
                if turn.is_over:
                    await turn.renew()
        except InvalidEvidence:
            return None
        except ProtocolViolation:
            return suspicion.evidence
        finally:
            turn.end()
        return None

    async def _hold(self, claims: Sequence[Claim], turn: Turn, spend: Callable[[int], None]) -> bool:
        spend(CLAIM_UNITS * len(claims))
        try:
            await self._check_claims(claims, turn)
        except InvalidMessageSignature:
            return False
        return True

    async def _check_claims(self, claims: Sequence[Claim], turn: Turn) -> None:
        verifier = self._opener.verifier
        if self._limiter is not None and len(claims) >= THREAD_CLAIMS_MIN:
            await trio.to_thread.run_sync(check_claims, verifier, claims, limiter=self._limiter)
            return
        for start in range(0, len(claims), SLICE_CLAIMS):
            if start:
                await turn.renew()
            part = claims[start : start + SLICE_CLAIMS]
            turn.units += CLAIM_UNITS * len(part)
            check_claims(verifier, part)


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
