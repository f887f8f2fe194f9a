"""The membership of one epoch, and the only place where quorum sizes are computed (PBFT, OSDI'99, section 3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property

from crypto.canonical import Value, encode
from crypto.digest import Digest, digest_of
from crypto.signing import Domain, PublicKey
from pbft.core.types import Epoch, ReplicaId, SequenceNumber, View

REPLICAS_MIN = 4
REPLICAS_MAX = 61
"""A set of replicas is a 62-bit integer in STATUS, and votes are counted in memory for each."""
NEW_VIEW_BYTES_MAX = 16 * 1024 * 1024
"""A NEW-VIEW travels in one frame: the group's size and its window bound it."""
_STATEMENT_BYTES = 192
"""At most, of a signed PRE-PREPARE, PREPARE, COMMIT or CHECKPOINT frame."""
_ENDORSEMENT_BYTES = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What all replicas of a group must agree on; part of the group id. Sizes in bytes, times in milliseconds."""

    checkpoint_interval: int = 128
    pipeline_depth: int = 4
    batch_operations_max: int = 512
    batch_bytes_max: int = 1024 * 1024
    request_operations_max: int = 64
    operation_bytes_max: int = 16 * 1024
    client_window: int = 256
    """Client sequences of one session that may be outstanding."""
    sessions_per_device: int = 16
    clock_skew_max_ms: int = 30_000
    view_change_timeout_ms: int = 1_000
    """Without progress for so long, while something waits, a backup gives the primary up; doubles per failed view."""

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, for a value no group can run with."""
        for name, value in asdict(self).items():
            if value < 1:
                msg = f"{name} must be at least 1, not {value}"
                raise ValueError(msg)
        if self.pipeline_depth >= self.checkpoint_interval:
            msg = f"pipeline_depth ({self.pipeline_depth}) must be below checkpoint_interval"
            raise ValueError(msg)

    @property
    def window(self) -> int:
        """L: a replica takes part only in sequence numbers above h and up to h + L."""
        return 2 * self.checkpoint_interval


@dataclass(frozen=True)
class Group:
    """Who may vote. `members[i]` is the signing key of replica i."""

    name: str
    nonce: bytes
    members: tuple[PublicKey, ...]
    parameters: Parameters = field(default_factory=Parameters)
    epoch: Epoch = Epoch(0)
    application: tuple[tuple[str, int], ...] = ()
    """What the application's rules go by, sorted by name; part of the group id as well."""

    def __post_init__(self) -> None:
        """Raise ValueError for a membership that tolerates no fault or names one key twice."""
        if len(self.members) < REPLICAS_MIN:
            msg = f"a group needs at least {REPLICAS_MIN} replicas to survive one fault, not {len(self.members)}"
            raise ValueError(msg)
        if len(self.members) > REPLICAS_MAX:
            msg = f"a group has at most {REPLICAS_MAX} replicas, not {len(self.members)}"
            raise ValueError(msg)
        if len(set(self.members)) != len(self.members):
            msg = "two replicas of the group have the same signing key"
            raise ValueError(msg)
        names = [name for name, _ in self.application]
        if names != sorted(set(names)):
            msg = "the application's settings are sorted by name, each given once"
            raise ValueError(msg)
        if self.new_view_bytes_max > NEW_VIEW_BYTES_MAX:
            msg = (
                f"a NEW-VIEW of {self.size} replicas may take {self.new_view_bytes_max} bytes, and at most "
                f"{NEW_VIEW_BYTES_MAX} fit a frame: lower checkpoint_interval ({self.parameters.checkpoint_interval})"
            )
            raise ValueError(msg)

    @cached_property
    def group_id(self) -> Digest:
        """Names the group for ever: addresses, certificates and later epochs do not change it."""
        parameters: list[Value] = [[name, value] for name, value in sorted(asdict(self.parameters).items())]
        parts: list[Value] = ["quorate/group/1", self.name, self.nonce, list(self.members), parameters]
        if self.application:
            parts.append([[name, value] for name, value in self.application])
        return digest_of(encode(parts))

    @property
    def size(self) -> int:
        return len(self.members)

    @cached_property
    def faulty_max(self) -> int:
        """f: how many replicas may fail in any way. floor((n - 1) / 3)."""
        return (self.size - 1) // 3

    @cached_property
    def quorum(self) -> int:
        """Smallest set such that any two share a correct replica: ceil((n + f + 1) / 2), 2f + 1 at n = 3f + 1."""
        return (self.size + self.faulty_max + 2) // 2

    @property
    def view_change_bytes_max(self) -> int:
        """Of a VIEW-CHANGE frame: a certificate for every sequence number of the window."""
        certificate = _STATEMENT_BYTES + self.size * _ENDORSEMENT_BYTES
        return certificate * (self.parameters.window + 1) + _STATEMENT_BYTES

    @property
    def new_view_bytes_max(self) -> int:
        """Of a NEW-VIEW frame: a quorum of VIEW-CHANGEs, and every sequence number of the window proposed again."""
        return self.quorum * self.view_change_bytes_max + _STATEMENT_BYTES * (self.parameters.window + 1)

    @property
    def honest_minimum(self) -> int:
        """Smallest set with a correct replica in it: f + 1."""
        return self.faulty_max + 1

    @cached_property
    def replicas(self) -> tuple[ReplicaId, ...]:
        return tuple(ReplicaId(i) for i in range(self.size))

    def primary(self, view: View) -> ReplicaId:
        return ReplicaId(view % self.size)

    def others(self, me: ReplicaId) -> tuple[ReplicaId, ...]:
        return tuple(replica for replica in self.replicas if replica != me)

    @cached_property
    def _domains(self) -> dict[str, Domain]:
        return {}

    def domain(self, message_type: str) -> Domain:
        """What a signature is bound to beside the body. `message_type` is one of the codec's constants."""
        domain = self._domains.get(message_type)
        if domain is None:
            domain = Domain(group_id=self.group_id, epoch=self.epoch, message_type=message_type)
            self._domains[message_type] = domain
        return domain

    def is_checkpoint(self, sequence: SequenceNumber) -> bool:
        return sequence % self.parameters.checkpoint_interval == 0

    def bitmap(self, replicas: Iterable[ReplicaId]) -> int:
        """A set of replicas as an integer: bit i stands for replica i."""
        return sum(1 << replica for replica in set(replicas))
