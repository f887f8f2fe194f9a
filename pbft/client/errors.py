"""What may go wrong for a client. `exit_code`: what a command ends with that ends by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from pbft.client.quorums import Disagreement, Unanswered, Unknown
from pbft.core.types import ReplicaId


class ExitCode(IntEnum):
    """Of commands."""

    ACCEPTED = 0
    USAGE = 2
    UNKNOWN = 3
    REJECTED = 4
    DISAGREE = 5
    AUTHENTICATION = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """How it stands with one replica. `refused`: why it turned us away, or why we do not believe who it is."""

    replica: ReplicaId
    connected: bool
    refused: str | None
    last_error: str | None

    def __str__(self) -> str:
        if self.connected and not self.refused:
            return f"replica {self.replica}: connected"
        return f"replica {self.replica}: {self.refused or self.last_error or 'no answer yet'}"


class ClientError(Exception):
    """Base of what is raised to callers of a client."""

    exit_code: ExitCode = ExitCode.UNKNOWN

    def __init__(self, message: str, *, exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code


class _LinksError(ClientError):
    def __init__(self, what: str, links: Sequence[LinkState]) -> None:
        super().__init__("; ".join([what, *map(str, links)]))
        self.links = tuple(links)


class NotEnoughReplicas(_LinksError):  # noqa: N818 - named for what is missing
    """Too few replicas can be reached for anything to be believed. `links` says what happened at each."""


class AuthenticationFailed(_LinksError):  # noqa: N818 - named for what happened
    """A quorum refused this device, or showed other certificates than the pinned ones."""

    exit_code = ExitCode.AUTHENTICATION


class OutcomeUnknown(ClientError):  # noqa: N818 - the protocol's word
    """No outcome in time. `outcome` (None for a read) can be given to `ReplicaClient.retry`, under the same name."""

    def __init__(self, message: str, outcome: Unknown | Unanswered | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome


class TooBusy(ClientError):  # noqa: N818 - named for what it is
    """More operations wait for their outcome than a client may hold. None of those given was taken."""


class RequestRejected(ClientError):  # noqa: N818 - the protocol's word
    """f+1 replicas say that the operation's name is stale: it will not run."""

    exit_code = ExitCode.REJECTED


class ReplicasDisagree(ClientError):  # noqa: N818 - named for what happened
    """No f+1 replicas give the same answer. `statements` says who said what."""

    exit_code = ExitCode.DISAGREE

    def __init__(self, disagreement: Disagreement) -> None:
        said = ", ".join(f"replica {one.replica} at {one.sequence}" for one in disagreement.statements)
        super().__init__(f"the replicas' answers differ: {said}")
        self.statements = disagreement.statements


class TopicClosed(ClientError):  # noqa: N818 - named for what happened
    """f+1 replicas say that the topic cannot be read."""

    exit_code = ExitCode.REJECTED
