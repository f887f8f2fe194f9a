"""The pool of requests by itself: its bounds, its turns, its accounting."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pbft.core.effects import IgnoreReason
from pbft.core.group import Parameters
from pbft.core.messages import SignedRequest
from pbft.core.request_pool import DEVICE_WINDOWS_MAX, RequestPool
from pbft.core.types import Milliseconds, ReplicaId
from tests.harness.craft import Craft
from tests.harness.keys import make_group

NOW = Milliseconds(0)
HONEST, LIAR = ReplicaId(1), ReplicaId(3)


def test_the_pool_as_a_whole_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    craft = Craft(make_group(4))
    monkeypatch.setattr("pbft.core.request_pool.POOL_OPERATIONS_MAX", 3)
    pool = RequestPool(Parameters())
    for name in "abc":
        pool.add(craft.request(name), NOW)
    assert pool.why_refuse(craft.request("d")) is IgnoreReason.POOL_FULL
    monkeypatch.setattr("pbft.core.request_pool.POOL_OPERATIONS_MAX", 100)
    monkeypatch.setattr("pbft.core.request_pool.POOL_BYTES_MAX", 1000)
    assert pool.why_refuse(craft.request("d")) is None
    assert pool.why_refuse(craft.request("d", 0, bytes(600))) is IgnoreReason.POOL_FULL
    pool.remove(craft.request("a"), NOW)
    pool.remove(craft.request("b"), NOW)
    assert pool.why_refuse(craft.request("d", 0, bytes(600))) is None


def test_strangers_share_a_small_part_of_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    craft = Craft(make_group(4))
    monkeypatch.setattr("pbft.core.request_pool.POOL_STRANGERS_MAX", 2)
    pool = RequestPool(Parameters())
    for name in "abc":
        pool.add(craft.request(name), NOW)
    for name in "xy":
        assert pool.why_refuse(craft.request(name), is_stranger=True) is None
        pool.add(craft.request(name), NOW, is_stranger=True)
    assert pool.why_refuse(craft.request("z"), is_stranger=True) is IgnoreReason.POOL_FULL
    assert pool.why_refuse(craft.request("d")) is None
    pool.remove(craft.request("x"), NOW)
    assert pool.why_refuse(craft.request("z"), is_stranger=True) is None


def test_devices_are_served_in_turn() -> None:
    members = make_group(4)
    craft = Craft(members)
    pool = RequestPool(Parameters(batch_operations_max=3))
    for first in range(4):
        pool.add(craft.request("a", first), NOW)
    pool.add(craft.request("b"), NOW)
    pool.add(craft.request("c"), NOW)
    names = [[members.device_name(request.device) for request in pool.take()] for _ in range(3)]
    assert names == [["a", "b", "c"], ["a", "a", "a"], []]


def test_own_clients_replicas_and_strangers_have_each_their_part_of_the_turns() -> None:
    members = make_group(4)
    craft = Craft(members)
    pool = RequestPool(Parameters(batch_operations_max=38, client_window=64))
    for number in range(60):
        pool.add(craft.request(f"flood-{number}"), NOW, via=LIAR)
        pool.add(craft.request(f"stranger-{number}"), NOW, is_stranger=True)
        pool.add(craft.request("own", number), NOW)
    for number in range(12):
        pool.add(craft.request(f"two-{number}"), NOW, via=ReplicaId(2))
    assert pool.own_operations == 120, "a stranger's own request takes room too"
    kinds = Counter(members.device_name(request.device).split("-")[0] for request in pool.take())
    assert kinds["own"] >= 18, "half of what is not strangers'"
    assert abs(kinds["flood"] - kinds["two"]) <= 1
    assert kinds["stranger"] <= 4
    for number in range(60):
        pool.remove(craft.request("own", number), NOW)
    assert pool.own_operations == 60
    assert len(pool.take()) == 38, "with nobody else there they have it all"


def test_what_a_backup_passes_on_waits_no_longer_than_its_own_queue_says() -> None:
    """However much the primary's clients and the other replicas bring: so the backup can judge the primary."""
    members = make_group(4)
    craft = Craft(members)
    pool = RequestPool(Parameters(batch_operations_max=1))
    for number in range(100):
        pool.add(craft.request(f"liar-{number}"), NOW, via=LIAR)
        pool.add(craft.request(f"other-{number}"), NOW, via=ReplicaId(2))
        pool.add(craft.request(f"own-{number}"), NOW)
    ahead = 5
    for number in range(ahead):
        pool.add(craft.request(f"before-{number}"), NOW, via=HONEST)
    pool.add(craft.request("alice"), NOW, via=HONEST)
    served = 0
    while members.device_name(pool.take()[0].device) != "alice":
        served += 1
    assert served <= (ahead + 1) * pool.dilution


def test_a_replica_that_passes_on_without_end_leaves_room_for_everybody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    craft = Craft(make_group(4))
    monkeypatch.setattr("pbft.core.request_pool.POOL_OPERATIONS_MAX", 12)
    pool = RequestPool(Parameters(), peers=3)
    for name in "ab":
        assert pool.why_refuse(craft.request(name), via=LIAR) is None
        pool.add(craft.request(name), NOW, via=LIAR)
    assert pool.why_refuse(craft.request("c"), via=LIAR) is IgnoreReason.POOL_FULL
    assert pool.why_refuse(craft.request("c"), via=HONEST) is None
    assert pool.why_refuse(craft.request("c")) is None
    monkeypatch.setattr("pbft.core.request_pool.POOL_BYTES_MAX", 6 * 1000)
    assert pool.why_refuse(craft.request("c", 0, bytes(1000)), via=HONEST) is IgnoreReason.POOL_FULL
    assert pool.why_refuse(craft.request("c", 0, bytes(1000))) is None
    pool.remove(craft.request("a"), NOW)
    assert pool.why_refuse(craft.request("c"), via=LIAR) is None


