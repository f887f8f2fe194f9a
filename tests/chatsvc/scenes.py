"""Rooms put together by hand, and what operations on them leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import finalize

from chatsvc.application.answers import ANSWER_BYTES_MAX, Answer, decode_answer
from chatsvc.application.events import EventKind, NoticeKind
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import DisplayName, parse_account
from chatsvc.application.operations import Operation, Register, encode_operation
from chatsvc.application.queries import Query, encode_query
from chatsvc.application.results import Applied, ErrorCode, Posted, Rejected, decode_result
from chatsvc.application.schema import (
    ACCOUNTS,
    EVENTS,
    MEMBERS,
    MEMBERSHIPS,
    MESSAGES,
    NOTICES,
    PUBLIC_ROOMS,
    ROOMS,
    AccountRow,
    EventRow,
    MemberRow,
    MembershipRow,
    MessageRow,
    NoticeRow,
    Role,
    RoomRow,
)
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service

DAVE = PublicKey(b"D" * 32)
NAMES = {ALICE: "Alice", BOB: "Bob", CAROL: "Carol", DAVE: "Dave"}
GARDEN = {ALICE: Role.OWNER, BOB: Role.MODERATOR, CAROL: Role.MEMBER}


def garden(limits: ChatLimits | None = None, **fields: object) -> Service:
    """Alice owns the room `garden`, Bob moderates it, Carol is in it, and Dave is not. `fields` are the room's."""
    service = Service(ChatLimits() if limits is None else limits)
    finalize(service, service.connection.close)
    for device, name in NAMES.items():
        assert not isinstance(service.do(device, Register(name)), Rejected)
    put_room(service, "garden", GARDEN, **fields)
    return service


def put_room(service: Service, name: str, people: Mapping[PublicKey, Role], **fields: object) -> None:
    """Make a room with these members. One that is `direct` begins with their joining."""
    row = RoomRow(
        topic="",
        description="",
        creator=DisplayName("Alice"),
        created_ms=NOON,
        private=False,
        direct=False,
        archived=False,
        slow_s=0,
        retention_s=0,
        message_count=0,
        first_message=0,
        event_count=0,
        first_event=0,
        member_count=len(people),
        owner_count=sum(role is Role.OWNER for role in people.values()),
        pin_count=0,
        link_count=0,
        ban_count=0,
        thread_count=0,
    )
    changes: dict[str, Any] = fields
    row = row._replace(**changes)
    if row.direct:
        for index, device in enumerate(people):
            joined = EventRow(EventKind.JOINED.value, None, DisplayName(NAMES[device]))
            service.rows.put(EVENTS, (name, index), tuple(joined))
        row = row._replace(event_count=len(people))
    service.rows.put(ROOMS, (name,), tuple(row))
    if not row.private:
        service.rows.put(PUBLIC_ROOMS, (name,), ())
    for device, role in people.items():
        account = parse_account(NAMES[device])
        member = MemberRow(account.display, NOON, role.value, Milliseconds(0), Milliseconds(0))
        service.rows.put(MEMBERS, (name, account.key), tuple(member))
        service.rows.put(MEMBERSHIPS, (account.key, name), tuple(MembershipRow(NOON, 0)))
    service.commit()


def mute(service: Service, name: str, until_ms: int, room: str = "garden") -> None:
    row = service.rows.get(MEMBERS, (room, name))
    assert row is not None
    member = MemberRow.from_row(row)._replace(muted_until_ms=Milliseconds(until_ms))
    service.rows.put(MEMBERS, (room, name), tuple(member))
    service.commit()


def refused(
    service: Service, device: PublicKey, operation: Operation, *, time: Milliseconds | None = None
) -> Rejected:
    """Return why; nothing may have been written, and nobody told."""
    before, writes = service.rows.all_rows(), service.rows.writes
    outcome = service.execute(device, encode_operation(operation), time=time)
    result = decode_result(outcome.result)
    assert isinstance(result, Rejected), result
    assert (service.rows.all_rows(), service.rows.writes) == (before, writes)
    assert outcome.topics == ()
    return result


def why(service: Service, device: PublicKey, operation: Operation, *, time: Milliseconds | None = None) -> ErrorCode:
    return refused(service, device, operation, time=time).code


def ask(service: Service, query: Query, device: PublicKey = ALICE) -> Any:
    """Return the answer to a question that has one; it is no longer than it may be."""
    data = service.application.query(service.rows, device, encode_query(query))
    assert len(data) <= ANSWER_BYTES_MAX
    answer: Answer = decode_answer(data)
    assert not isinstance(answer, Rejected), answer
    return answer


def apply(service: Service, device: PublicKey, operation: Operation, *, time: Milliseconds | None = None) -> None:
    result = service.do(device, operation, time=time)
    assert isinstance(result, Applied | Posted), result


def room_row(service: Service, room: str = "garden") -> RoomRow:
    row = service.rows.get(ROOMS, (room,))
    assert row is not None
    return RoomRow.from_row(row)


def account_row(service: Service, key: str) -> AccountRow:
    row = service.rows.get(ACCOUNTS, (key,))
    assert row is not None
    return AccountRow.from_row(row)


def message(service: Service, index: int, room: str = "garden") -> MessageRow:
    row = service.rows.get(MESSAGES, (room, index))
    assert row is not None
    return MessageRow.from_row(row)


def happenings(service: Service, room: str = "garden") -> list[tuple[object, ...]]:
    """Events that are no messages: kind, message, actor, then what the kind says."""
    rows = [EventRow.from_row(row) for key, row in service.rows.scan(EVENTS, prefix=(room,), limit=10_000)]
    return [
        (EventKind(row.kind), row.message, row.actor, *row.data) for row in rows if row.kind != EventKind.POSTED.value
    ]


def notices(service: Service, account: str) -> list[tuple[object, ...]]:
    """What an account was told: kind, room, message, by whom."""
    rows = [NoticeRow.from_row(row) for _, row in service.rows.scan(NOTICES, prefix=(account,), limit=10_000)]
    return [(NoticeKind(row.kind), row.room, row.message, row.by) for row in rows]


def table(service: Service, name: str) -> dict[tuple[object, ...], tuple[object, ...]]:
    return {
        change.key: change.row
        for change in service.rows.all_rows()
        if change.table == name and change.row is not None
    }
