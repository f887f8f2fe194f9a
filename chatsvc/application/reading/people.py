"""Accounts, their devices, and what they were told."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final, cast

from chatsvc.application.answers import AccountDetails, Device, DeviceList, Limits, NoticeList
from chatsvc.application.events import NoticeHead, NoticeKind
from chatsvc.application.names import RoomName
from chatsvc.application.queries import ListDevices, ListNotices, ShowAccount, ShowLimits, WhoAmI
from chatsvc.application.reading.question import Answering, Question
from chatsvc.application.schema import (
    ACCOUNT_DEVICES,
    ALLOWANCES,
    DEVICES,
    NOTICE_RANGES,
    NOTICES,
    AllowanceRow,
    DeviceRow,
    NoticeRange,
    NoticeRow,
)
from chatsvc.application.state import Account, find_account
from chatsvc.application.wire import Wire, encode_wire
from crypto.signing import PublicKey
from pbft.core.types import EventIndex

CREDIT_OF_ONE = 60_000


def _account(question: Question, query: ShowAccount) -> bytes:
    return _details(question, find_account(question.reader, query.name))


def _whoami(question: Question, _query: WhoAmI) -> bytes:
    return _details(question, find_account(question.reader, question.the_caller().name))


def _details(question: Question, account: Account) -> bytes:
    details = AccountDetails(
        name=account.row.name,
        display=account.row.display,
        registered_ms=account.row.registered_ms,
        devices=tuple(device.device for device in _devices_of(question, account) if device.revoked_ms is None),
        has_recovery=account.row.recovery != b"",
    )
    return encode_wire(details)


def _devices(question: Question, _query: ListDevices) -> bytes:
    account = find_account(question.reader, question.the_caller().name)
    return encode_wire(DeviceList(tuple(_devices_of(question, account))))


def _devices_of(question: Question, account: Account) -> list[Device]:
    devices: list[Device] = []
    for number in range(account.row.device_count):
        entry = question.reader.get(ACCOUNT_DEVICES, (account.key, number))
        key = None if entry is None else cast("bytes", entry[0])
        row = None if key is None else question.reader.get(DEVICES, (key,))
        if key is not None and row is not None:
            device = DeviceRow.from_row(row)
            devices.append(Device(PublicKey(key), device.label, device.added_ms, device.revoked_ms))
    return devices


def _notices(question: Question, query: ListNotices) -> bytes:
    caller = question.the_caller()
    row = question.reader.get(NOTICE_RANGES, (caller.account,))
    kept = NoticeRange(0, 0) if row is None else NoticeRange.from_row(row)
    end = kept.end if query.before is None else min(query.before, kept.end)
    first = max(kept.first, end - query.limit)
    notices: list[NoticeHead] = []
    for index in range(end - 1, first - 1, -1):
        stored = question.reader.get(NOTICES, (caller.account, index))
        if stored is not None:
            notices.append(notice_head(index, NoticeRow.from_row(stored)))
    cursor = EventIndex(first) if first > kept.first else None
    return encode_wire(NoticeList(tuple(notices), cursor, EventIndex(kept.end)))


def notice_head(index: int, row: NoticeRow) -> NoticeHead:
    return NoticeHead(
        notice=EventIndex(index),
        kind=NoticeKind(row.kind),
        room=RoomName(row.room),
        index=row.message,
        by=row.by,
        time=row.time,
    )


def _limits(question: Question, _query: ShowLimits) -> bytes:
    """What is left as of the caller's last operation: an answer out of the rows knows no later time."""
    caller, limits = question.the_caller(), question.limits
    row = question.reader.get(ALLOWANCES, (caller.account,))
    operations_left = limits.operations_burst if limits.operations_per_minute else None
    bytes_left = limits.message_bytes_per_day or None
    if row is not None:
        allowance = AllowanceRow.from_row(row)
        if operations_left is not None:
            operations_left = allowance.credit // CREDIT_OF_ONE
        if bytes_left is not None:
            bytes_left = max(0, bytes_left - allowance.bytes_today)
    named = tuple(sorted(asdict(limits).items()))
    return encode_wire(Limits(limits=named, operations_left=operations_left, bytes_left_today=bytes_left))


ANSWERING: Final[dict[type[Wire], Answering]] = {
    ShowAccount: _account,
    WhoAmI: _whoami,
    ListDevices: _devices,
    ListNotices: _notices,
    ShowLimits: _limits,
}
