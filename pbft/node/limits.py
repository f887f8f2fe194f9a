"""How much of a node others may take. An operator may set these in `limits.toml` beside the replica's keys."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one node; nobody else need have the same. All are above 0."""

    connections_max: int = 4096
    """At each listener. The files that the process may open are a bound, too."""
    connections_per_address_max: int = 1024
    """Of newcomers, and of others."""
    newcomers_max: int = 512
    """Connections, at each listener, of those whom the application does not know, or whose handshake is under way: at
    the bound, the address that has most of them loses its oldest, and members always find the door open."""
    connection_bytes_max: int = 512 * 1024 * 1024
    """What waits to be sent to clients, and their unfinished frames, all together; at the bound the connection that
    holds most is closed."""
    room_operations: int = 1024
    """Operations of own clients between the signature check and the execution, large ones counting as more; the rest
    waits in the connections."""
    strangers_operations_per_s: int = 100
    """Operations and questions of devices that the application does not know."""
    peer_useless_per_s: int = 4000
    """Messages of one replica that change nothing, each by what it costs: beyond, its link is read slowly."""
    peer_requests_per_s: int = 4000
    """Requests that one replica passes on; those beyond are dropped."""
    address_useless_per_s: int = 2000
    """Of what clients say that changes nothing, by what it costs, for each address: beyond, its connections are read
    slowly."""
