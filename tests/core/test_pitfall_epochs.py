"""A certificate counts in the epoch whose members made it, and in no other (7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crypto.canonical import decode, encode
from pbft.core.codec import Opener
from pbft.core.errors import MalformedMessage, ProtocolViolation
from pbft.core.group import Group
from pbft.core.types import Epoch
from tests.core.corpus import CRAFT, GROUP, MEMBERS
from tests.harness.craft import digest

X = digest("x")
OLD = {
    "commits": CRAFT.commit_certificate(1, X, (0, 1, 2)).wire,
    "checkpoints": CRAFT.checkpoint_certificate(GROUP.parameters.checkpoint_interval, X, (0, 1, 2)).wire,
}


class NextEpoch(Group):
    """The same group, one member of which was replaced: its id stays, for that of the founding members does."""

    @property
    def group_id(self):  # type: ignore[no-untyped-def]
        return GROUP.group_id


@pytest.fixture
def successor() -> Opener:
    members = (*GROUP.members[:3], MEMBERS.device("newcomer").public_key)
    return Opener(
        NextEpoch(name=GROUP.name, nonce=GROUP.nonce, members=members, parameters=GROUP.parameters, epoch=Epoch(1)),
        MEMBERS.verifier,
    )


@pytest.mark.parametrize("name", OLD)
def test_pitfall_07_a_certificate_of_the_epoch_before_is_refused(name: str, successor: Opener) -> None:
    with pytest.raises(MalformedMessage, match="epoch"):
        successor.open_peer(OLD[name])


@pytest.mark.parametrize("name", OLD)
def test_pitfall_07_nor_does_it_count_under_the_new_number(name: str, successor: Opener) -> None:
    """Its signers are members of both epochs: their signatures are bound to the one in which they signed."""
    fields = decode(OLD[name], bytes_max=4096)
    assert isinstance(fields, list)
    with pytest.raises(ProtocolViolation, match="does not verify"):
        successor.open_peer(encode([fields[0], 1, *fields[2:]]))


@pytest.mark.parametrize("name", OLD)
def test_pitfall_07_in_its_own_epoch_it_is_good(name: str) -> None:
    assert Opener(replace(GROUP), MEMBERS.verifier).open_peer(OLD[name])
