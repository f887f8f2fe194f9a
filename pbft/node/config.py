"""What a node is told: who its group is, who it is itself, and where everybody listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pbft.core.group import Group
from pbft.core.types import ReplicaId
from pbft.node.limits import Limits


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address; `host` is a name or an IP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How the other replicas reach a replica, and the certificate that it must show."""

    endpoint: Endpoint
    certificate_der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """`contacts[i]` belongs to replica i. `directory` holds the ledger and the state."""

    group: Group
    me: ReplicaId
    contacts: tuple[Contact, ...]
    replica_listener: Endpoint
    client_listener: Endpoint
    tls_pem: Path
    directory: Path
    limits: Limits = Limits()
    retained_sequences: int = 1024
    """How far below the stable checkpoint batches are kept for peers that fell behind."""
    verify_threads: int = 0
    """Threads that check signatures beside the event loop; 0 checks them on it, in slices."""
