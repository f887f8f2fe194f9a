"""What a client knows of its group before it asks anybody."""

from __future__ import annotations

from dataclasses import dataclass

from pbft.core.group import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaContact:
    """Where a replica listens for clients, and the certificate that it must show there."""

    host: str
    port: int
    certificate_der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDirectory:
    """`replicas[i]` is replica i of `group`."""

    group: Group
    replicas: tuple[ReplicaContact, ...]
