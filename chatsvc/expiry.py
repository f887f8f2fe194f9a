"""Certificates that expire: one that has lapsed takes its replica's links down, everywhere at once."""

from __future__ import annotations

from datetime import datetime

from chatsvc.groupfile import GroupFile
from crypto.tls import days_left

EXPIRY_WARNING_DAYS = 30


def expiring(file: GroupFile, now: datetime) -> list[tuple[int, int]]:
    """Replicas whose certificates expire within EXPIRY_WARNING_DAYS, and in how many days."""
    left = [(replica, days_left(member.certificate_der, now)) for replica, member in enumerate(file.members)]
    return [(replica, days) for replica, days in left if days <= EXPIRY_WARNING_DAYS]


def expiry_warnings(file: GroupFile, now: datetime) -> list[str]:
    """For people: which file, which replica, and what to do."""
    return [
        f"{file.path}: the certificate of replica {replica} "
        + ("has expired" if days < 0 else f"expires in {days} days")
        + f"; 'quorate renew {file.path.parent} --replica {replica}' makes a new one"
        for replica, days in expiring(file, now)
    ]
