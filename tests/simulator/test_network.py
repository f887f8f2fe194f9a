"""Links: who hears whom, when, and how often."""

from __future__ import annotations

from itertools import pairwise

import pytest

from adversary.simulator.dice import Streams
from adversary.simulator.marks import Marks
from adversary.simulator.network import Links
from adversary.simulator.scenario import Network, Partition, Route

MS = 1000


def links(**profile: int) -> Links:
    return Links(Network(**profile), Streams(5), Marks())


def partition(*sides: tuple[int, ...], one_way: bool = False) -> Partition:
    return Partition(id=1, at_ms=0, for_ms=1, sides=sides, one_way=one_way)


def heard(network: Links, source: int, to: int, kind: str = "Prepare", *, count: int = 1) -> int:
    return sum(len(network.arrivals(number * MS, source, to, kind)) for number in range(count))


def test_a_calm_link_delivers_everything_once_and_in_order() -> None:
    network = links(delay_us=300, jitter_us=5_000)
    arrivals = [network.arrivals(now, 0, 1, "Prepare") for now in range(0, 100_000, 500)]
    times = [time for (time,) in arrivals]
    assert times == sorted(times)
    assert all(time >= now + 300 for time, now in zip(times, range(0, 100_000, 500), strict=True))


def test_reordering_lets_frames_overtake() -> None:
    network = links(delay_us=300, jitter_us=5_000, reorder=1000)
    times = [network.arrivals(now, 0, 1, "Prepare")[0] for now in range(0, 100_000, 500)]
    assert times != sorted(times)


@pytest.mark.parametrize(("loss", "least", "most"), [(0, 1000, 1000), (300, 640, 760), (1000, 0, 0)])
def test_a_share_of_the_frames_is_lost(loss: int, least: int, most: int) -> None:
    assert least <= heard(links(loss=loss), 0, 1, count=1000) <= most


def test_duplicates_come_twice() -> None:
    assert heard(links(duplicate=1000), 0, 1, count=100) == 200


def test_spikes_delay_some_frames_much() -> None:
    network = links(spike=500, spike_us=1_000_000, reorder=1000)
    delays = [network.arrivals(now, 0, 1, "Prepare")[0] - now for now in range(0, 100_000, 1000)]
    assert max(delays) > 100_000
    assert min(delays) < 1_000


def test_a_full_queue_drops_what_comes_and_delays_what_waits() -> None:
    marks = Marks()
    network = Links(Network(frame_us=1000, queue_frames=8, jitter_us=0), Streams(5), marks)
    arrivals = [network.arrivals(0, 0, 1, "Prepare") for _ in range(50)]
    times = [time for arrival in arrivals for time in arrival]
    assert len(times) == 9
    assert [later - earlier for earlier, later in pairwise(times)] == [1000] * 8
    assert "frame lost to congestion" in marks.reached
    assert network.arrivals(1_000_000, 0, 1, "Prepare")


def test_halves_do_not_hear_each_other_until_the_partition_ends() -> None:
    network = links()
    network.begin(partition((0, 1), (2, 3)))
    assert (heard(network, 0, 1), heard(network, 2, 3)) == (1, 1)
    assert (heard(network, 0, 2), heard(network, 3, 1)) == (0, 0)
    network.end(partition((0, 1), (2, 3)))
    assert heard(network, 0, 2) == 1


def test_one_way_silences_one_side_only() -> None:
    network = links()
    network.begin(partition((0,), (1, 2, 3), one_way=True))
    assert (heard(network, 0, 1), heard(network, 1, 0)) == (0, 1)


def test_in_a_ring_everybody_hears_neighbours() -> None:
    network = links()
    network.begin(partition((0, 1), (1, 2), (2, 3), (3, 0)))
    assert (heard(network, 0, 1), heard(network, 3, 0)) == (1, 1)
    assert (heard(network, 0, 2), heard(network, 1, 3)) == (0, 0)


def test_clients_are_on_no_side() -> None:
    network = links()
    network.begin(partition((0,), (1, 2, 3)))
    assert heard(network, 1000, 0) == heard(network, 0, 1000) == 1


def test_a_route_loses_one_direction_and_one_type() -> None:
    network = links()
    network.begin(Route(id=2, at_ms=0, for_ms=1, source=0, to=1, message_type="Commit"))
    assert (heard(network, 0, 1, "Commit"), heard(network, 0, 1, "Prepare"), heard(network, 1, 0, "Commit")) == (
        0,
        1,
        1,
    )


def test_calm_ends_everything() -> None:
    network = links(loss=1000)
    network.begin(partition((0,), (1,)))
    network.begin(Route(id=2, at_ms=0, for_ms=1, source=0, to=1))
    network.calm(Network())
    assert heard(network, 0, 1, count=100) == 100


def test_what_one_link_carries_moves_no_other_links_dice() -> None:
    busy, idle = links(jitter_us=5_000), links(jitter_us=5_000)
    heard(busy, 2, 3, count=100)
    assert busy.arrivals(0, 0, 1, "Prepare") == idle.arrivals(0, 0, 1, "Prepare")
