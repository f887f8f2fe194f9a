"""Requests on their way in: answered again, admitted, passed on, and dropped once nothing of them can run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

from crypto.signing import PublicKey
from pbft.core import bodies
from pbft.core.dedupe import Standing, Verdict
from pbft.core.effects import IgnoreReason
from pbft.core.evidence import CLIENT_EQUIVOCATION
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import Request, SignedRequest
from pbft.core.output import Output
from pbft.core.replies import reply_again
from pbft.core.request_pool import RequestPool
from pbft.core.types import Milliseconds, ReplicaId
from pbft.core.voting_rules import VotingRules
from pbft.core.witness import Witness

ACCUSED_BYTES_MAX = 64 * 1024
"""Of the two requests that prove a device's lie: devices may make many of them."""
FORWARD_MAX = 256
REFRESH_MAX = 16
"""Waiting requests that are looked at again with each STATUS."""


class ExecutedOperations(Protocol):
    """What the executed state knows of an operation's name (`pbft.core.dedupe`)."""

    def judge(self, device: PublicKey, request: Request) -> Sequence[Verdict]:
        """One verdict for each operation of the request."""
        ...

    def knows(self, device: PublicKey) -> bool:
        """Whether the application knows the device: strangers share a small part of the pool."""
        ...


class Admission:
    """Keeps the pool in step with what was executed, and the primary in step with the pool."""

    def __init__(
        self,
        *,
        group: Group,
        me: ReplicaId,
        rules: VotingRules,
        log: Log,
        pool: RequestPool,
        executed: ExecutedOperations,
        witness: Witness,
    ) -> None:
        self._group = group
        self._me = me
        self._rules = rules
        self._log = log
        self._pool = pool
        self._executed = executed
        self._witness = witness

    def on_request(
        self, out: Output, now: Milliseconds, source: ReplicaId | PublicKey, request: SignedRequest
    ) -> None:
        """Answer what ran already; admit what is new; a backup passes it on to the primary. PBFT section 4.1."""
        verdicts = self._executed.judge(request.device, request.message)
        via = source if isinstance(source, int) else None
        is_stranger = not self._executed.knows(request.device)
        reason = reply_again(out, self._rules, self._log.view, request, verdicts)
        if reason is None:
            reason = self._pool.why_refuse(request, is_stranger=is_stranger, via=via)
        if reason is None:
            self._pool.add(request, now, is_stranger=is_stranger, via=via)
            if via is None:
                self._pass_on(out, request)
            return
        if reason is IgnoreReason.DUPLICATE:
            self._pool.come_again(request, via)
        if reason is IgnoreReason.NAME_IN_USE:
            held = None if is_stranger else self._pool.contradicted_by(request)
            if held is not None and len(held.wire) + len(request.wire) <= ACCUSED_BYTES_MAX:
                place = (request.message.session, request.message.first_client_sequence)
                self._witness.accuse(out, CLIENT_EQUIVOCATION, request.device, place, held.wire, request.wire)
        out.ignore(reason, source, bodies.REQUEST)

    def _pass_on(self, out: Output, request: SignedRequest) -> None:
        primary = self._group.primary(self._log.view)
        if primary != self._me:
            out.send_to((primary,), request)

    def pass_all_on(self, out: Output) -> None:
        """What waits here, the primary may never have seen; as much as is decent at once."""
        for request in itertools.islice(self._pool.oldest(), FORWARD_MAX):
            self._pass_on(out, request)

    def refresh(self, out: Output, now: Milliseconds) -> None:
        """Pass the oldest requests on again, for a forward may be lost; drop those that can run no more."""
        for request in tuple(itertools.islice(self._pool.oldest(), REFRESH_MAX)):
            if not self._drop_if_executed(request, now):
                self._pass_on(out, request)

    def drop_executed(self, now: Milliseconds) -> None:
        """Another state is in place: whatever it has executed need not wait here."""
        for request in tuple(self._pool.oldest()):
            self._drop_if_executed(request, now)

    def _drop_if_executed(self, request: SignedRequest, now: Milliseconds) -> bool:
        verdicts = self._executed.judge(request.device, request.message)
        done = Standing.NEW not in verdicts and Standing.OUT_OF_WINDOW not in verdicts
        if done:
            self._pool.remove(request, now)
        return done
