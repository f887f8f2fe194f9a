"""What reads give, as the callers of a client see it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pbft.client.quorums import Accepted, Answered, Statements, Vouchers
from pbft.core.types import ClientSequence, SequenceNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query gave, as of `sequence`. `ordered`: in its place in the order, hence linearizable."""

    result: bytes
    sequence: SequenceNumber
    vouchers: Vouchers
    ordered: bool
    client_sequence: ClientSequence | None = None
    """Of an ordered read: which of the results in the replies is its own."""
    statements: Statements = field(default=(), repr=False, compare=False)
    """Empty unless asked for: ANSWERs, or REPLYs to an ordered read (see `Accepted.statements`)."""


def unordered(answered: Answered, *, keep_statements: bool) -> Answer:
    return Answer(
        result=answered.result,
        sequence=answered.sequence,
        vouchers=answered.vouchers,
        ordered=False,
        statements=answered.statements if keep_statements else (),
    )


def ordered(accepted: Accepted) -> Answer:
    return Answer(
        result=accepted.result,
        sequence=accepted.sequence,
        vouchers=accepted.vouchers,
        ordered=True,
        client_sequence=accepted.client_sequence,
        statements=accepted.statements,
    )
