"""What replicas signed to a client, checked by anybody else from the group alone: for records to be kept.

A statement says to whom it was made, and what the result is; not what was asked. So a result that is to convince
others must say of itself what it answers. Holds while at most f replicas are faulty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crypto.signing import PublicKey, Verifier
from pbft.client.quorums import Vouchers
from pbft.client.quorums.knowledge import highest_backed
from pbft.core.bodies import ANSWER, REPLY
from pbft.core.codec import Opener
from pbft.core.errors import ProtocolViolation
from pbft.core.group import Group
from pbft.core.messages import Answer, Reply, Signed
from pbft.core.types import ClientSequence, ReplicaId, SequenceNumber

Place = tuple[ClientSequence, int]
"""Name of an operation, index in its batch."""


class UnprovenAnswer(Exception):  # noqa: N818 - named for what it is
    """The statements do not prove one result. `replica`: whose is at fault, where that can be told."""

    def __init__(self, problem: str, replica: ReplicaId | None = None) -> None:
        super().__init__(problem if replica is None else f"replica {replica}: {problem}")
        self.replica = replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """f+1 replicas, or more, signed that `device` was given `result`.

    `ordered`: as of the batch at `sequence`; else a correct one of them had executed so far, or further.
    """

    result: bytes
    sequence: SequenceNumber
    ordered: bool
    device: PublicKey
    replicas: Vouchers


def check_answer(
    group: Group, verifier: Verifier, frames: Sequence[bytes], *, operation: ClientSequence | None = None
) -> Vouched:
    """Check that f+1 different replicas signed one result, in ANSWERs or in REPLYs. Raises UnprovenAnswer.

    `operation`: which result of the REPLYs is meant; None when it is the only one that all of them hold.
    """
    if len(frames) > group.size:
        raise UnprovenAnswer(f"{len(frames)} statements, while the group has {group.size} replicas")
    opener = Opener(group, verifier)
    answers: dict[ReplicaId, Answer] = {}
    replies: dict[ReplicaId, Reply] = {}
    for number, frame in enumerate(frames, 1):
        signed = _opened(opener, number, frame)
        if signed.signer in answers or signed.signer in replies:
            raise UnprovenAnswer("two of the statements are its own: they count as one", signed.signer)
        if isinstance(signed.message, Answer):
            answers[signed.signer] = signed.message
        else:
            replies[signed.signer] = signed.message
    if answers and replies:
        raise UnprovenAnswer(f"its statement is an {ANSWER}, others are {REPLY}s", min(answers))
    if len(frames) < group.honest_minimum:
        raise UnprovenAnswer(f"{len(frames)} replicas signed, {group.honest_minimum} are needed")
    return _same_answers(group, answers) if answers else _same_replies(replies, operation)


def _opened(opener: Opener, number: int, frame: bytes) -> Signed[Answer] | Signed[Reply]:
    try:
        opened = opener.open_reply(frame)
    except ProtocolViolation as error:
        whose = _claimed_signer(opener, frame)
        text = "its statement" if whose is not None else f"statement {number}"
        raise UnprovenAnswer(f"{text} was changed, or is of another group: {error}", whose) from error
    match opened:
        case Signed(message=Answer()) | Signed(message=Reply()):
            return opened  # type: ignore[return-value]  # a pattern does not narrow what contains the message
        case _:
            raise UnprovenAnswer(f"its statement is neither an {ANSWER} nor a {REPLY}", opened.signer)


def _claimed_signer(opener: Opener, frame: bytes) -> ReplicaId | None:
    """Who seems to have signed a frame that does not open; None if nothing can be made of it."""
    for kind in (ANSWER, REPLY):
        try:
            return opener.parse_envelope(frame, kind).value.signer
        except ProtocolViolation:
            continue
    return None


def _same_answers(group: Group, answers: dict[ReplicaId, Answer]) -> Vouched:
    first, *others = sorted(answers)
    said = answers[first]
    for replica in others:
        other = answers[replica]
        if (other.device, other.query_id) != (said.device, said.query_id):
            raise UnprovenAnswer(f"it answers another question than replica {first}", replica)
        if other.result != said.result:
            raise UnprovenAnswer(f"it gives another result than replica {first}", replica)
    sequence = highest_backed((answer.sequence for answer in answers.values()), group.honest_minimum)
    return Vouched(
        result=said.result,
        sequence=sequence or SequenceNumber(0),
        ordered=False,
        device=said.device,
        replicas=(first, *others),
    )


def _same_replies(replies: dict[ReplicaId, Reply], operation: ClientSequence | None) -> Vouched:
    first, *others = sorted(replies)
    said = replies[first]
    for replica in others:
        other = replies[replica]
        if (other.device, other.session, other.sequence) != (said.device, said.session, said.sequence):
            raise UnprovenAnswer(
                f"it replies to another session, or about another batch, than replica {first}", replica
            )
    results = {replica: _results(reply) for replica, reply in replies.items()}
    place = _place(results, operation)
    result = results[first][place]
    for replica in others:
        if results[replica][place] != result:
            raise UnprovenAnswer(f"it gives another result than replica {first}", replica)
    return Vouched(result=result, sequence=said.sequence, ordered=True, device=said.device, replicas=(first, *others))


def _results(reply: Reply) -> dict[Place, bytes]:
    return {(each.client_sequence, each.index): each.result for each in reply.results if not each.refused}


def _place(results: dict[ReplicaId, dict[Place, bytes]], operation: ClientSequence | None) -> Place:
    """The operation that all REPLYs are about."""
    first, *others = results
    meant = [place for place in results[first] if operation is None or place[0] == operation]
    shared = [place for place in meant if all(place in results[other] for other in others)]
    if len(shared) == 1:
        return shared[0]
    which = "one operation" if operation is None else f"operation {operation}"
    if shared:
        raise UnprovenAnswer(f"the {REPLY}s give results of {len(shared)} operations: say which is meant")
    for replica, held in results.items():
        if not any(place in held for place in meant):
            raise UnprovenAnswer(f"its {REPLY} gives no result of {which} in the place where others do", replica)
    raise UnprovenAnswer(f"the {REPLY}s give no result of {which} in one place")