def test_a_request_that_a_liar_passed_on_first_waits_where_it_would_without() -> None:
    members = make_group(4)
    craft = Craft(members)
    pool = RequestPool(Parameters(batch_operations_max=1))
    for number in range(50):
        pool.add(craft.request(f"liar-{number}"), NOW, via=LIAR)
    for name in ("alice", "bob"):
        pool.add(craft.request(name), NOW, via=LIAR)
    pool.come_again(craft.request("alice"), None)
    pool.come_again(craft.request("bob"), HONEST)
    assert pool.own_operations == 1
    first = {members.device_name(pool.take()[0].device) for _ in range(3)}
    assert first == {"alice", "bob", "liar-0"}
    for _ in range(49):
        assert pool.take()
    assert not pool.take()
    pool.remove(craft.request("alice"), NOW)
    assert pool.own_operations == 0


def test_a_replica_moves_a_request_once() -> None:
    members = make_group(4)
    craft = Craft(members)
    pool = RequestPool(Parameters(batch_operations_max=1))
    pool.add(craft.request("before"), NOW, via=HONEST)
    pool.add(craft.request("alice"), NOW, via=HONEST)
    pool.come_again(craft.request("alice"), LIAR)
    for number in range(5):
        pool.add(craft.request(f"liar-{number}"), NOW, via=LIAR)
    pool.take()
    pool.come_again(craft.request("alice"), HONEST)
    pool.come_again(craft.request("alice"), LIAR)
    assert members.device_name(pool.take()[0].device) == "alice"


def test_a_device_that_has_its_fill_is_refused_before_its_signature_is_checked() -> None:
    members = make_group(4)
    craft = Craft(members)
    limits = Parameters(client_window=4)
    pool = RequestPool(limits)
    for session in range(1, DEVICE_WINDOWS_MAX + 1):
        for number in range(4):
            assert not pool.has_no_room(craft.request("a", number, session=session))
            pool.add(craft.request("a", number, session=session), NOW)
    assert pool.has_no_room(craft.request("a", 0, session=9))
    assert not pool.has_no_room(craft.request("a", 0, b"another operation")), "it contradicts what is here: evidence"
    assert not pool.has_no_room(craft.request("b"))
    pool.remove(craft.request("a", 0), NOW)
    assert not pool.has_no_room(craft.request("a", 0, session=9))


def test_a_request_over_the_batch_limit_goes_alone() -> None:
    craft = Craft(make_group(4))
    pool = RequestPool(Parameters(batch_operations_max=2))
    pool.add(craft.request("a", 0, b"1", b"2", b"3"), NOW)
    pool.add(craft.request("b"), NOW)
    assert [len(pool.take()) for _ in range(3)] == [1, 1, 0]


_CRAFT = Craft(make_group(4))
_REQUESTS = [
    _CRAFT.request(device, first, *[b"%d" % (first + i) for i in range(count)], session=session)
    for device in "abc"
    for session in (1, 2)
    for first in range(4)
    for count in (1, 2, 3)
]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["add", "1", "2"]), st.sampled_from(_REQUESTS)),
            st.tuples(st.just("take"), st.none()),
            st.tuples(st.just("remove"), st.sampled_from(_REQUESTS)),
        ),
        max_size=60,
    )
)
def test_the_pool_counts_right_whatever_happens(actions: list[tuple[str, SignedRequest | None]]) -> None:
    limits = Parameters(client_window=4, batch_operations_max=5)
    pool = RequestPool(limits)
    held: dict[bytes, SignedRequest] = {}
    waiting: set[bytes] = set()
    for action, request in actions:
        if action == "take":
            taken = pool.take()
            assert all(each.wire in waiting for each in taken)
            assert sum(len(each.message.operations) for each in taken) <= 5
            waiting -= {each.wire for each in taken}
        elif request is not None and action != "remove":
            via = None if action == "add" else ReplicaId(int(action))
            refused = pool.why_refuse(request, via=via)
            if refused is IgnoreReason.DUPLICATE:
                pool.come_again(request, via)
            elif refused is None:
                pool.add(request, NOW, via=via)
                held[request.wire] = request
                waiting.add(request.wire)
        elif request is not None:
            pool.remove(request, NOW)
            for wire in [wire for wire, each in held.items() if names(each) & names(request)]:
                del held[wire]
                waiting.discard(wire)
        assert len(pool) == len(held)
        assert pool.waiting_operations == sum(len(held[wire].message.operations) for wire in waiting)
        assert {request.wire for request in pool.oldest()} == held.keys()
        per_device: Counter[bytes] = Counter()
        for each in held.values():
            per_device[each.device] += len(each.message.operations)
        assert all(count <= DEVICE_WINDOWS_MAX * 4 for count in per_device.values())
        every_name = [name for each in held.values() for name in names(each)]
        assert len(every_name) == len(set(every_name))
    while waiting:
        taken = pool.take()
        assert taken
        waiting -= {each.wire for each in taken}


def names(request: SignedRequest) -> set[tuple[bytes, int, int]]:
    first = request.message.first_client_sequence
    count = len(request.message.operations)
    return {(request.device, request.message.session, number) for number in range(first, first + count)}
