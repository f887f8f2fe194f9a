"""What a client must know of a group beforehand: its members' keys, where they listen, and their certificates."""

from __future__ import annotations

from dataclasses import dataclass, field

from pbft.core.group import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaContact:
    """Where a replica listens for clients, and the one certificate (DER) that it may show there."""

    host: str
    port: int
    certificate_der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDirectory:
    """`replicas[i]` is replica i's. Raises ValueError if there is not one for each member."""

    group: Group
    replicas: tuple[ReplicaContact, ...]

    def __post_init__(self) -> None:
        if len(self.replicas) != self.group.size:
            msg = f"{len(self.replicas)} addresses for the {self.group.size} replicas of the group"
            raise ValueError(msg)
