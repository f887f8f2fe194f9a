"""What a NEW-VIEW must propose again: PBFT section 4.4, as a pure function of the VIEW-CHANGEs it stands on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from crypto.digest import Digest
from crypto.signing import Signature
from pbft.core.frames import NULL_BATCH
from pbft.core.group import Group
from pbft.core.messages import (
    Checkpoint,
    CheckpointCertificate,
    PreparedCertificate,
    PrePrepare,
    Signed,
    ViewChange,
)
from pbft.core.new_view import highest_checkpoint, proposed_again, proposes_what_it_must
from pbft.core.types import ReplicaId, SequenceNumber, View
from tests.harness.craft import Craft, digest
from tests.harness.keys import make_group

K = 4
MEMBERS = make_group(4, checkpoint_interval=K, pipeline_depth=1)
CRAFT = Craft(MEMBERS)
X, Y, Z, NULL = digest("x"), digest("y"), digest("z"), NULL_BATCH.digest


def prepared(sequence: int, what: Digest, view: int = 0) -> PreparedCertificate:
    """As `proposed_again` sees one: it looks at no signature, for all were checked before."""
    vote = PrePrepare(view=View(view), sequence=SequenceNumber(sequence), batch_digest=what)
    signed = Signed(message=vote, signer=ReplicaId(view % 4), signature=Signature(b""), wire=b"")
    return PreparedCertificate(pre_prepare=signed, prepares=(), wire=b"")


def certified(sequence: int) -> CheckpointCertificate | None:
    if not sequence:
        return None
    checkpoint = Checkpoint(sequence=SequenceNumber(sequence), state_root=digest("r"))
    return CheckpointCertificate(checkpoint=checkpoint, endorsements=(), wire=b"")


def change(*held: PreparedCertificate, stable: int = 0, view: int = 9) -> ViewChange:
    return ViewChange(
        view=View(view), stable_checkpoint=SequenceNumber(stable), checkpoint=certified(stable), prepared=held
    )


@dataclass(frozen=True)
class Case:
    what: str
    changes: tuple[ViewChange, ...]
    again: tuple[tuple[int, Digest], ...]


CASES = (
    Case("nothing was prepared", (change(), change(), change()), ()),
    Case("one of them prepared", (change(), change(prepared(1, X)), change()), ((1, X),)),
    Case("all of them prepared", (change(prepared(1, X)),) * 3, ((1, X),)),
    Case(
        "gaps are filled with null batches",
        (change(), change(prepared(3, X)), change()),
        ((1, NULL), (2, NULL), (3, X)),
    ),
    Case(
        "each knows another place",
        (change(prepared(1, X)), change(prepared(4, Z)), change(prepared(2, Y))),
        ((1, X), (2, Y), (3, NULL), (4, Z)),
    ),
    Case(
        "the highest view wins, and not the many",
        (change(prepared(1, X, 0)), change(prepared(1, X, 0)), change(prepared(1, Y, 3))),
        ((1, Y),),
    ),
    Case(
        "the highest view wins wherever it stands",
        (change(prepared(1, Y, 3)), change(prepared(1, X, 2)), change(prepared(1, Z, 1))),
        ((1, Y),),
    ),
    Case(
        "a null batch that was prepared is one like any other",
        (change(prepared(1, NULL, 2)), change(prepared(1, X))),
        ((1, NULL),),
    ),
    Case(
        "a checkpoint above what others prepared",
        (change(prepared(1, X), prepared(3, Y)), change(stable=K), change()),
        (),
    ),
    Case(
        "a checkpoint between what others prepared",
        (change(prepared(1, X), prepared(K + 2, Y)), change(stable=K), change()),
        ((K + 1, NULL), (K + 2, Y)),
    ),
    Case(
        "the highest of several checkpoints",
        (change(prepared(K + 1, X), stable=K), change(prepared(2 * K + 1, Y), stable=2 * K), change()),
        ((2 * K + 1, Y),),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_is_proposed_again(case: Case) -> None:
    for order in (case.changes, tuple(reversed(case.changes))):
        assert proposed_again(order) == list(case.again)


def test_the_highest_checkpoint() -> None:
    assert highest_checkpoint([change(), change()]) is None
    assert highest_checkpoint([change(), change(stable=2 * K), change(stable=K)]) == certified(2 * K)


SHOWN = [CRAFT.view_change(0, 1), CRAFT.view_change(1, 1, CRAFT.prepared(2, X, (1, 2))), CRAFT.view_change(2, 1)]


@pytest.mark.parametrize(
    ("again", "right"),
    [
        ([(1, NULL), (2, X)], True),
        ([(2, X), (1, NULL)], False),
        ([(2, X)], False),
        ([(1, NULL)], False),
        ([], False),
        ([(1, NULL), (2, Y)], False),
        ([(1, NULL), (2, NULL)], False),
        ([(1, Y), (2, X)], False),
        ([(1, NULL), (2, X), (3, NULL)], False),
        ([(1, NULL), (1, NULL), (2, X)], False),
        ([(1, NULL), (3, X)], False),
    ],
    ids=[
        "right", "in another order", "gap left", "prepared one left out", "nothing", "another digest",
        "prepared one hidden", "batch of its own", "one more", "one twice", "moved",
    ],
)  # fmt: skip
def test_a_new_view_proposes_that_and_nothing_else(again: list[tuple[int, Digest]], right: bool) -> None:
    assert proposes_what_it_must(CRAFT.new_view(1, SHOWN, again).message) is right


# -- legal histories: what was committed is in O at every quorum


@dataclass
class Legal:
    """What can have happened among n replicas of which the last f lie: nothing that an honest one would not do."""

    group: Group
    random: Random
    window: int = 6
    held: dict[int, dict[int, PreparedCertificate]] = field(default_factory=dict)
    """By honest replica and sequence number: the certificate of its highest view."""
    stable: dict[int, int] = field(default_factory=dict)
    made: list[PreparedCertificate] = field(default_factory=list)
    """All that exist: a liar may show any of them, or none."""
    committed: dict[int, Digest] = field(default_factory=dict)
    proven: int = 0
    """The highest checkpoint that a quorum can have certified."""

    @property
    def honest(self) -> list[int]:
        return list(range(self.group.size - self.group.faulty_max))

    def some(self, replicas: Sequence[int]) -> list[int]:
        return [replica for replica in replicas if self.random.random() < 0.75]

    def run_view(self, view: int, again: dict[int, Digest], base: int) -> None:
        """Any subset of the honest takes part; the primary may lie to each of them where it is bound to nothing."""
        present = self.some(self.honest)
        lying = self.group.primary(View(view)) not in self.honest
        for sequence in range(base + 1, base + self.window + 1):
            bound = again.get(sequence)
            if bound is None and (sequence <= max(again, default=0) or self.random.random() < 0.3):
                continue
            choices = [bound] if bound else [digest(f"{view}/{sequence}/{twin}") for twin in range(1 + lying)]
            accepted = {replica: self.random.choice(choices) for replica in present}
            for what in choices:
                self._vote(view, sequence, what, [replica for replica in present if accepted[replica] == what])

    def _vote(self, view: int, sequence: int, what: Digest, accepted: list[int]) -> None:
        liars = self.group.faulty_max
        if len(accepted) + liars < self.group.quorum:
            return
        certificate = prepared(sequence, what, view)
        self.made.append(certificate)
        seen = [replica for replica in self.some(accepted) if sequence > self.stable.get(replica, 0)]
        for replica in seen:
            self.held.setdefault(replica, {})[sequence] = certificate
        if len(seen) + liars >= self.group.quorum:
            assert self.committed.setdefault(sequence, what) == what, "two digests were committed in one place"

    def take_checkpoints(self) -> None:
        while all(self.proven + 1 + place in self.committed for place in range(2)):
            self.proven += 2
        for replica in self.some(self.honest):
            reached = max(self.stable.get(replica, 0), self.random.choice(range(0, self.proven + 1, 2)))
            self.stable[replica] = reached
            self.held[replica] = {n: held for n, held in self.held.get(replica, {}).items() if n > reached}

    def changes(self, view: int) -> dict[int, ViewChange]:
        honest = {
            replica: change(
                *[held for _, held in sorted(self.held.get(replica, {}).items())],
                stable=self.stable.get(replica, 0),
                view=view,
            )
            for replica in self.honest
        }
        return honest | {replica: self._lie(view) for replica in range(len(honest), self.group.size)}

    def _lie(self, view: int) -> ViewChange:
        stable = self.random.choice(range(0, self.proven + 1, 2))
        shown = {}
        for held in self.random.sample(self.made, self.random.randint(0, len(self.made))):
            if stable < held.pre_prepare.message.sequence <= stable + self.window:
                shown[held.pre_prepare.message.sequence] = held
        return change(*[held for _, held in sorted(shown.items())], stable=stable, view=view)

    def quorums(self, changes: dict[int, ViewChange]) -> Iterator[list[ViewChange]]:
        for members in combinations(sorted(changes), self.group.quorum):
            yield [changes[member] for member in members]


def check_history(n: int, random: Random, views: int) -> None:
    legal = Legal(make_group(n, checkpoint_interval=3, pipeline_depth=1).group, random)
    again: dict[int, Digest] = {}
    base = 0
    for view in range(views):
        legal.run_view(view, again, base)
        if random.random() < 0.4:
            legal.take_checkpoints()
        quorums = list(legal.quorums(legal.changes(view + 1)))
        for quorum in quorums:
            highest = highest_checkpoint(quorum)
            stands_on = highest.checkpoint.sequence if highest is not None else 0
            must = dict(proposed_again(quorum))
            for sequence, what in legal.committed.items():
                assert sequence <= stands_on or must.get(SequenceNumber(sequence)) == what
            assert sorted(must) == list(range(stands_on + 1, stands_on + 1 + len(must))), "a gap"
        chosen = random.choice(quorums)
        highest = highest_checkpoint(chosen)
        base = highest.checkpoint.sequence if highest is not None else 0
        again = {int(sequence): what for sequence, what in proposed_again(chosen)}


def check_histories(count: int) -> None:
    for seed in range(count):
        check_history(4, Random(seed), views=5)  # noqa: S311 - a schedule, not a secret


RIGHT = proposed_again


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from([4, 5, 6, 7]), st.integers(0, 2**32 - 1))
def test_whatever_happened_a_committed_digest_is_proposed_again_at_every_quorum(n: int, seed: int) -> None:
    check_history(n, Random(seed), views=5)  # noqa: S311 - a schedule, not a secret


@pytest.mark.parametrize("fault", ["lowest view", "nothing prepared", "first one shown"])
def test_the_property_finds_a_rule_that_is_wrong(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(changes: Sequence[ViewChange]) -> list[tuple[SequenceNumber, Digest]]:
        if fault == "nothing prepared":
            return RIGHT([replace(each, prepared=()) for each in changes])
        found: dict[SequenceNumber, PrePrepare] = {}
        for each in changes:
            for certificate in each.prepared:
                vote = certificate.pre_prepare.message
                known = found.setdefault(vote.sequence, vote)
                if fault == "lowest view" and vote.view < known.view:
                    found[vote.sequence] = vote
        right = dict(RIGHT(changes))
        return [
            (sequence, found[sequence].batch_digest if sequence in found else right[sequence]) for sequence in right
        ]

    monkeypatch.setattr(f"{__name__}.proposed_again", wrong)
    with pytest.raises(AssertionError):
        check_histories(400)
