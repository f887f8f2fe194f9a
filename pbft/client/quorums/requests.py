"""Operations of one session: sent bundled and signed, again when need be, and believed at f+1 equal replies.

An operation gets its name (device key, session, client sequence) when it is first sent, so that every name is sent:
a name given and never used would leave a hole, and beyond a hole as wide as the window the session is dead. For the
same reason an operation whose outcome is unknown is sent on, slowly, until its name is resolved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from crypto.signing import Signer
from pbft.client.quorums.knowledge import AcceptedMemory, Knowledge
from pbft.client.quorums.model import Accepted, Outcome, Output, Rejected, Settings, Ticket, Unknown, earliest
from pbft.client.quorums.operations import (
    FIRST_NAME,
    REFUSED,
    Bundle,
    HeldOperation,
    OutboxFull,
    Place,
    UnknownTicket,
    contradicts,
    place_of,
    remember,
)
from pbft.core.bodies import REPLY
from pbft.core.frames import sign_request
from pbft.core.messages import Reply, Request, Signed
from pbft.core.types import ClientSequence, Milliseconds, ReplicaId, SequenceNumber, SessionNumber

BUNDLE_BYTES_MAX = 256 * 1024
ACCEPTED_REMEMBERED = 4096
ACCEPTED_FRAME_BYTES_MAX = 16 * 1024 * 1024
OPINION_FRAME_BYTES_MAX = 32 * 1024 * 1024
"""Of each replica, counted once for each opinion: opinions beyond it count, but their frames are not kept."""


class RequestTracker:
    """Owned by one task. Every method is told the time, and says in `out` what to send and what became known."""

    def __init__(
        self,
        knowledge: Knowledge,
        signer: Signer,
        session: SessionNumber,
        settings: Settings,
        *,
        resume_at: ClientSequence = FIRST_NAME,
    ) -> None:
        """`resume_at`: the first name to give, all earlier ones of the session having had their outcome."""
        self.session = session
        self._knowledge = knowledge
        self._group = knowledge.group
        self._signer = signer
        self._settings = settings
        self._honest_minimum = self._group.honest_minimum
        self._bundle_max = min(settings.bundle, self._group.parameters.request_operations_max)
        self._next_ticket = 0
        self._next_client_sequence: int = resume_at
        self._ack_below: int = resume_at
        self._held: dict[Ticket, HeldOperation] = {}
        self._outbox: deque[HeldOperation] = deque()
        self._open: dict[ClientSequence, HeldOperation] = {}
        self._bundles: dict[ClientSequence, Bundle] = {}
        self._fresh = 0
        self._frame_bytes = dict.fromkeys(self._group.replicas, 0)
        self._resend_at: Milliseconds | None = None
        self._deadlines: list[tuple[Milliseconds, Ticket]] = []
        self._late: dict[Ticket, Outcome] = {}
        self._unsent: dict[Ticket, HeldOperation] = {}
        self._accepted: AcceptedMemory[tuple[Place, bool]] = AcceptedMemory(
            entries_max=ACCEPTED_REMEMBERED, bytes_max=ACCEPTED_FRAME_BYTES_MAX
        )

    @property
    def outstanding(self) -> int:
        """Operations sent and without outcome; never more than the group's client window."""
        return len(self._open)

    @property
    def waiting(self) -> int:
        """Operations not sent yet."""
        return len(self._outbox)

    @property
    def next_at(self) -> Milliseconds | None:
        """When `on_time` is due, or earlier."""
        return earliest(self._resend_at, self._deadlines[0][0] if self._deadlines else None)

    # -- what the caller wants

    def submit(
        self,
        out: Output,
        now: Milliseconds,
        operations: Sequence[bytes],
        *,
        within_ms: int | None = None,
        repeatable: bool = False,
        keep_statements: bool = False,
    ) -> tuple[Ticket, ...]:
        """Send the operations, in their order, as soon as the window allows; at once when the client is idle.

        `repeatable`: the application may not remember them (an ordered read, anything of a device that it does not
        know), so that one may run twice, and correct replies name either. `keep_statements`: their outcomes are to
        hold what replicas signed. Raises OutboxFull, and ValueError for an operation over the group's limit.
        """
        most = self._group.parameters.operation_bytes_max
        if any(len(operation) > most for operation in operations):
            msg = f"an operation has at most {most} bytes in this group"
            raise ValueError(msg)
        if len(self._outbox) + len(operations) > self._settings.outbox_max:
            msg = f"{len(self._outbox)} operations wait to be sent already"
            raise OutboxFull(msg)
        tickets = []
        for operation in operations:
            ticket = Ticket(self._next_ticket)
            self._next_ticket += 1
            self._wait_for(HeldOperation(ticket, operation, repeatable, keep_statements), now, within_ms)
            tickets.append(ticket)
        self._pump(out, now)
        return tuple(tickets)

    def is_unknown(self, ticket: Ticket) -> bool:
        """Whether the operation was reported unknown, and is held still for a retry."""
        held = self._held.get(ticket)
        return ticket in self._late or ticket in self._unsent or (held is not None and not held.waited_for)

    def retry(self, out: Output, now: Milliseconds, ticket: Ticket, *, within_ms: int | None = None) -> None:
        """Wait for the outcome of an operation that was reported unknown, under the same name.

        Its outcome may have come meanwhile; then it is in `out`. Raises UnknownTicket.
        """
        late = self._late.pop(ticket, None)
        if late is not None:
            out.outcomes.append((ticket, late))
            return
        held = self._held.get(ticket)
        if held is None:
            held = self._unsent.pop(ticket, None)
        elif held.waited_for:
            held = None
        if held is None:
            msg = f"operation {ticket} is not one whose outcome is unknown"
            raise UnknownTicket(msg)
        self._wait_for(held, now, within_ms)
        if held.bundle is not None:
            held.bundle.resend_at, held.bundle.pause_ms = now, self._settings.retransmit_after_ms
            self._resend(out, now)
        self._pump(out, now)

    def give_up(self, out: Output) -> None:
        """Report all outcomes that are waited for as unknown now."""
        for held in list(self._held.values()):
            self._report_unknown(out, held)

    # -- what replicas say

    def is_surplus(self, reply: Reply) -> bool:
        """Whether a reply, if it is signed at all, cannot change anything: it need not be verified."""
        if reply.device != self._signer.public_key or reply.session != self.session:
            return True
        for result in reply.results:
            if result.client_sequence in self._open:
                return False
            accepted = self._accepted.get(result.client_sequence)
            if accepted is not None and contradicts(
                accepted[0], place_of(result, reply.sequence), repeatable=accepted[1]
            ):
                return False
        return True

    def on_replies(self, out: Output, now: Milliseconds, replies: Iterable[Signed[Reply]]) -> None:
        """Replies that arrived together: those beyond f+1 that agree become vouchers as well."""
        decided: list[HeldOperation] = []
        for signed in replies:
            reply = signed.message
            if reply.device != self._signer.public_key or reply.session != self.session:
                continue
            self._knowledge.on_view(signed.signer, reply.view)
            for result in reply.results:
                held = self._open.get(result.client_sequence)
                place = place_of(result, reply.sequence)
                if held is None:
                    self._on_late(out, signed, result.client_sequence, place)
                elif self._on_opinion(out, signed, held, place, result.result):
                    decided.append(held)
        for held in decided:
            self._settle(out, held)
        if decided:
            self._advance()
            self._pump(out, now)

    def on_link_up(self, out: Output, now: Milliseconds, replica: ReplicaId) -> None:
        """Send again what this replica has to have, and may have lost with the connection."""
        primary = self._knowledge.believed_primary
        no_primary = primary not in self._knowledge.up
        for bundle in self._bundles.values():
            if replica == primary or no_primary or not bundle.fresh:
                out.send_to((replica,), bundle.request.wire)
        self._pump(out, now)

    def on_link_down(self, out: Output, now: Milliseconds, replica: ReplicaId) -> None:
        """If the primary is gone, what only it was told goes to the others at once: their patience with it begins."""
        if replica != self._knowledge.believed_primary:
            return
        for bundle in self._bundles.values():
            if bundle.fresh:
                bundle.resend_at = now
        if self._bundles:
            self._resend(out, now)

    def on_time(self, out: Output, now: Milliseconds) -> None:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, ticket = heappop(self._deadlines)
            held = self._held.get(ticket)
            if held is not None and held.deadline <= now:
                self._report_unknown(out, held)
        if self._resend_at is not None and self._resend_at <= now:
            self._resend(out, now)
        self._pump(out, now)

    # -- sending

    def _wait_for(self, held: HeldOperation, now: Milliseconds, within_ms: int | None) -> None:
        held.waited_for = True
        held.deadline = Milliseconds(now + (self._settings.outcome_after_ms if within_ms is None else within_ms))
        self._held[held.ticket] = held
        if held.bundle is None:
            self._outbox.append(held)
        if len(self._deadlines) > 4 * len(self._held) + 64:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._held]
            heapify(self._deadlines)
        heappush(self._deadlines, (held.deadline, held.ticket))

    def _pump(self, out: Output, now: Milliseconds) -> None:
        """Send bundles while the window allows, when idle a single operation at once, when busy full ones."""
        while self._outbox:
            room = self._ack_below + self._group.parameters.client_window - self._next_client_sequence
            count = min(len(self._outbox), self._bundle_max, room)
            busy = self._fresh >= self._settings.bundles_in_flight
            if count <= 0 or (busy and count < self._bundle_max):
                return
            self._send_bundle(out, now, count)

    def _send_bundle(self, out: Output, now: Milliseconds, count: int) -> None:
        first = ClientSequence(self._next_client_sequence)
        members: list[HeldOperation] = []
        size = 0
        while len(members) < count:
            size += len(self._outbox[0].operation)
            if members and size > BUNDLE_BYTES_MAX:
                break
            members.append(self._outbox.popleft())
        request = Request(
            session=self.session,
            first_client_sequence=first,
            ack_below=ClientSequence(self._ack_below),
            operations=tuple(held.operation for held in members),
        )
        pause = self._settings.retransmit_after_ms
        bundle = Bundle(
            sign_request(self._group, self._signer, request),
            open=len(members),
            resend_at=Milliseconds(now + pause),
            pause_ms=pause,
        )
        for held in members:
            held.client_sequence = ClientSequence(self._next_client_sequence)
            held.bundle = bundle
            self._open[held.client_sequence] = held
            self._next_client_sequence += 1
        self._bundles[first] = bundle
        self._fresh += 1
        self._resend_at = earliest(self._resend_at, bundle.resend_at)
        primary, up = self._knowledge.believed_primary, self._knowledge.up
        out.send_to((primary,) if primary in up else up, bundle.request.wire)

    def _resend(self, out: Output, now: Milliseconds) -> None:
        """The same bytes to all replicas, with longer and longer pauses. PBFT section 4.1."""
        for bundle in self._bundles.values():
            if bundle.resend_at > now:
                continue
            if bundle.fresh:
                bundle.fresh = False
                self._fresh -= 1
            out.send_to(self._knowledge.up, bundle.request.wire)
            bundle.pause_ms = min(2 * bundle.pause_ms, self._settings.retransmit_pause_max_ms)
            bundle.resend_at = Milliseconds(now + bundle.pause_ms)
        self._resend_at = earliest(*(bundle.resend_at for bundle in self._bundles.values()))

    # -- opinions

    def _on_opinion(
        self, out: Output, signed: Signed[Reply], held: HeldOperation, place: Place, result: bytes
    ) -> bool:
        """Count one opinion of each replica. Whether f+1 now agree for the first time."""
        replica, wire = signed.signer, signed.wire
        known = held.opinions.get(replica)
        if known is not None:
            old, frame = known
            if contradicts(old, place, repeatable=held.repeatable):
                self._knowledge.accuse(out, REPLY, replica, accepted=(frame,), contradicting=wire)
                return False
            if place in {old, REFUSED} or old[0] > place[0]:
                return False
            if held.decided is not None and old == held.decided[0]:
                return False
            self._frame_bytes[replica] -= len(frame)
        if self._frame_bytes[replica] + len(wire) > OPINION_FRAME_BYTES_MAX:
            wire = b""
        self._frame_bytes[replica] += len(wire)
        held.opinions[replica] = (place, wire)
        if held.decided is not None:
            return False
        if sum(opinion[0] == place for opinion in held.opinions.values()) < self._honest_minimum:
            return False
        held.decided = (place, result)
        return True

    def _settle(self, out: Output, held: HeldOperation) -> None:
        """Say what was decided, and who voted otherwise."""
        place, result = held.decided or (REFUSED, b"")
        agreeing = {replica: frame for replica, (said, frame) in held.opinions.items() if said == place}
        vouchers = tuple(sorted(agreeing))
        outcome: Outcome
        if place == REFUSED:
            outcome = Rejected(client_sequence=held.client_sequence, vouchers=vouchers)
        else:
            sequence = SequenceNumber(place[0])
            self._knowledge.on_seen(sequence)
            frames = tuple(agreeing[replica] for replica in vouchers if agreeing[replica])[: self._honest_minimum]
            outcome = Accepted(
                client_sequence=held.client_sequence,
                sequence=sequence,
                index=place[1],
                result=result,
                vouchers=vouchers,
                statements=frames if held.keep_statements else (),
            )
            if len(agreeing) < len(held.opinions):
                for replica, (said, frame) in held.opinions.items():
                    if contradicts(place, said, repeatable=held.repeatable):
                        self._knowledge.accuse(out, REPLY, replica, accepted=frames, contradicting=frame)
            self._accepted.add(held.client_sequence, (place, held.repeatable), frames)
        self._close(held)
        if held.waited_for:
            out.outcomes.append((held.ticket, outcome))
        else:
            remember(self._late, held.ticket, outcome)

    def _close(self, held: HeldOperation) -> None:
        del self._open[held.client_sequence]
        del self._held[held.ticket]
        for replica, (_, frame) in held.opinions.items():
            self._frame_bytes[replica] -= len(frame)
        bundle = held.bundle
        if bundle is None:
            return
        bundle.open -= 1
        if bundle.open == 0:
            self._fresh -= bundle.fresh
            del self._bundles[bundle.request.message.first_client_sequence]

    def _on_late(self, out: Output, signed: Signed[Reply], client_sequence: ClientSequence, place: Place) -> None:
        """A reply about an operation that has its outcome: a lie, or of no use."""
        accepted = self._accepted.get(client_sequence)
        if accepted is not None and contradicts(accepted[0], place, repeatable=accepted[1]):
            frames = self._accepted.frames(client_sequence)
            self._knowledge.accuse(out, REPLY, signed.signer, accepted=frames, contradicting=signed.wire)

    def _advance(self) -> None:
        """Acknowledge up to the first operation without outcome."""
        while self._ack_below < self._next_client_sequence and ClientSequence(self._ack_below) not in self._open:
            self._ack_below += 1
        if not self._bundles:
            self._resend_at = None

    def _report_unknown(self, out: Output, held: HeldOperation) -> None:
        if not held.waited_for:
            return
        held.waited_for = False
        sent = held.bundle is not None
        if not sent:
            del self._held[held.ticket]
            self._outbox.remove(held)
            remember(self._unsent, held.ticket, held)
        out.outcomes.append((held.ticket, Unknown(ticket=held.ticket, sent=sent)))
