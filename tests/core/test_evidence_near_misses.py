"""What looks like a proof and is none: it accuses nobody."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from pbft.core import bodies
from pbft.core.effects import Evidence
from pbft.core.evidence import InvalidEvidence, verify_evidence
from pbft.core.frames import NULL_BATCH, encode_signed
from tests.core.proofs import (
    BAD_BATCH,
    CHANGES,
    CHANGES_WITH_3,
    CRAFT,
    GOOD_BATCH,
    GROUP,
    OTHER_EPOCH,
    OTHER_GROUP,
    PROVEN,
    STABLE,
    A,
    B,
    broken,
    forged,
    opener,
    prepared,
    proof,
    reply,
    wire_proposal,
)


@dataclass(frozen=True)
class NearMiss:
    """Looks like evidence and accuses somebody who did nothing wrong."""

    name: str
    evidence: Evidence
    reason: str


NEAR_MISSES = [
    NearMiss("same vote twice", proof("E2", 1, *[CRAFT.prepare(1, 1, A).wire] * 2), "say the same"),
    NearMiss(
        "two views",
        proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.prepare(1, 1, B, view=2).wire),
        "different places",
    ),
    NearMiss(
        "two sequence numbers",
        proof("E1", 0, CRAFT.pre_prepare(0, 1, A).wire, CRAFT.pre_prepare(0, 2, B).wire),
        "pla",
    ),
    NearMiss("two signers", proof("E3", 1, CRAFT.commit(1, 1, A).wire, CRAFT.commit(2, 1, B).wire), "by replica 2"),
    NearMiss("another culprit", proof("E3", 3, CRAFT.commit(1, 1, A).wire, CRAFT.commit(1, 1, B).wire), "not by 3"),
    NearMiss("two types", proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.commit(1, 1, B).wire), "expected"),
    NearMiss("swapped code", replace(PROVEN["E2"], code="E3"), "expected"),
    NearMiss("one statement", proof("E1", 0, CRAFT.pre_prepare(0, 1, A).wire), "takes 2"),
    NearMiss(
        "three statements", proof("E1", 0, *PROVEN["E1"].statements, CRAFT.pre_prepare(0, 1, A).wire), "takes 2"
    ),
    NearMiss("unknown code", replace(PROVEN["E1"], code="E10"), "no code"),
    NearMiss(
        "another group's vote",
        proof("E2", 1, CRAFT.prepare(1, 1, A).wire, OTHER_GROUP.prepare(1, 1, B).wire),
        "does not verify",
    ),
    NearMiss(
        "another epoch's vote",
        proof("E2", 1, CRAFT.prepare(1, 1, A).wire, OTHER_EPOCH.prepare(1, 1, B).wire),
        "epoch",
    ),
    NearMiss(
        "signed as another type",
        proof(
            "E2",
            1,
            CRAFT.prepare(1, 1, A).wire,
            encode_signed(
                bodies.PREPARE,
                GROUP.epoch,
                1,
                bodies.encode_vote(CRAFT.commit(1, 1, B).message),
                CRAFT.commit(1, 1, B).signature,
            ),
        ),
        "does not verify",
    ),
    NearMiss(
        "key swapped",
        proof(
            "E2",
            1,
            CRAFT.prepare(1, 1, A).wire,
            encode_signed(
                bodies.PREPARE,
                GROUP.epoch,
                1,
                bodies.encode_vote(CRAFT.prepare(3, 1, B).message),
                CRAFT.prepare(3, 1, B).signature,
            ),
        ),
        "does not verify",
    ),
    NearMiss(
        "re-encoded",
        proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.prepare(1, 1, A).wire.replace(b"\x85", b"\x98\x05", 1)),
        "canonical",
    ),
    NearMiss(
        "trailing byte", proof("E2", 1, CRAFT.prepare(1, 1, A).wire, CRAFT.prepare(1, 1, B).wire + b"\0"), "CBOR"
    ),
    NearMiss(
        "checkpoints apart", proof("E4", 3, CRAFT.checkpoint(3, 8, A).wire, CRAFT.checkpoint(3, 16, B).wire), "p"
    ),
    NearMiss(
        "shown in the same view",
        proof("E5", 2, CRAFT.commit(2, 3, A).wire, CRAFT.view_change(2, 1, prepared()).wire),
        "as prepared in view 0",
    ),
    NearMiss(
        "shown in a newer view",
        proof("E5", 2, CRAFT.commit(2, 3, A).wire, CRAFT.view_change(2, 3, prepared(3, B, 2)).wire),
        "as prepared in view 2",
    ),
    NearMiss(
        "checkpoint covers it",
        proof("E5", 2, CRAFT.commit(2, 8, A).wire, CRAFT.view_change(2, 1, checkpoint=STABLE).wire),
        "covers 8",
    ),
    NearMiss(
        "committed in the new view itself",
        proof("E5", 2, CRAFT.commit(2, 3, A, view=1).wire, CRAFT.view_change(2, 1).wire),
        "not above",
    ),
    NearMiss(
        "committed later, in a view above",
        proof("E5", 2, CRAFT.commit(2, 3, A, view=4).wire, CRAFT.view_change(2, 1).wire),
        "not above",
    ),
    NearMiss(
        "another replica's VIEW-CHANGE",
        proof("E5", 2, CRAFT.commit(2, 3, A).wire, CRAFT.view_change(3, 1).wire),
        "by",
    ),
    NearMiss(
        "prepared, not committed", proof("E5", 2, CRAFT.prepare(2, 3, A).wire, CRAFT.view_change(2, 1).wire), "COMMIT"
    ),
    NearMiss(
        "VIEW-CHANGE with certificates cut out",
        proof(
            "E5",
            2,
            CRAFT.commit(2, 3, A).wire,
            encode_signed(
                bodies.VIEW_CHANGE,
                GROUP.epoch,
                2,
                bodies.encode_view_change(CRAFT.view_change(2, 1).message),
                CRAFT.view_change(2, 1, prepared()).signature,
            ),
        ),
        "does not verify",
    ),
    NearMiss(
        "VIEW-CHANGEs to two views",
        proof("E6", 2, CRAFT.view_change(2, 1).wire, CRAFT.view_change(2, 2).wire),
        "different places",
    ),
    NearMiss("the same VIEW-CHANGE again", proof("E6", 2, *[CRAFT.view_change(2, 1).wire] * 2), "say the same"),
    NearMiss("valid VIEW-CHANGE", proof("E7", 2, CRAFT.view_change(2, 1, prepared()).wire), "valid in itself"),
    NearMiss("valid NEW-VIEW", proof("E7", 1, CRAFT.new_view(1, CHANGES_WITH_3).wire), "valid in itself"),
    NearMiss(
        "invalid, but not signed",
        proof(
            "E7",
            2,
            encode_signed(
                bodies.VIEW_CHANGE,
                GROUP.epoch,
                2,
                bodies.encode_view_change(CRAFT.view_change(2, 1, broken(prepared())).message),
                CRAFT.view_change(2, 1).signature,
            ),
        ),
        "does not verify",
    ),
    NearMiss("its relay", proof("E7", 3, CRAFT.view_change(2, 1, broken(prepared())).wire), "not by 3"),
    NearMiss("another group's VIEW-CHANGE", proof("E7", 2, OTHER_GROUP.view_change(2, 1).wire), "does not verify"),
    NearMiss("another epoch's VIEW-CHANGE", proof("E7", 2, OTHER_EPOCH.view_change(2, 1).wire), "epoch"),
    NearMiss("a bad signature on a vote", proof("E7", 2, CRAFT.prepare(2, 1, A).wire), "takes a VIEW-CHANGE"),
    NearMiss(
        "NEW-VIEWs of two views",
        proof("E7", 1, CRAFT.new_view(1, CHANGES).wire, CRAFT.new_view(5, CHANGES).wire),
        "pla",
    ),
    NearMiss("all requests valid", proof("E8", 0, wire_proposal(0, GOOD_BATCH)), "are valid"),
    NearMiss(
        "another batch put under it", proof("E8", 0, wire_proposal(0, BAD_BATCH, named=GOOD_BATCH)), "not the one"
    ),
    NearMiss("a null batch", proof("E8", 0, wire_proposal(0, NULL_BATCH)), "are valid"),
    NearMiss("replies agree", proof("E9", 3, reply(3), reply(0), reply(1)), "do not contradict"),
    NearMiss("too few others", proof("E9", 3, reply(3, b"no"), reply(0)), "takes 3"),
    NearMiss(
        "the others disagree", proof("E9", 3, reply(3, b"no"), reply(0), reply(1, b"what")), "do not contradict"
    ),
    NearMiss("one of the others twice", proof("E9", 3, reply(3, b"no"), reply(0), reply(0)), "twice"),
    NearMiss("the culprit among the others", proof("E9", 3, reply(3, b"no"), reply(3), reply(1)), "twice"),
    NearMiss("ran twice", proof("E9", 3, reply(3, b"no", sequence=6), reply(0), reply(1)), "different sequence"),
    NearMiss(
        "ran twice in one batch", proof("E9", 3, reply(3, b"no", index=1), reply(0), reply(1)), "not contradict"
    ),
    NearMiss("an old session", proof("E9", 3, reply(3, b"no", session=0), reply(0), reply(1)), "different sessions"),
    NearMiss("another name", proof("E9", 3, reply(3, b"no", name=1), reply(0), reply(1)), "do not contradict"),
    NearMiss("another device", proof("E9", 3, reply(3, b"no", device="bob"), reply(0), reply(1)), "different"),
    NearMiss("forgot the name", proof("E9", 3, reply(3, b"", refused=True), reply(0), reply(1)), "do not contradict"),
    NearMiss(
        "names forgotten",
        proof("E9", 3, reply(3, b"no", sequence=0), *[reply(r, sequence=0) for r in (0, 1)]),
        "no se",
    ),
    NearMiss(
        "the others forgot",
        proof("E9", 3, reply(3), *[reply(r, b"", refused=True) for r in (0, 1)]),
        "not contradict",
    ),
    NearMiss(
        "another group's reply", proof("E9", 3, reply(3, b"no", craft=OTHER_GROUP), reply(0), reply(1)), "not verify"
    ),
    NearMiss(
        "bundled anew",
        proof(
            "CLIENT-EQUIVOCATION",
            CRAFT.members.device("alice").public_key,
            CRAFT.request("alice", 0, b"yes", b"and").wire,
            CRAFT.request("alice", 1, b"and", b"more", ack=1).wire,
        ),
        "no name",
    ),
    NearMiss(
        "two sessions",
        proof(
            "CLIENT-EQUIVOCATION",
            CRAFT.members.device("alice").public_key,
            CRAFT.request("alice", 0, b"yes").wire,
            CRAFT.request("alice", 0, b"no", session=2).wire,
        ),
        "no name",
    ),
    NearMiss(
        "another device's request",
        proof(
            "CLIENT-EQUIVOCATION",
            CRAFT.members.device("alice").public_key,
            CRAFT.request("alice", 0, b"yes").wire,
            CRAFT.request("bob", 0, b"no").wire,
        ),
        "another device",
    ),
    NearMiss(
        "forged request",
        proof(
            "CLIENT-EQUIVOCATION",
            CRAFT.members.device("alice").public_key,
            CRAFT.request("alice", 0, b"yes").wire,
            forged(CRAFT.request("alice", 0, b"no")).wire,
        ),
        "does not verify",
    ),
]


@pytest.mark.parametrize("case", NEAR_MISSES, ids=lambda case: case.name)
def test_near_miss_accuses_nobody(case: NearMiss) -> None:
    with pytest.raises(InvalidEvidence, match=case.reason):
        verify_evidence(opener(), case.evidence)
