"""REPLY statements: one signature per session and batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from crypto.signing import PublicKey
from pbft.core.dedupe import Executed, Standing, Verdict
from pbft.core.effects import BatchExecuted, IgnoreReason
from pbft.core.messages import OperationResult, Reply, SignedRequest
from pbft.core.output import Output
from pbft.core.types import ClientSequence, SequenceNumber, SessionNumber, View
from pbft.core.voting_rules import VotingRules

REPLY_BYTES_MAX = 512 * 1024
NEVER = SequenceNumber(0)
"""Sequence number of a reply to a name that can never be ordered any more."""


def _split(results: Sequence[OperationResult]) -> Iterator[tuple[OperationResult, ...]]:
    """Parts of bounded size, so that no frame grows with what a client asked for."""
    part: list[OperationResult] = []
    size = 0
    for result in results:
        size += len(result.result) + 16
        if part and size > REPLY_BYTES_MAX:
            yield tuple(part)
            part, size = [], len(result.result) + 16
        part.append(result)
    if part:
        yield tuple(part)


def _reply(out: Output, rules: VotingRules, reply: Reply) -> None:
    for part in _split(reply.results):
        out.reply_to(reply.device, rules.sign_reply(replace(reply, results=part)))


def replies_to_executed(out: Output, rules: VotingRules, view: View, done: BatchExecuted) -> None:
    """Tell every session what became of its operations in this batch."""
    sessions: dict[tuple[PublicKey, SessionNumber], list[OperationResult]] = {}
    for request in done.results:
        sessions.setdefault((request.device, request.session), []).extend(request.results)
    for (device, session), results in sessions.items():
        reply = Reply(device=device, session=session, view=view, sequence=done.sequence, results=tuple(results))
        _reply(out, rules, reply)


def reply_again(
    out: Output, rules: VotingRules, view: View, request: SignedRequest, verdicts: Sequence[Verdict]
) -> IgnoreReason | None:
    """Repeat the results of operations that ran; say so of names that are forgotten.

    None if an operation of the request is new and may still be ordered, else why the request is not admitted.
    """
    by_sequence: dict[SequenceNumber, list[OperationResult]] = {}
    out_of_window = False
    for offset, verdict in enumerate(verdicts):
        match verdict:
            case Executed(sequence=sequence, result=result):
                by_sequence.setdefault(sequence, []).append(result)
            case Standing.STALE:
                number = ClientSequence(request.message.first_client_sequence + offset)
                stale = OperationResult(client_sequence=number, index=0, refused=True, result=b"")
                by_sequence.setdefault(NEVER, []).append(stale)
            case Standing.OUT_OF_WINDOW:
                out_of_window = True
            case _:
                pass
    for sequence, results in sorted(by_sequence.items()):
        session = request.message.session
        reply = Reply(device=request.device, session=session, view=view, sequence=sequence, results=tuple(results))
        _reply(out, rules, reply)
    if Standing.NEW in verdicts:
        return None
    if out_of_window:
        return IgnoreReason.OUT_OF_WINDOW
    return IgnoreReason.STALE_NAME if NEVER in by_sequence else IgnoreReason.ALREADY_EXECUTED
