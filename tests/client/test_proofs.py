"""From contradictions to proofs: which of them anybody else can verify."""

from __future__ import annotations

import pytest

from pbft.client.proofs import PROOFS_PER_REPLICA_MAX, Proofs, proof_of
from pbft.client.quorums import Contradiction, Knowledge, Output, RequestTracker, Settings
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.evidence import verify_evidence
from pbft.core.messages import Answer, OperationResult, Reply, Signed
from pbft.core.types import (
    ClientSequence,
    Milliseconds,
    ReplicaId,
    SequenceNumber,
    SessionNumber,
    View,
)
from pbft.core.voting_rules import VotingRules
from tests.harness.keys import make_group

MEMBERS = make_group(4, real=True)
GROUP = MEMBERS.group
DEVICE = MEMBERS.device("alice")
SESSION = SessionNumber(7)
LIAR = ReplicaId(3)
NOW = Milliseconds(0)


def opener() -> Opener:
    return Opener(GROUP, MEMBERS.verifier)


def said(
    replica: int, result: bytes, *, sequence: int = 5, index: int = 0, number: int = 0, refused: bool = False
) -> Signed[Reply]:
    """Really signed."""
    rules = VotingRules(GROUP, ReplicaId(replica), MEMBERS.signers[replica])
    one = OperationResult(client_sequence=ClientSequence(number), index=index, refused=refused, result=result)
    return rules.sign_reply(
        Reply(
            device=DEVICE.public_key,
            session=SESSION,
            view=View(0),
            sequence=SequenceNumber(sequence),
            results=(one,),
        )
    )


def found(*replies: Signed[Reply], repeatable: bool = False) -> list[Contradiction]:
    """What the client makes of replies to its first operation."""
    knowledge = Knowledge(GROUP)
    for replica in GROUP.replicas:
        knowledge.on_link(replica, up=True)
    tracker = RequestTracker(knowledge, DEVICE, SESSION, Settings())
    out = Output()
    tracker.submit(out, NOW, [b"operation"], repeatable=repeatable)
    for reply in replies:
        tracker.on_replies(out, NOW, [reply])
    return out.contradictions


TRUE = (said(0, b"yes"), said(1, b"yes"))
LIE = said(LIAR, b"no")


@pytest.mark.parametrize("replies", [(*TRUE, LIE), (LIE, *TRUE)], ids=["after", "before"])
@pytest.mark.parametrize("repeatable", [False, True])
def test_another_result_in_the_same_place_is_a_proof(replies: tuple[Signed[Reply], ...], repeatable: bool) -> None:
    (contradiction,) = found(*replies, repeatable=repeatable)
    evidence = proof_of(opener(), contradiction)
    assert evidence == Evidence(code="E9", culprit=LIAR, statements=(LIE.wire, *(reply.wire for reply in TRUE)))
    verify_evidence(opener(), evidence)


def test_another_place_proves_nothing_to_others() -> None:
    """Who does not know whether the operation is remembered cannot tell it from one that ran twice."""
    (contradiction,) = found(*TRUE, said(LIAR, b"no", sequence=9))
    assert proof_of(opener(), contradiction) is None
    assert found(*TRUE, said(LIAR, b"no", sequence=9), repeatable=True) == []


def test_a_forgotten_name_is_no_lie() -> None:
    assert found(*TRUE, said(LIAR, b"", sequence=0, refused=True)) == []


def test_who_contradicts_only_itself_is_found_out_and_not_proven() -> None:
    contradictions = found(LIE, said(LIAR, b"maybe"))
    assert [contradiction.replica for contradiction in contradictions] == [LIAR]
    assert [proof_of(opener(), contradiction) for contradiction in contradictions] == [None]


def test_frames_that_are_kept_no_more_prove_nothing() -> None:
    (contradiction,) = found(*TRUE, LIE)
    for accepted in ((), contradiction.accepted[:1]):
        lost = Contradiction(
            replica=LIAR, message_type="REPLY", accepted=accepted, contradicting=contradiction.contradicting
        )
        assert proof_of(opener(), lost) is None


def test_an_answer_proves_nothing() -> None:
    """States differ while operations are executed."""
    answers = []
    for replica, result in ((0, b"yes"), (1, b"yes"), (3, b"no")):
        rules = VotingRules(GROUP, ReplicaId(replica), MEMBERS.signers[replica])
        answer = Answer(device=DEVICE.public_key, query_id=1, sequence=SequenceNumber(5), result=result)
        answers.append(rules.sign_answer(answer).wire)
    contradiction = Contradiction(
        replica=LIAR, message_type="ANSWER", accepted=tuple(answers[:2]), contradicting=answers[2]
    )
    assert proof_of(opener(), contradiction) is None


def test_proofs_against_one_replica_are_bounded() -> None:
    proofs = Proofs(opener())
    for number in range(PROOFS_PER_REPLICA_MAX + 3):
        for contradiction in found(*TRUE, said(LIAR, b"no %d" % number)):
            proofs.add(contradiction)
    assert len(proofs.kept) == PROOFS_PER_REPLICA_MAX
    (other,) = found(said(1, b"yes"), said(3, b"yes"), said(0, b"no"))
    assert proofs.add(other) is not None
