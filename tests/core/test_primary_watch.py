"""Slow and unfair primaries lose their office; honest ones under any load that they can carry keep it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from pbft.core.group import Parameters
from pbft.core.messages import SignedRequest
from pbft.core.primary_watch import FLOOR_PER_S, LEVEL_MAX, PASSED_BY_TIMEOUTS, STRIKES, PrimaryWatch
from pbft.core.request_pool import RequestPool
from pbft.core.types import Milliseconds, ReplicaId
from tests.core.scripted import Scripted, tick
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft
from tests.harness.keys import make_group
from tests.harness.looking import views

TIMEOUT_MS = 1000
MEMBERS = make_group(4)


# -- the judgement by itself


class Watched:
    """A pool in which requests wait, and a judge that is asked four times a second."""

    def __init__(self) -> None:
        self.pool = RequestPool(Parameters())
        self.watch = PrimaryWatch(MEMBERS.group, self.pool)
        self.craft = Craft(MEMBERS)
        self.now = 10_000
        self.watch.begin_view(Milliseconds(self.now))

    def wait(self, device: str, first: int = 0, *, stranger: bool = False) -> SignedRequest:
        request = self.craft.request(device, first)
        self.pool.add(request, Milliseconds(self.now), is_stranger=stranger)
        return request

    def run(self, intervals: float, each_quarter: Callable[[int], None] = lambda _number: None) -> list[str]:
        """What the primary is to be dismissed for, in order."""
        found = []
        for number in range(int(intervals * 4)):
            self.now += TIMEOUT_MS // 4
            each_quarter(number)
            reason = self.watch.why_dismiss(Milliseconds(self.now))
            if reason is not None:
                found.append(reason)
                self.watch.begin_view(Milliseconds(self.now))
        return found


def test_nothing_waits_and_nobody_is_blamed() -> None:
    assert Watched().run(50) == []


def test_below_the_floor_while_requests_wait() -> None:
    watched = Watched()
    watched.wait("a")
    assert watched.run(STRIKES - 0.25, lambda _: watched.watch.on_executed(1)) == []
    (reason,) = watched.run(0.25, lambda _: watched.watch.on_executed(1))
    assert "operations a second while requests waited" in reason


def test_at_the_floor_is_fast_enough() -> None:
    watched = Watched()
    watched.wait("a")
    waiting = PASSED_BY_TIMEOUTS - 1
    assert watched.run(waiting, lambda _: watched.watch.on_executed(FLOOR_PER_S // 4)) == []


def test_the_floor_is_a_part_of_the_best_that_was_seen() -> None:
    """A group that did 8000 a second is not content with 100; one that never did is."""
    for best, dismissed in ((8000, True), (0, False)):
        watched = Watched()
        watched.watch.on_executed(best)
        assert watched.run(1) == []
        watched.wait("a")
        found = watched.run(STRIKES + 1, lambda _, watched=watched: watched.watch.on_executed(25))  # type: ignore[misc]
        assert bool(found) is dismissed


def test_one_good_interval_wipes_the_strikes_out() -> None:
    watched = Watched()
    watched.wait("a")
    for _ in range(2):
        assert watched.run(STRIKES - 1) == []
        watched.watch.on_executed(FLOOR_PER_S)
        assert watched.run(1) == []
        watched.pool.serve_all(Milliseconds(watched.now))


def test_a_device_that_is_passed_by_while_others_are_served() -> None:
    watched = Watched()
    watched.wait("a")
    (reason,) = watched.run(PASSED_BY_TIMEOUTS + 1, lambda _: watched.watch.on_executed(100))
    assert "passed a client by" in reason


def test_a_stranger_that_is_passed_by_is_nobodys_fault() -> None:
    """Names cost nothing: else anybody could have a primary voted out."""
    watched = Watched()
    watched.wait("a", stranger=True)
    assert watched.run(10 * PASSED_BY_TIMEOUTS, lambda _: watched.watch.on_executed(100)) == []


def test_everybody_waits_in_a_long_queue() -> None:
    """Two thousand operations at a hundred a second take twenty seconds: so long nobody is passed by."""
    watched = Watched()
    for number in range(250):
        watched.wait(f"d{number % 50}", number)
    watched.pool.serve_all(Milliseconds(watched.now))
    serve = iter(list(watched.pool.oldest()))

    def work(_number: int) -> None:
        for _ in range(4):
            watched.pool.remove(next(serve), Milliseconds(watched.now))
        watched.watch.on_executed(4 * 8)  # others too

    assert watched.run(12, work) == []


def test_a_judge_that_slept_judges_nothing() -> None:
    watched = Watched()
    watched.wait("a")
    for _ in range(10):
        watched.now += 4 * TIMEOUT_MS
        assert watched.watch.why_dismiss(Milliseconds(watched.now)) is None


def test_patience_doubles_with_each_dismissal_and_comes_back_with_calm() -> None:
    """If every primary seems slow, the network is."""
    watched = Watched()
    watched.wait("a")
    intervals = []
    for _ in range(LEVEL_MAX + 2):
        start = watched.now
        while not watched.run(0.25):
            pass
        intervals.append((watched.now - start) // TIMEOUT_MS)
    assert intervals == sorted(intervals)
    assert intervals[-1] == intervals[-2] >= 16
    request = next(watched.pool.oldest())
    watched.pool.remove(request, Milliseconds(watched.now))
    assert watched.run(16 * (LEVEL_MAX + 1)) == []
    watched.wait("a")
    start = watched.now
    while not watched.run(0.25):
        pass
    assert (watched.now - start) // TIMEOUT_MS == intervals[0]


# -- primaries that misbehave in a group


def test_a_primary_that_orders_just_inside_the_timeout_is_voted_out() -> None:
    script = Scripted()
    waiting = [script.ask(device) for device in "abcdefgh" for _ in range(6)]
    count = len(waiting)
    start = script.cluster.now_ms
    while waiting and not script.lost_office:
        script.pass_time(TIMEOUT_MS * 9 // 10)
        script.order(waiting.pop(0))
    assert script.lost_office
    assert script.cluster.now_ms - start <= (STRIKES + 2) * TIMEOUT_MS
    assert all(any("given up" in text for text in node.alarms) for node in script.cluster.nodes.values())
    script.cluster.settle(script.cluster.executed_everywhere(8 + count))


def test_a_client_that_the_primary_never_orders_gets_its_turn() -> None:
    """Others are served at once, all the time: no timer ever expires."""
    script = Scripted("abcd")
    censored = script.ask("a")
    start = script.cluster.now_ms
    while not script.lost_office and script.cluster.now_ms - start < 60_000:
        script.pass_time(100)
        script.order(*[script.ask(device) for device in "bcd" for _ in range(3)])
    assert script.cluster.now_ms - start <= (PASSED_BY_TIMEOUTS + 3) * TIMEOUT_MS
    name = (censored.device, 1, censored.message.first_client_sequence)
    nodes = script.cluster.nodes.values()
    script.cluster.settle(lambda: all(name in node.executor.state.ran for node in nodes), within_ms=2000)


def test_a_primary_that_orders_nothing_but_null_batches_is_voted_out() -> None:
    """They are no progress for anybody who waits."""
    script = Scripted("ab")
    script.ask("a")
    script.cluster.deliver_all()
    for _ in range((STRIKES + 1) * 5):
        script.pass_time(200)
        script.order()
        if script.lost_office:
            break
    assert script.lost_office


# -- honest primaries keep their office


@pytest.mark.parametrize("seed", range(8))
def test_an_honest_primary_keeps_its_office_under_light_bursty_and_heavy_load(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a schedule, not a secret
    latency = random.choice((20, 40))
    cluster = Cluster(batch_operations_max=random.choice((16, 64)), pipeline_depth=4)
    firsts = {f"d{number}": 0 for number in range(random.choice((1, 5, 40)))}
    load = random.choice((0.02, 0.2, 0.6))
    burst = random.choice((0, 60, 150))
    for _ in range(8_000 // latency):
        count = burst if burst and random.random() < 0.004 else int(random.random() < load)
        for _ in range(count):
            device = random.choice(sorted(firsts))
            first = firsts[device]
            firsts[device] += 1
            cluster.request(device, first=first, ack=max(0, first - 200), to=random.choice([(0,), range(4)]))
        tick(cluster, latency)
    assert views(cluster) == {0}, f"seed {seed}"
    assert cluster.nodes[ReplicaId(1)].executed > 0


def test_a_long_queue_of_many_devices_costs_nobody_the_office() -> None:
    """One request each and a hundred operations a second: the last waits for seconds, and is not passed by."""
    cluster = Cluster(batch_operations_max=6, pipeline_depth=1)
    for number in range(400):
        cluster.request(f"d{number}", to=range(4))
    for turn in (1, 2):
        while not cluster.executed_everywhere(400 * turn)():
            tick(cluster, 20)
        if turn == 1:
            for number in range(400):
                cluster.request(f"d{number}", first=1, ack=1, to=range(4))
    assert views(cluster) == {0}


def test_six_hundred_devices_with_one_request_each_cost_nobody_the_office() -> None:
    """Known devices this time: the last of them waits for longer than a client may that is passed by."""
    cluster = Cluster(batch_operations_max=6, pipeline_depth=1)
    for turn in (0, 1):
        start = cluster.now_ms
        for number in range(600):
            cluster.request(f"d{number}", first=turn, ack=turn, to=range(4))
        while not cluster.executed_everywhere(600 * (turn + 1))():
            tick(cluster, 20)
            assert views(cluster) == {0}
    assert cluster.now_ms - start > PASSED_BY_TIMEOUTS * TIMEOUT_MS


def test_a_client_that_keeps_its_window_at_the_primary_full_cannot_have_it_voted_out() -> None:
    """The backups hold what the primary has no room for. It is one client's own, and so is the delay."""
    cluster = Cluster(client_window=4, batch_operations_max=4, pipeline_depth=1)
    for device in ("evil", "good"):
        cluster.request(device, to=range(4))
    cluster.deliver_all()
    for session in (2, 3):
        cluster.request("evil", *[b"held"] * 4, session=session, to=(1, 2, 3))
    first = good = 1
    for turn in range(1000):
        while first <= turn:
            cluster.request("evil", first=first, ack=max(0, first - 3), to=(0,))
            first += 1
        if turn % 25 == 0:
            cluster.request("good", first=good, ack=good, to=range(4))
            good += 1
        tick(cluster, 10)
    assert views(cluster) == {0}
    ran = [
        name
        for name in cluster.nodes[ReplicaId(1)].executor.state.ran
        if name[0] == cluster.members.device("good").public_key
    ]
    assert len(ran) >= good - 1
