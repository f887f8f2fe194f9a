"""The chat for Python programs: see `Chat`."""

from __future__ import annotations

from clients.sdk.chat import TIMEOUT_S, Chat
from clients.sdk.streams import MessageStream, NoticeStream, RoomEvent, RoomEventStream
from clients.sdk.values import ChatError, ClientFailure, Done, Reading, Receipt
from pbft.client.errors import (
    AuthenticationFailed,
    ExitCode,
    NotEnoughReplicas,
    OutcomeUnknown,
    ReplicasDisagree,
    RequestRejected,
)

__all__ = [
    "TIMEOUT_S",
    "AuthenticationFailed",
    "Chat",
    "ChatError",
    "ClientFailure",
    "Done",
    "ExitCode",
    "MessageStream",
    "NotEnoughReplicas",
    "NoticeStream",
    "OutcomeUnknown",
    "Reading",
    "Receipt",
    "ReplicasDisagree",
    "RequestRejected",
    "RoomEvent",
    "RoomEventStream",
]
