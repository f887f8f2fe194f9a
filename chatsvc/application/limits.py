"""How much an account, a room and a message may have: agreed in the group file, and part of the group's identity.

0 stands for no limit where the name ends in `_per_minute`, `_per_day` or `_minutes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self

_MAY_BE_ZERO = ("_per_minute", "_per_day", "_minutes")
_MAX = 2**31 - 1
# More would not fit into one answer, or make one question cost too much.
_MOST = {
    "device_keys_per_account": 1000,
    "memberships_per_account": 5000,
    "invitations_per_account": 500,
    "members_per_direct": 8,
    "links_per_room": 1000,
    "pins_per_room": 1000,
    "edits_per_message": 60,
    "reactions_per_message": 50,
    "mentions_per_message": 32,
    "notices_per_account": 10_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatLimits:
    """Fields are integers. Raises ValueError, naming the field, for a value that no group can live with."""

    operations_per_minute: int = 0
    """Of one account, sustained; the bucket holds `operations_burst`. Ordered reads are counted, others not."""
    operations_burst: int = 600
    message_bytes_per_day: int = 0
    """Of one account, counted from midnight UTC."""
    devices_per_account: int = 16
    """Not revoked."""
    device_keys_per_account: int = 256
    """Ever, since a revoked key is kept to be refused."""
    rooms_created_per_account: int = 1000
    memberships_per_account: int = 500
    invitations_per_account: int = 100
    members_per_direct: int = 8
    bans_per_room: int = 10_000
    links_per_room: int = 32
    pins_per_room: int = 50
    edits_per_message: int = 32
    edit_minutes: int = 0
    """How long after posting a message may be edited."""
    reactions_per_message: int = 32
    """Different ones."""
    mentions_per_message: int = 16
    threads_per_room: int = 10_000
    notices_per_account: int = 1000
    """Older ones are forgotten."""
    invitation_days: int = 30
    """The longest validity of a link or of a device invitation."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name.endswith(_MAY_BE_ZERO) else 1
            most = _MOST.get(name, _MAX)
            if type(value) is not int or not least <= value <= most:
                raise ValueError(f"{name} is a whole number from {least} to {most}, not {value!r}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, int]) -> Self:
        """Return these limits, the defaults for those not named. Raises ValueError."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"there is no limit {unknown[0]}; there are {', '.join(sorted(known))}")
        return cls(**values)
