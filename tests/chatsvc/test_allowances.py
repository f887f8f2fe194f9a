"""Rates and quotas over the agreed time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.answers import RoomList, decode_answer
from chatsvc.application.bearer import Purpose, prove
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import (
    AddDevice,
    Edit,
    InviteDevice,
    MarkRead,
    OpenPoll,
    Post,
    React,
    Read,
    Register,
    RevokeDevice,
    encode_operation,
)
from chatsvc.application.queries import ListRooms, encode_query
from chatsvc.application.results import ErrorCode, Posted, Rejected, decode_result
from chatsvc.application.rules.allowances import CREDIT_OF_ONE, DAY_MS, refreshed
from chatsvc.application.schema import ALLOWANCES, AllowanceRow, MessageIndex
from crypto.signing import Ed25519Signer, PublicKey, SecretSeed
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import DAVE, apply, garden, refused, table

TWENTY_A_MINUTE = ChatLimits(operations_per_minute=20, operations_burst=3)
A_HUNDRED_BYTES = ChatLimits(message_bytes_per_day=100)
T = Milliseconds(NOON + 1_000_000)
READ = encode_operation(Read(encode_query(ListRooms())))


def after(milliseconds: int) -> Milliseconds:
    return Milliseconds(T + milliseconds)


def test_a_group_without_limits_keeps_no_allowances() -> None:
    service = garden()
    service.say(CAROL, "hi")
    assert table(service, ALLOWANCES) == {}


def test_a_burst_is_let_through_and_then_one_every_three_seconds() -> None:
    service = garden(TWENTY_A_MINUTE)
    for _ in range(3):
        assert isinstance(service.do(CAROL, Post(room="garden", body="hi"), time=T), Posted)
    rejected = refused(service, CAROL, Post(room="garden", body="hi"), time=T)
    assert rejected == Rejected(
        ErrorCode.RATE_LIMITED,
        "an account does at most 20 things a minute, 3 at once: try again in 3 seconds",
        after(3000),
    )
    assert refused(service, CAROL, Post(room="garden", body="hi"), time=after(2999)).retry_ms == after(3000)
    assert isinstance(service.do(CAROL, Post(room="garden", body="hi"), time=after(3000)), Posted)
    assert refused(service, CAROL, React("garden", MessageIndex(0), "+1"), time=after(3000)).retry_ms == after(6000)
    assert isinstance(service.do(BOB, Post(room="garden", body="hi"), time=T), Posted), "each has its own"


def test_what_is_refused_costs_nothing() -> None:
    service = garden(TWENTY_A_MINUTE)
    for _ in range(5):
        assert refused(service, CAROL, Post(room="attic", body="hi"), time=T).code is ErrorCode.NO_SUCH_ROOM
    assert table(service, ALLOWANCES) == {}
    apply(service, CAROL, MarkRead("garden", MessageIndex(0)), time=T)
    assert table(service, ALLOWANCES) == {("carol",): (2 * CREDIT_OF_ONE, T, T // DAY_MS, 0)}


def test_strangers_are_not_counted() -> None:
    service = garden(TWENTY_A_MINUTE)
    for number in range(5):
        assert not isinstance(service.do(PublicKey(bytes([number]) * 32), Register(f"n{number}"), time=T), Rejected)
        service.execute(PublicKey(b"S" * 32), READ, time=T)
    assert table(service, ALLOWANCES) == {}


def test_an_ordered_read_costs_as_much_as_a_message_and_another_nothing() -> None:
    service = garden(TWENTY_A_MINUTE)
    for _ in range(3):
        outcome = service.execute(CAROL, READ, time=T)
        assert (isinstance(decode_answer(outcome.result), RoomList), outcome.remember) == (True, False)
    rejected = decode_result(service.execute(CAROL, READ, time=T).result)
    assert isinstance(rejected, Rejected)
    assert (rejected.code, rejected.retry_ms) == (ErrorCode.RATE_LIMITED, after(3000))
    assert refused(service, CAROL, Post(room="garden", body="hi"), time=T).code is ErrorCode.RATE_LIMITED
    assert isinstance(service.ask(ListRooms(), CAROL), RoomList)


def test_a_revoked_device_takes_nothing_from_its_account() -> None:
    service = garden(TWENTY_A_MINUTE)
    key = Ed25519Signer(SecretSeed(bytes(32)))
    phone = PublicKey(b"P" * 32)
    apply(service, CAROL, InviteDevice(key.public_key, after(60_000)), time=T)
    service.do(phone, AddDevice(key.public_key, prove(key, Purpose.DEVICE, phone)), time=T)
    apply(service, CAROL, RevokeDevice(phone), time=T)
    before = table(service, ALLOWANCES)
    result = decode_result(service.execute(phone, READ, time=after(60_000)).result)
    assert isinstance(result, Rejected)
    assert result.code is ErrorCode.DEVICE_REVOKED
    assert table(service, ALLOWANCES) == before


def test_bytes_are_counted_till_midnight() -> None:
    service = garden(A_HUNDRED_BYTES)
    apply(service, ALICE, Post(room="garden", body="é" * 30), time=T)
    apply(service, ALICE, Edit("garden", MessageIndex(0), "x" * 20), time=T)
    midnight = Milliseconds((T // DAY_MS + 1) * DAY_MS)
    poll = OpenPoll(room="garden", question="q" * 10, options=("o" * 4, "p" * 5))
    rejected = refused(service, ALICE, poll, time=T)
    assert rejected == Rejected(
        ErrorCode.QUOTA_EXCEEDED,
        "an account writes at most 100 bytes a day, of which 20 are left and this is 21:"
        " try again after midnight UTC",
        midnight,
    )
    apply(service, ALICE, React("garden", MessageIndex(0), "+1"), time=T)
    assert refused(service, ALICE, poll, time=Milliseconds(midnight - 1)).code is ErrorCode.QUOTA_EXCEEDED
    apply(service, ALICE, poll, time=midnight)
    assert table(service, ALLOWANCES)["alice",][2:] == (midnight // DAY_MS, 21)


def test_a_quota_counts_what_the_message_holds() -> None:
    service = garden(A_HUNDRED_BYTES)
    apply(service, ALICE, OpenPoll(room="garden", question="q" * 10, options=("o" * 4, "p" * 5)), time=T)
    row = service.rows.get(ALLOWANCES, ("alice",))
    stored = service.rows.get("messages", ("garden", 0))
    assert row is not None
    assert stored is not None
    assert AllowanceRow.from_row(row).bytes_today == len(str(stored[2]).encode()) == 21


@given(
    per_minute=st.integers(1, 10_000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.integers(0, 5000), max_size=60),
)
def test_never_more_than_the_burst_and_what_time_brought(per_minute: int, burst: int, pauses: list[int]) -> None:
    limits = ChatLimits(operations_per_minute=per_minute, operations_burst=burst)
    left, time, done = refreshed(None, limits, T), T, 0
    for pause in pauses:
        time = Milliseconds(time + pause)
        left = refreshed(left, limits, time)
        assert 0 <= left.credit <= burst * CREDIT_OF_ONE
        if left.credit >= CREDIT_OF_ONE:
            left = left._replace(credit=left.credit - CREDIT_OF_ONE)
            done += 1
    assert done <= burst + (time - T) * per_minute // CREDIT_OF_ONE


def test_when_to_retry_is_right_to_the_millisecond() -> None:
    for per_minute in (1, 7, 59_999, 60_000, 100_000):
        service = garden(ChatLimits(operations_per_minute=per_minute, operations_burst=1))
        assert _posts(service, T)
        retry_ms = refused(service, CAROL, Post(room="garden", body="hi"), time=T).retry_ms
        assert retry_ms is not None
        assert retry_ms > T
        assert not _posts(service, Milliseconds(retry_ms - 1))
        assert _posts(service, retry_ms)


def _posts(service: Service, time: Milliseconds) -> bool:
    return isinstance(service.do(CAROL, Post(room="garden", body="hi"), time=time), Posted)


def test_a_device_without_account_is_told_so_whatever_the_limits() -> None:
    service = garden(TWENTY_A_MINUTE)
    stranger = PublicKey(b"S" * 32)
    assert refused(service, stranger, Post(room="garden", body="hi")).code is ErrorCode.NOT_REGISTERED
    assert refused(service, DAVE, Post(room="garden", body="hi")).code is ErrorCode.NOT_A_MEMBER
