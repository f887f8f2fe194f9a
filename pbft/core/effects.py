"""Inputs of the state machine, and the effects it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from crypto.digest import Digest
from crypto.signing import PublicKey
from pbft.core.application import EventItem
from pbft.core.messages import Batch, Checkpoint, ClientMessage, OperationResult, PeerMessage, ToClient
from pbft.core.state_messages import FetchState, KeyedRow
from pbft.core.types import EventIndex, Milliseconds, Now, ReplicaId, SequenceNumber, SessionNumber


class Timer(Enum):
    """Timers a replica may set; setting one again moves it. One that expired before it was moved may still come."""

    STATUS = "status"
    VIEW_CHANGE = "view change"
    TRANSFER = "transfer"
    SERVE_STATE = "serve state"
    EVIDENCE = "evidence"


class RecordKind(Enum):
    """What a ledger record holds. The value is stored."""

    PROPOSAL = "proposal"
    PREPARE = "prepare"
    COMMIT = "commit"
    CHECKPOINT = "checkpoint"
    PREPARED = "prepared"
    COMMITTED = "committed"
    BODY = "body"
    STABLE = "stable"
    DIVERGED = "diverged"
    VIEW_CHANGE = "view-change"
    NEW_VIEW = "new-view"
    AMNESIA = "amnesia"
    REJOINED = "rejoined"
    REPAIRED = "repaired"


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the ledger: the signed bytes, or a certificate, of one sequence number."""

    kind: RecordKind
    sequence: SequenceNumber
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FromPeer:
    """A message over the authenticated link to `peer`. Votes count for their signer, not for the link."""

    peer: ReplicaId
    message: PeerMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class FromClient:
    """A message over a connection authenticated as `device`."""

    device: PublicKey
    message: ClientMessage
    host: str = ""
    """From where it came; what is counted as one address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Messages that waited together, in order of arrival."""

    now: Now
    messages: tuple[FromPeer | FromClient, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerExpired:
    now: Now
    timer: Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """First input: the ledger's records in the order they were written, and how far the state has executed."""

    now: Now
    records: tuple[Record, ...]
    last_executed: SequenceNumber
    checkpoint: Checkpoint | None
    """The last checkpoint executed: the crash may have come before the vote for it was stored."""
    is_whole: bool = True
    """False if the state was being fetched when the node stopped."""
    evidence: tuple[Evidence, ...] = ()
    """Proofs that are kept, to tell peers of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedRequest:
    """Results of one request's operations that ran or were refused now (not of those that had run before)."""

    device: PublicKey
    session: SessionNumber
    results: tuple[OperationResult, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchExecuted:
    """A batch was applied to the state. `state_root` is there at checkpoints, and then the state is durable."""

    now: Now
    sequence: SequenceNumber
    batch: Batch
    results: tuple[ExecutedRequest, ...]
    topics: tuple[bytes, ...]
    state_root: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryDone:
    """`result` is None when the client does not take what it asked for before: it may ask again."""

    now: Now
    device: PublicKey
    query_id: int
    sequence: SequenceNumber
    result: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDone:
    """`events` is None when the topic cannot be read."""

    now: Now
    device: PublicKey
    subscription: int
    sequence: SequenceNumber
    start: EventIndex
    events: tuple[EventItem, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp:
    """A peer can be sent to (again)."""

    now: Now
    peer: ReplicaId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientGone:
    """The last connection of a device closed."""

    now: Now
    device: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class StateInstalled:
    """An InstallState was carried out. `state_root` is what the state came to; it stands only if that is the one
    expected."""

    now: Now
    sequence: SequenceNumber
    state_root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDamaged:
    """Rows of the state are not what was written. `what` says which, for the operator."""

    now: Now
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRefused:
    """A frame did not open, and proves by itself that whoever signed it does what no correct replica does."""

    now: Now
    evidence: Evidence


Input = (
    Received
    | TimerExpired
    | Recovered
    | BatchExecuted
    | QueryDone
    | EventsDone
    | LinkUp
    | ClientGone
    | StateDamaged
    | StateInstalled
    | FrameRefused
)


# -- effects ---------------------------------------------------------------------------------------------------


class IgnoreReason(Enum):
    """Why a message changed nothing. Expected in any network; counted, never an accusation."""

    DUPLICATE = "duplicate"
    OLD_VIEW = "old view"
    FUTURE_VIEW = "future view"
    BELOW_LOW_WATERMARK = "below the low watermark"
    ABOVE_HIGH_WATERMARK = "above the high watermark"
    VIEW_CHANGE_UNDER_WAY = "no NEW-VIEW of this view yet"
    NOT_THE_PRIMARY = "proposal by a replica that is not the primary"
    PRIMARY_DOES_NOT_PREPARE = "prepare by the primary"
    CONFLICTING_PROPOSAL = "another digest was accepted for this slot"
    CONFLICTING_VOTE = "this replica voted for another digest in this slot"
    BATCH_TOO_LARGE = "batch over the group's limits"
    TIMESTAMP_OUT_OF_RANGE = "batch timestamp too far from this replica's clock"
    ALREADY_EXECUTED = "already executed"
    NOT_A_CHECKPOINT = "not a checkpoint sequence"
    NOT_WANTED = "not asked for"
    NOT_OWN = "signed with this replica's key, but unknown to its ledger"
    NAME_IN_USE = "another request with this name waits already"
    POOL_FULL = "no room for more waiting requests"
    DEVICE_FULL = "as much of this device waits here as may"
    WRONG_DEVICE = "request of another device than the connection's"
    STALE_NAME = "client sequence or session was forgotten after it was acknowledged"
    OUT_OF_WINDOW = "client sequence beyond the session's window"
    TOO_FAR_AHEAD = "too far ahead of what this replica has executed"
    TOO_MANY_READS = "too many reads wait"
    TOO_MANY_SUBSCRIPTIONS = "too many subscriptions"
    STATE_NOT_WHOLE = "this replica's state is damaged or being fetched: it answers nobody out of it"
    NO_SUBSCRIPTION = "no such subscription"
    PROVES_NOTHING = "evidence that does not prove what it says"
    PROVEN_ALREADY = "enough proofs of this kind against the culprit are kept"
    TOO_MUCH_EVIDENCE = "more evidence than is looked at from one peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    reason: IgnoreReason
    source: ReplicaId | PublicKey
    """Who signed it, or brought it."""
    message_type: str
    link: ReplicaId | None = None
    """The replica that brought it, whoever signed it: anybody may say again what others have signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One message to some replicas, encoded once."""

    to: tuple[ReplicaId, ...]
    message: PeerMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyTo:
    """A statement for a client device, dropped when it is not connected here."""

    device: PublicKey
    message: ToClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """Apply a committed batch; answered by BatchExecuted."""

    sequence: SequenceNumber
    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Answered by QueryDone."""

    device: PublicKey
    query_id: int
    query: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEvents:
    """Answered by EventsDone; reads of one device and subscription number in the order they were asked for."""

    device: PublicKey
    subscription: int
    topic: bytes
    start: EventIndex
    limit: int


class Archived(Enum):
    """What can be served out of the ledger, below the stable checkpoint."""

    COMMIT_CERTIFICATES = "commit certificates"
    BODIES = "bodies"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeArchive:
    """Send `to` what the ledger keeps of the sequence numbers from `first` to `last`."""

    to: ReplicaId
    what: Archived
    first: SequenceNumber
    last: SequenceNumber
    digest: Digest | None = None
    """Of the one body that is wanted, whether it was committed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeState:
    """Answer `to` out of the state of the last checkpoint."""

    to: ReplicaId
    fetch: FetchState


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPages:
    """Replace pages of a table, each by (page key, its rows); a page without rows is removed. Durable at once.

    From the first one on the state is whole no more, also after a restart, until an InstallState succeeds.
    """

    table: str
    pages: tuple[tuple[bytes, tuple[KeyedRow, ...]], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallState:
    """The pages are those of this checkpoint: if the state root agrees, the state is whole and stands there.

    Sequence 0 is the beginning: the state is emptied. Answered by StateInstalled.
    """

    sequence: SequenceNumber
    history_head: Digest
    agreed_time: Milliseconds
    state_root: Digest


@dataclass(frozen=True, slots=True)
class SetTimer:
    timer: Timer
    at: Milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Signed frames, as received, that together prove what no correct signer does; the earlier ones first."""

    code: str
    culprit: ReplicaId | PublicKey
    statements: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something an operator must see: what happened, in words."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What to do, in the order of the fields. Nothing is sent before `persist` and `evidence` are durable.

    `archive`: records that may become durable later than the sends, but no later than the next `persist`, nor than
    the state of a checkpoint: below a stable checkpoint nobody collects votes again.
    """

    persist: tuple[Record, ...] = ()
    archive: tuple[Record, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    send: tuple[Send, ...] = ()
    reply: tuple[ReplyTo, ...] = ()
    install: tuple[InstallPages | InstallState, ...] = ()
    execute: tuple[Execute, ...] = ()
    read: tuple[RunQuery | ReadEvents, ...] = ()
    serve: tuple[ServeArchive, ...] = ()
    serve_state: tuple[ServeState, ...] = ()
    timers: tuple[SetTimer, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    ignored: tuple[Ignored, ...] = ()


EFFECT_FIELDS = tuple(Effects.__dataclass_fields__)


def merge_effects(parts: Iterable[Effects]) -> Effects:
    """Effects of several inputs as one: carried out together, they cost one durable transaction."""
    parts = tuple(parts)
    if len(parts) == 1:
        return parts[0]
    return Effects(**{name: tuple(item for part in parts for item in getattr(part, name)) for name in EFFECT_FIELDS})
