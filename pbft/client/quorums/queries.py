"""Reads: asked of all replicas, believed at f+1 equal answers no older than what the client has seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from crypto.digest import Digest, digest_of
from crypto.signing import PublicKey
from pbft.client.quorums.knowledge import AcceptedMemory, Knowledge, highest_backed
from pbft.client.quorums.model import (
    Answered,
    Disagreement,
    Output,
    QueryId,
    QueryOutcome,
    Settings,
    Statement,
    Unanswered,
    earliest,
)
from pbft.core.bodies import ANSWER, SMALL_BODY_BYTES_MAX
from pbft.core.frames import wire_of
from pbft.core.messages import Answer, Query, Signed
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber

QUERY_BYTES_MAX = SMALL_BODY_BYTES_MAX - 64
ACCEPTED_REMEMBERED = 256
ACCEPTED_FRAME_BYTES_MAX = 8 * 1024 * 1024

_Proven = tuple[SequenceNumber, Digest]
"""f+1 replicas gave this result at this sequence: at it, no correct replica gives another."""


@dataclass(slots=True, eq=False)
class _Question:
    """`number` names it to the caller; in each round it goes out under a new `wire_id`."""

    number: QueryId
    query: bytes
    deadline: Milliseconds
    minimum: SequenceNumber
    pause_ms: int
    wire_id: QueryId = QueryId(-1)
    wire: bytes = b""
    rounds: int = 0
    answers: dict[ReplicaId, Signed[Answer]] = field(default_factory=dict)
    resend_at: Milliseconds | None = None
    judge_at: Milliseconds | None = None
    """End of the grace time, in which a quorum of differing answers waits for the others."""
    ask_at: Milliseconds | None = None
    """Start of the next round; set between two rounds."""

    @property
    def next_at(self) -> Milliseconds | None:
        return earliest(self.deadline, self.resend_at, self.judge_at, self.ask_at)


class QueryTracker:
    """Owned by one task. `first_id`: query ids count from here; two clients of one device must not share them."""

    def __init__(self, knowledge: Knowledge, device: PublicKey, first_id: QueryId, settings: Settings) -> None:
        self._knowledge = knowledge
        self._group = knowledge.group
        self._device = device
        self._settings = settings
        self._next_id = first_id
        self._questions: dict[QueryId, _Question] = {}
        self._by_wire_id: dict[int, _Question] = {}
        self._proven: AcceptedMemory[_Proven] = AcceptedMemory(
            entries_max=ACCEPTED_REMEMBERED, bytes_max=ACCEPTED_FRAME_BYTES_MAX
        )

    @property
    def outstanding(self) -> int:
        return len(self._questions)

    @property
    def next_at(self) -> Milliseconds | None:
        return earliest(*(question.next_at for question in self._questions.values()))

    # -- what the caller wants

    def ask(self, out: Output, now: Milliseconds, query: bytes, *, within_ms: int | None = None) -> QueryId:
        """Ask all replicas. Raises ValueError for a query over the protocol's limit."""
        if len(query) > QUERY_BYTES_MAX:
            msg = f"a query has at most {QUERY_BYTES_MAX} bytes"
            raise ValueError(msg)
        question = _Question(
            number=self._next_id,
            query=query,
            deadline=Milliseconds(now + (self._settings.outcome_after_ms if within_ms is None else within_ms)),
            minimum=self._knowledge.seen,
            pause_ms=self._settings.retransmit_after_ms,
        )
        self._questions[question.number] = question
        self._ask(out, now, question)
        return question.number

    def give_up(self, out: Output) -> None:
        """Report all questions as unanswered now."""
        for question in list(self._questions.values()):
            self._finish(out, question, Unanswered(statements=_statements(question)))

    # -- what replicas say

    def is_surplus(self, answer: Answer) -> bool:
        """Whether an answer cannot change anything, even if it is signed: it need not be verified."""
        if answer.query_id in self._by_wire_id:
            return False
        proven = self._proven.get(answer.query_id)
        return proven is None or not _contradicts(proven, answer)

    def on_answers(self, out: Output, now: Milliseconds, answers: Iterable[Signed[Answer]]) -> None:
        """Answers that arrived together."""
        touched: dict[QueryId, _Question] = {}
        for signed in answers:
            answer = signed.message
            if answer.device != self._device:
                continue
            question = self._by_wire_id.get(answer.query_id)
            if question is None:
                self._on_late(out, signed)
            elif answer.sequence >= question.minimum:
                self._on_answer(out, question, signed)
                touched[question.number] = question
        for question in touched.values():
            self._judge(out, now, question)

    def on_link_up(self, out: Output, replica: ReplicaId) -> None:
        for question in self._questions.values():
            if question.ask_at is None and replica not in question.answers:
                out.send_to((replica,), question.wire)

    def on_time(self, out: Output, now: Milliseconds) -> None:
        for question in list(self._questions.values()):
            if question.deadline <= now:
                self._finish(out, question, _without_agreement(question, self._group.honest_minimum))
            elif question.ask_at is not None:
                if question.ask_at <= now:
                    self._ask(out, now, question)
            elif question.judge_at is not None and question.judge_at <= now:
                self._end_round(out, now, question)
            elif question.resend_at is not None and question.resend_at <= now:
                self._send(out, now, question)

    # -- inside

    def _ask(self, out: Output, now: Milliseconds, question: _Question) -> None:
        question.wire_id = self._next_id
        self._next_id = QueryId(self._next_id + 1)
        question.rounds += 1
        question.answers = {}
        question.ask_at = question.judge_at = None
        question.pause_ms = self._settings.retransmit_after_ms
        question.minimum = max(question.minimum, self._knowledge.seen)
        query = Query(query_id=question.wire_id, minimum_sequence=question.minimum, query=question.query)
        question.wire = wire_of(self._group.epoch, query)
        self._by_wire_id[question.wire_id] = question
        self._send(out, now, question)

    def _send(self, out: Output, now: Milliseconds, question: _Question) -> None:
        silent = tuple(replica for replica in self._knowledge.up if replica not in question.answers)
        out.send_to(silent, question.wire)
        question.resend_at = Milliseconds(now + question.pause_ms)
        question.pause_ms = min(2 * question.pause_ms, self._settings.retransmit_pause_max_ms)

    def _on_answer(self, out: Output, question: _Question, signed: Signed[Answer]) -> None:
        """Keep the newest answer of each replica; two at one sequence that differ convict it."""
        known = question.answers.get(signed.signer)
        if known is not None:
            if known.message.sequence == signed.message.sequence and known.message.result != signed.message.result:
                self._accuse(out, signed.signer, (known.wire,), signed)
            if known.message.sequence >= signed.message.sequence:
                return
        question.answers[signed.signer] = signed

    def _judge(self, out: Output, now: Milliseconds, question: _Question) -> None:
        if question.ask_at is not None:
            return
        accepted = self._agreement(question)
        if accepted is not None:
            self._knowledge.on_seen(accepted.sequence)
            self._convict(out, question, accepted)
            self._finish(out, question, accepted)
        elif len(question.answers) == self._group.size:
            self._end_round(out, now, question)
        elif len(question.answers) >= self._group.quorum and question.judge_at is None:
            question.judge_at = Milliseconds(now + self._settings.query_grace_ms)

    def _agreement(self, question: _Question) -> Answered | None:
        """The newest of the results that f+1 replicas gave."""
        groups: dict[bytes, list[Signed[Answer]]] = {}
        for signed in question.answers.values():
            groups.setdefault(signed.message.result, []).append(signed)
        best: Answered | None = None
        for result, group in groups.items():
            backed = highest_backed((signed.message.sequence for signed in group), self._group.honest_minimum)
            if backed is not None and (best is None or backed > best.sequence):
                vouchers = tuple(sorted(signed.signer for signed in group))
                newest = sorted(group, key=lambda signed: -signed.message.sequence)[: self._group.honest_minimum]
                frames = tuple(signed.wire for signed in newest)
                best = Answered(result=result, sequence=backed, vouchers=vouchers, statements=frames)
        return best

    def _convict(self, out: Output, question: _Question, accepted: Answered) -> None:
        """At a sequence at which f+1 replicas gave the accepted result, another result is a lie.

        Fewer prove nothing: one that copies an answer may claim any sequence for it.
        """
        at: dict[SequenceNumber, list[Signed[Answer]]] = {}
        for signed in question.answers.values():
            if signed.message.result == accepted.result:
                at.setdefault(signed.message.sequence, []).append(signed)
        least = self._group.honest_minimum
        proven = sorted(sequence for sequence, group in at.items() if len(group) >= least)
        if not proven:
            return
        sequence = proven[-1]
        frames = tuple(signed.wire for signed in at[sequence][:least])
        fact = (sequence, digest_of(accepted.result))
        self._proven.add(question.wire_id, fact, frames)
        for signed in question.answers.values():
            if _contradicts(fact, signed.message):
                self._accuse(out, signed.signer, frames, signed)

    def _on_late(self, out: Output, signed: Signed[Answer]) -> None:
        proven = self._proven.get(signed.message.query_id)
        if proven is not None and _contradicts(proven, signed.message):
            self._accuse(out, signed.signer, self._proven.frames(signed.message.query_id), signed)

    def _accuse(self, out: Output, replica: ReplicaId, accepted: tuple[bytes, ...], signed: Signed[Answer]) -> None:
        self._knowledge.accuse(out, ANSWER, replica, accepted=accepted, contradicting=signed.wire)

    def _end_round(self, out: Output, now: Milliseconds, question: _Question) -> None:
        """Nobody agrees: ask again, this time no earlier than where a correct replica is by now."""
        if question.rounds >= self._settings.query_rounds:
            self._finish(out, question, Disagreement(statements=_statements(question)))
            return
        sequences = (signed.message.sequence for signed in question.answers.values())
        reached = highest_backed(sequences, self._group.honest_minimum)
        question.minimum = max(question.minimum, reached or question.minimum)
        del self._by_wire_id[question.wire_id]
        pause = self._settings.query_round_pause_ms << (question.rounds - 1)
        question.ask_at = Milliseconds(now + pause)
        question.judge_at = question.resend_at = None

    def _finish(self, out: Output, question: _Question, outcome: QueryOutcome) -> None:
        del self._questions[question.number]
        self._by_wire_id.pop(question.wire_id, None)
        out.answers.append((question.number, outcome))


def _contradicts(proven: _Proven, answer: Answer) -> bool:
    return answer.sequence == proven[0] and digest_of(answer.result) != proven[1]


def _statements(question: _Question) -> tuple[Statement, ...]:
    return tuple(
        Statement(replica=replica, sequence=signed.message.sequence, result=signed.message.result)
        for replica, signed in sorted(question.answers.items())
    )


def _without_agreement(question: _Question, least: int) -> Disagreement | Unanswered:
    """f+1 answers that differ are a disagreement; fewer could not have agreed."""
    statements = _statements(question)
    return Disagreement(statements=statements) if len(statements) >= least else Unanswered(statements=statements)
