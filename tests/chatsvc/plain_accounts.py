"""The plain chat's dictionaries, and its accounts: see `plain_chat`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

from chatsvc.application import operations as ops
from chatsvc.application.bearer import Purpose, prove
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import DisplayName
from chatsvc.application.results import (
    Applied,
    ErrorCode,
    Registered,
    Rejected,
    Result,
)
from chatsvc.application.schema import Role
from crypto.signing import PublicKey, Signer
from pbft.core.types import Milliseconds

DAY_MS = 86_400_000
MEMBER, MODERATOR, OWNER = Role.MEMBER, Role.MODERATOR, Role.OWNER
RANK = {MEMBER: 0, MODERATOR: 1, OWNER: 2}
E = ErrorCode


def check(is_so: bool, code: ErrorCode) -> None:
    if not is_so:
        raise Refused(code)


def is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9]{1,32}", text) is not None


def is_line(text: str, bytes_max: int) -> bool:
    return "\n" not in text and "\x00" not in text and len(text.encode()) <= bytes_max


def registered(account: Account) -> Result:
    return Registered(DisplayName(account.name))


def _bytes_said(operation: ops.Operation) -> int:
    if isinstance(operation, ops.Post | ops.Edit):
        return len(operation.body.encode())
    if isinstance(operation, ops.OpenPoll):
        return len("\n".join([operation.question, *operation.options]).encode())
    return 0


class Refused(Exception):  # noqa: N818 - an answer
    def __init__(self, code: ErrorCode, retry_ms: int | None = None) -> None:
        super().__init__(code.value)
        self.code = code
        self.retry_ms = retry_ms


@dataclass
class Device:
    label: str
    added_ms: int
    revoked_ms: int | None = None


@dataclass
class Account:
    name: str
    registered_ms: int
    display: str = ""
    recovery: PublicKey | None = None
    invitation: tuple[PublicKey, int] | None = None
    devices: dict[PublicKey, Device] = field(default_factory=dict)
    rooms_created: int = 0
    notices: list[tuple[Any, ...]] = field(default_factory=list)
    credit: Fraction | None = None
    credit_ms: int = 0
    said: dict[int, int] = field(default_factory=dict)
    """Bytes by day."""

    def active(self) -> list[PublicKey]:
        return [key for key, device in self.devices.items() if device.revoked_ms is None]


@dataclass
class Member:
    role: Role
    joined_ms: int
    read: int
    muted_ms: int = 0
    spoke_ms: int = 0


@dataclass
class Message:
    kind: str
    author: str
    body: str
    nonce: bytes
    time: int
    place: tuple[int, int]
    serial: int
    event: int
    reply_to: int | None
    thread: str | None
    mentions: list[str]
    claimed_ms: int | None
    versions: list[tuple[str, bytes, int]] = field(default_factory=list)
    """Body, nonce and since when, of those before the present one."""
    since_ms: int = 0
    deleted_by: str | None = None
    reactions: dict[str, dict[str, int]] = field(default_factory=dict)
    pinned: bool = False
    options: list[str] = field(default_factory=list)
    votes: dict[str, int] = field(default_factory=dict)
    closed_ms: int | None = None

    def counts(self) -> list[int]:
        return [list(self.votes.values()).count(option) for option in range(len(self.options))]


@dataclass
class Thread:
    title: str
    count: int = 0
    last_ms: int = 0
    entries: dict[int, int] = field(default_factory=dict)


@dataclass
class Room:
    name: str
    creator: str
    created_ms: int
    topic: str = ""
    description: str = ""
    private: bool = False
    direct: bool = False
    archived: bool = False
    slow_s: int = 0
    retention_s: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    bans: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    silenced: dict[str, int] = field(default_factory=dict)
    """Until when those are muted who left."""
    opened_for: int = 0
    """How many, of a direct conversation."""
    invited: dict[str, tuple[str, int]] = field(default_factory=dict)
    links: dict[PublicKey, list[Any]] = field(default_factory=dict)
    """By, made, expires, uses left."""
    messages: dict[int, Message] = field(default_factory=dict)
    count: int = 0
    threads: dict[str, Thread] = field(default_factory=dict)
    events: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """Kind, actor, message, data, time, content (None, or the message and its version)."""
    event_count: int = 0

    @property
    def first(self) -> int:
        return min(self.messages, default=self.count)

    @property
    def first_event(self) -> int:
        return min(self.events, default=self.event_count)

    def owners(self) -> int:
        return sum(member.role is OWNER for member in self.members.values())


class PlainAccounts:
    """`signers`: of all codes there are, by public key: who holds one can prove it."""

    def __init__(self, limits: ChatLimits, signers: dict[PublicKey, Signer]) -> None:
        self.limits = limits
        self.signers = signers
        self.accounts: dict[str, Account] = {}
        self.owner_of: dict[PublicKey, str] = {}
        """The account of each device that ever had one."""
        self.rooms: dict[str, Room] = {}
        self.serial = 0
        self.device = PublicKey(b"")
        self.time = 0
        self.place = (0, 0)
        self.topics: set[str] = set()

    def apply(self, device: PublicKey, operation: ops.Operation, time: int, place: tuple[int, int]) -> Result:
        """What the operation gives, without an error's words. `topics`: where something happened by it."""
        self.device, self.time, self.place, self.topics = device, time, place, set()
        tag = str(operation.__struct_config__.tag).replace("-", "_")
        do: Callable[[Any], Result] = getattr(self, f"do_{tag}")
        try:
            account = self._check_allowance(operation)
            result = do(operation)
        except Refused as refused:
            retry_ms = None if refused.retry_ms is None else Milliseconds(refused.retry_ms)
            return Rejected(refused.code, "", retry_ms)
        if account is not None:
            account.credit, account.credit_ms = self._credit(account) - 1, time
            account.said[time // DAY_MS] = account.said.get(time // DAY_MS, 0) + _bytes_said(operation)
        return result

    # -- what all have in common

    def _check_allowance(self, operation: ops.Operation) -> Account | None:
        """Return who is to pay for it."""
        per_minute, per_day = self.limits.operations_per_minute, self.limits.message_bytes_per_day
        if self.device not in self.owner_of:
            return None
        account = self.accounts[self.owner_of[self.device]]
        missing = 1 - self._credit(account)
        if per_minute and missing > 0:
            raise Refused(E.RATE_LIMITED, self.time + ceil(missing * 60_000 / per_minute))
        said, more = account.said.get(self.time // DAY_MS, 0), _bytes_said(operation)
        if per_day and more and said + more > per_day:
            raise Refused(E.QUOTA_EXCEEDED, (self.time // DAY_MS + 1) * DAY_MS)
        return account

    def _credit(self, account: Account) -> Fraction:
        """Operations it may do at once."""
        full = Fraction(self.limits.operations_burst)
        if account.credit is None:
            return full
        gained = Fraction((self.time - account.credit_ms) * self.limits.operations_per_minute, 60_000)
        return min(full, account.credit + gained)

    def who(self) -> str:
        """The caller's account."""
        key = self.owner_of.get(self.device)
        if key is None:
            raise Refused(E.NOT_REGISTERED)
        if self.accounts[key].devices[self.device].revoked_ms is not None:
            raise Refused(E.DEVICE_REVOKED)
        return key

    def find(self, name: str) -> str:
        key = name.lower()
        if key not in self.accounts:
            raise Refused(E.NO_SUCH_ACCOUNT)
        return key

    def seen(self, name: str, who: str | None) -> Room:
        room = self.rooms.get(name)
        if room is None or (room.private and who not in room.members):
            raise Refused(E.NO_SUCH_ROOM)
        return room

    def inside(self, name: str, who: str, least: Role = MEMBER) -> Room:
        room = self.seen(name, who)
        if who not in room.members:
            raise Refused(E.NOT_A_MEMBER)
        check(not room.direct or least is MEMBER, E.DIRECT_ROOM)
        if RANK[room.members[who].role] < RANK[least]:
            raise Refused(E.NOT_ALLOWED)
        return room

    def open(self, name: str, who: str, least: Role = MEMBER) -> Room:
        room = self.inside(name, who, least)
        if room.archived:
            raise Refused(E.ROOM_ARCHIVED)
        return room

    def happened(self, room: Room, kind: str, actor: str, about: int | None, *data: Any, of: Any = None) -> None:
        name = self.accounts[actor].name if actor else ""
        room.events[room.event_count] = (kind, name, about, list(data), self.time, of)
        room.event_count += 1
        self.topics.add(room.name)

    def tell(self, who: str, kind: str, room: Room, by: str, about: int | None = None) -> None:
        self.accounts[who].notices.append((kind, room.name, about, self.accounts[by].name, self.time))
        self.topics.add(f":{who}")

    def enter(self, room: Room, who: str) -> None:
        role = OWNER if not room.members and not room.direct else MEMBER
        muted_ms = room.silenced.pop(who, 0)
        spoke_ms = self.time if room.slow_s else 0
        room.members[who] = Member(role, self.time, room.count, muted_ms if muted_ms > self.time else 0, spoke_ms)
        room.invited.pop(who, None)
        self.happened(room, "joined", who, None)

    def remove(self, room: Room, who: str) -> None:
        member = room.members.pop(who)
        if member.muted_ms > self.time and len(room.silenced) < self.limits.bans_per_room:
            room.silenced[who] = member.muted_ms

    def check_may_enter(self, room: Room, who: str) -> None:
        if who in room.bans:
            raise Refused(E.BANNED)
        if room.archived:
            raise Refused(E.ROOM_ARCHIVED)
        rooms = sum(who in each.members and not each.direct for each in self.rooms.values())
        if rooms >= self.limits.memberships_per_account and not room.direct:
            raise Refused(E.TOO_MANY)

    def check_proof(self, key: PublicKey, purpose: Purpose, proof: bytes) -> None:
        signer = self.signers.get(key)
        if signer is None or proof != prove(signer, purpose, self.device):
            raise Refused(E.BAD_PROOF)

    def check_soon(self, moment: int) -> None:
        if not self.time < moment <= self.time + self.limits.invitation_days * DAY_MS:
            raise Refused(E.BAD_TIME)

    # -- accounts

    def do_register(self, op: ops.Register) -> Result:
        check(is_name(op.name), E.BAD_NAME)
        check(is_line(op.label, 64), E.BAD_TEXT)
        key = op.name.lower()
        mine = self.owner_of.get(self.device)
        if mine == key and self.device in self.accounts[key].active():
            return registered(self.accounts[key])
        self._check_new()
        check(key not in self.accounts, E.NAME_TAKEN)
        self.accounts[key] = Account(op.name, self.time, recovery=op.recovery)
        self._add(key, self.device, op.label)
        return registered(self.accounts[key])

    def _check_new(self) -> None:
        if self.device in self.owner_of:
            self.who()
            raise Refused(E.ALREADY_REGISTERED)

    def _add(self, key: str, device: PublicKey, label: str) -> None:
        self.accounts[key].devices[device] = Device(label, self.time)
        self.owner_of[device] = key

    def do_display(self, op: ops.SetDisplay) -> Result:
        account = self.accounts[self.who()]
        check(is_line(op.display, 128), E.BAD_TEXT)
        account.display = op.display
        return Applied()

    def do_recovery(self, op: ops.SetRecovery) -> Result:
        self.accounts[self.who()].recovery = op.recovery
        return Applied()

    def do_invite_device(self, op: ops.InviteDevice) -> Result:
        account = self.accounts[self.who()]
        self.check_soon(op.expires_ms)
        others = [other for other in self.accounts.values() if other is not account]
        check(not any(other.invitation and other.invitation[0] == op.invitation for other in others), E.NOT_ALLOWED)
        account.invitation = (op.invitation, op.expires_ms)
        return Applied()

    def do_add_device(self, op: ops.AddDevice) -> Result:
        check(is_line(op.label, 64), E.BAD_TEXT)
        self._check_new()
        for key, account in self.accounts.items():
            if account.invitation and account.invitation[0] == op.invitation and account.invitation[1] > self.time:
                self.check_proof(op.invitation, Purpose.DEVICE, op.proof)
                check(len(account.devices) < self.limits.device_keys_per_account, E.TOO_MANY)
                check(len(account.active()) < self.limits.devices_per_account, E.TOO_MANY)
                account.invitation = None
                self._add(key, self.device, op.label)
                return registered(account)
        raise Refused(E.NO_SUCH_INVITATION)

    def do_rotate(self, op: ops.RotateDevice) -> Result:
        self._check_new()
        check(op.device in self.owner_of, E.NO_SUCH_DEVICE)
        self.check_proof(op.device, Purpose.ROTATION, op.proof)
        account = self.accounts[key := self.owner_of[op.device]]
        check(op.device in account.active(), E.DEVICE_REVOKED)
        check(len(account.devices) < self.limits.device_keys_per_account, E.TOO_MANY)
        account.devices[op.device].revoked_ms = self.time
        account.invitation = None
        self._add(key, self.device, account.devices[op.device].label)
        return Applied()

    def do_revoke(self, op: ops.RevokeDevice) -> Result:
        account = self.accounts[self.who()]
        check(op.device in account.devices, E.NO_SUCH_DEVICE)
        if op.device not in account.active():
            return Applied()
        check(len(account.active()) > 1, E.LAST_DEVICE)
        account.devices[op.device].revoked_ms = self.time
        account.invitation = None
        return Applied()

    def do_recover(self, op: ops.Recover) -> Result:
        check(is_line(op.label, 64), E.BAD_TEXT)
        self._check_new()
        key = self.find(op.name)
        account = self.accounts[key]
        if account.recovery is None:
            raise Refused(E.NO_RECOVERY_KEY)
        self.check_proof(account.recovery, Purpose.RECOVERY, op.proof)
        check(len(account.devices) < 2 * self.limits.device_keys_per_account, E.TOO_MANY)
        for device in account.active():
            account.devices[device].revoked_ms = self.time
        account.invitation = None
        self._add(key, self.device, op.label)
        return registered(account)
