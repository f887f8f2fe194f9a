"""Whatever bytes come in, at whatever moment, a result comes out and the rows stay in order."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from chatsvc.application.answers import decode_answer
from chatsvc.application.operations import Create, Join, Leave, Operation, Post, Register, encode_operation
from chatsvc.application.queries import encode_query
from chatsvc.application.results import Rejected, decode_result
from chatsvc.application.schema import (
    ACCOUNT_DEVICES,
    ACCOUNTS,
    COUNTERS,
    DEVICES,
    MEMBERS,
    MEMBERSHIPS,
    MESSAGES,
    ROOMS,
    AccountRow,
    DeviceRow,
    MessageIndex,
    MessageRow,
    RoomRow,
)
from crypto.signing import PublicKey
from tests.chatsvc.fakes import ALICE, BOB, CAROL, Service, furnish
from tests.chatsvc.shapes import operations, queries
from tests.chatsvc.test_encodings import Mutation, mutate, mutations

devices = st.sampled_from([ALICE, BOB, CAROL])
names = st.sampled_from(["Alice", "Bob", "ALICE", "carol", "garden", "attic", "Attic", "a b", ""])
likely: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Register, names),
    st.builds(Create, names, st.just("")),
    st.builds(Join, names),
    st.builds(Leave, names),
    st.builds(Post, room=names, body=names, reply_to=st.none() | st.integers(0, 3).map(MessageIndex)),
)
histories = st.lists(st.tuples(devices, likely), max_size=30)


@given(data=st.binary(max_size=200), device=devices)
def test_any_bytes_give_a_result_and_an_answer(data: bytes, device: PublicKey) -> None:
    with closing(Service()) as service:
        furnish(service)
        before = service.rows.all_rows()
        assert isinstance(decode_result(service.execute(device, data).result), Rejected)
        assert isinstance(decode_answer(service.application.query(service.rows, device, data)), Rejected)
        assert service.rows.all_rows() == before


@given(histories, st.lists(st.tuples(devices, operations, mutations), max_size=3), queries, mutations)
def test_spoilt_operations_and_queries_give_results_and_answers(
    history: list[tuple[PublicKey, Operation]],
    spoilt: list[tuple[PublicKey, Operation, list[Mutation]]],
    query: object,
    changes: list[Mutation],
) -> None:
    with closing(Service()) as service:
        for device, operation in history:
            service.do(device, operation)
        for device, operation, spoiling in spoilt:
            service.execute(device, mutate(encode_operation(operation), spoiling))
        data = encode_query(query)  # type: ignore[arg-type]  # the strategy makes queries
        decode_answer(service.application.query(service.rows, ALICE, data))
        decode_answer(service.application.query(service.rows, ALICE, mutate(data, changes)))


@given(histories)
def test_counts_and_numbers_agree_after_any_history(history: list[tuple[PublicKey, Operation]]) -> None:
    with closing(Service()) as service:
        for device, operation in history:
            before, writes = service.rows.all_rows(), service.rows.writes
            result = service.do(device, operation)
            if isinstance(result, Rejected):
                assert (service.rows.all_rows(), service.rows.writes) == (before, writes)
        tables = service.rows.committed
        members = Counter(str(key[0]) for key in tables.get(MEMBERS, {}))
        messages = Counter(str(key[0]) for key in tables.get(MESSAGES, {}))
        for key, row in tables.get(ROOMS, {}).items():
            room = RoomRow.from_row(row)
            assert (room.member_count, room.message_count) == (members[str(key[0])], messages[str(key[0])])
            assert all((key[0], index) in tables[MESSAGES] for index in range(room.message_count))
        serials = sorted(MessageRow.from_row(row).serial for row in tables.get(MESSAGES, {}).values())
        assert serials == list(range(len(serials)))
        assert tables.get(COUNTERS, {("next_serial",): (0,)}) == {("next_serial",): (len(serials),)}
        assert {(room, account) for account, room in tables.get(MEMBERSHIPS, {})} == set(tables.get(MEMBERS, {}))
        for key, row in tables.get(ACCOUNTS, {}).items():
            account = AccountRow.from_row(row)
            (public_key,) = tables[ACCOUNT_DEVICES][key[0], 0]
            found = DeviceRow.from_row(tables[DEVICES][public_key,])  # type: ignore[index]  # it is bytes
            assert (found.account, found.name, found.revoked_ms) == (key[0], account.name, None)
            rooms = sum(member == key[0] for member, _ in tables.get(MEMBERSHIPS, {}))
            assert (account.active_count, account.room_count) == (1, rooms)
        assert len(tables.get(ACCOUNTS, {})) == len(tables.get(DEVICES, {}))
