"""What a client may believe, as pure logic: no clock, no randomness, no I/O.

Whatever f of the 3f+1 replicas sign or withhold, nothing is accepted that f+1 distinct replicas have not signed.
"""

from pbft.client.quorums.core import ClientCore
from pbft.client.quorums.knowledge import ContradictionLog, Knowledge
from pbft.client.quorums.model import (
    Accepted,
    Answered,
    Contradiction,
    Disagreement,
    Event,
    Outcome,
    Output,
    QueryId,
    QueryOutcome,
    Rejected,
    Send,
    Settings,
    Statement,
    Statements,
    SubscriptionId,
    Ticket,
    Unanswered,
    Unknown,
    Vouchers,
)
from pbft.client.quorums.operations import OutboxFull, UnknownTicket
from pbft.client.quorums.queries import QueryTracker
from pbft.client.quorums.requests import RequestTracker
from pbft.client.quorums.subscriptions import SubscriptionTracker

__all__ = [
    "Accepted",
    "Answered",
    "ClientCore",
    "Contradiction",
    "ContradictionLog",
    "Disagreement",
    "Event",
    "Knowledge",
    "OutboxFull",
    "Outcome",
    "Output",
    "QueryId",
    "QueryOutcome",
    "QueryTracker",
    "Rejected",
    "RequestTracker",
    "Send",
    "Settings",
    "Statement",
    "Statements",
    "SubscriptionId",
    "SubscriptionTracker",
    "Ticket",
    "Unanswered",
    "Unknown",
    "UnknownTicket",
    "Vouchers",
]
