"""Quorum arithmetic, and what makes a group."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import pytest

from crypto.canonical import encode
from crypto.digest import digest_of
from crypto.signing import PublicKey
from pbft.core.bodies import BITMAP_MAX
from pbft.core.group import Group, Parameters
from pbft.core.types import View
from tests.harness.keys import make_group

SIZES = range(4, 14)
EXPECTED = {4: (1, 3), 5: (1, 4), 6: (1, 4), 7: (2, 5), 8: (2, 6), 9: (2, 6), 10: (3, 7), 11: (3, 8), 12: (3, 8),
            13: (4, 9)}  # fmt: skip


@pytest.mark.parametrize("n", SIZES)
def test_pitfall_05_any_two_quorums_share_a_correct_replica(n: int) -> None:
    group = make_group(n).group
    f, quorum = group.faulty_max, group.quorum
    assert (f, quorum) == EXPECTED[n]
    assert 3 * f < n <= 3 * (f + 1)
    assert 2 * quorum - n >= f + 1, "the share of two quorums outnumbers the faulty"
    assert 2 * (quorum - 1) - n < f + 1, "and no smaller quorum does"
    assert n - f >= quorum, "f down still leave a quorum"
    assert group.honest_minimum == f + 1
    assert quorum - f >= group.honest_minimum, "a quorum holds f + 1 correct replicas"


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_pitfall_05_counted_one_by_one(n: int) -> None:
    group = make_group(n).group
    quorums = [set(members) for members in combinations(group.replicas, group.quorum)]
    faulty = [set(members) for members in combinations(group.replicas, group.faulty_max)]
    assert all((one & other) - bad for one in quorums for other in quorums for bad in faulty)


@pytest.mark.parametrize("n", SIZES)
def test_every_replica_is_primary_in_turn(n: int) -> None:
    group = make_group(n).group
    assert [group.primary(View(view)) for view in range(2 * n)] == [*group.replicas, *group.replicas]
    assert group.primary(View(2**63 - 1)) in group.replicas


def test_a_bitmap_counts_each_replica_once() -> None:
    group = make_group(13).group
    assert group.bitmap([group.replicas[12], group.replicas[0], group.replicas[12]]) == 2**12 + 1
    assert group.bitmap(group.replicas) <= BITMAP_MAX


def test_too_few_members_or_one_key_twice_are_no_group() -> None:
    keys = make_group(4).group.members
    with pytest.raises(ValueError, match="at least 4"):
        Group(name="g", nonce=b"", members=keys[:3])
    with pytest.raises(ValueError, match="same signing key"):
        Group(name="g", nonce=b"", members=(*keys[:3], keys[0]))


@pytest.mark.parametrize("name", [*Parameters.__dataclass_fields__])
def test_parameters_that_no_group_can_run_with_are_named(name: str) -> None:
    values: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=name):
        Parameters(**values)
    with pytest.raises(ValueError, match="pipeline_depth"):
        Parameters(pipeline_depth=128)


def test_the_group_id_covers_what_the_replicas_must_agree_on() -> None:
    group = make_group(4).group
    keys, founding = group.members, group.group_id
    other = PublicKey(bytes(32))
    others = (
        Group(name="other", nonce=group.nonce, members=keys),
        Group(name=group.name, nonce=b"other", members=keys),
        Group(name=group.name, nonce=group.nonce, members=(*keys[:3], other)),
        Group(name=group.name, nonce=group.nonce, members=(keys[1], keys[0], *keys[2:])),
        *(
            Group(name=group.name, nonce=group.nonce, members=keys, parameters=Parameters(**{name: 5}))
            for name in Parameters.__dataclass_fields__
        ),
    )
    assert len({founding, *(each.group_id for each in others)}) == 1 + len(others)


SETTINGS = (("a", 1), ("b", 2))


def test_the_applications_settings_are_part_of_the_identity_where_there_are_any() -> None:
    plain = make_group(4).group
    limited = replace(plain, application=SETTINGS)
    parameters = sorted([name, value] for name, value in asdict(plain.parameters).items())
    as_before = encode(["quorate/group/1", plain.name, plain.nonce, list(plain.members), parameters])
    assert plain.group_id == digest_of(as_before)
    others = [
        replace(plain, application=other) for other in ((("a", 1),), (("a", 2), ("b", 2)), (("a", 1), ("c", 2)))
    ]
    assert len({group.group_id for group in (plain, limited, *others)}) == 5
    assert replace(plain, application=SETTINGS).group_id == limited.group_id


@pytest.mark.parametrize("settings", [SETTINGS[::-1], (("a", 1), ("a", 2)), (("a", 1), ("a", 1))])
def test_settings_have_one_order_and_one_value_each(settings: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ValueError, match="sorted by name, each given once"):
        replace(make_group(4).group, application=settings)
