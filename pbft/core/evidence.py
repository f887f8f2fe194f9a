"""Proofs of misbehaviour: their one encoding, and their verification from the group alone.

What each code is made of, frames as they were received (protocol, section 9):

E1 E2 E3             two PRE-PREPAREs / PREPAREs / COMMITs of one view and sequence, with different digests
E4                   two CHECKPOINTs of one sequence, with different roots
E5                   a COMMIT and a VIEW-CHANGE that hides what was committed to
E6                   two VIEW-CHANGEs to one view, with different bodies
E7                   one VIEW-CHANGE or NEW-VIEW that is invalid in itself; or two NEW-VIEWs of one view
E8                   a PROPOSAL, the batch of which holds a REQUEST that is none
E9                   a REPLY, and f + 1 REPLYs of others that agree on another result in the same place
CLIENT-EQUIVOCATION  two REQUESTs of one device with different operations under one name

E1 to E7 follow from what a correct replica signs, whatever the others do: they hold however many are faulty. E8
leans on the signatures under a proposal, of which one is correct, having looked at its requests, before anybody
proposes it again: it holds while fewer than a quorum are faulty. E9 holds while at most f are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from crypto.canonical import Value, decode, encode, expect_bytes, expect_int, expect_list, expect_text
from crypto.errors import MalformedEncoding
from crypto.merkle import leaf_digest
from crypto.signing import PUBLIC_KEY_BYTES, PublicKey
from pbft.core import bodies
from pbft.core.claims import Claim, check_claims
from pbft.core.codec import STATEMENT_BYTES_MAX, Opener, frame_bytes_max
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.frames import PROPOSAL, batch_digest
from pbft.core.group import Group
from pbft.core.messages import Commit, NewView, OperationResult, Reply, Signed, SignedRequest, ViewChange
from pbft.core.new_view import proposes_what_it_must
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber, View

FORMAT: Final = "quorate-evidence/1"
CLIENT_EQUIVOCATION: Final = "CLIENT-EQUIVOCATION"
REPLICA_CODES: Final = ("E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8", "E9")
CODES: Final = (*REPLICA_CODES, CLIENT_EQUIVOCATION)

CODE_OF_TWO: Final = {
    bodies.PRE_PREPARE: "E1",
    bodies.PREPARE: "E2",
    bodies.COMMIT: "E3",
    bodies.CHECKPOINT: "E4",
    bodies.VIEW_CHANGE: "E6",
    bodies.NEW_VIEW: "E7",
}
"""What two different statements of one type about one place prove."""

Place = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a VIEW-CHANGE shows: the view in which each sequence number above its checkpoint was last prepared."""

    view: View
    stable: SequenceNumber
    prepared: Mapping[SequenceNumber, View]


def shown_by(change: ViewChange) -> Shown:
    """All that `hides` has to know of a VIEW-CHANGE."""
    votes = (held.pre_prepare.message for held in change.prepared)
    prepared = {vote.sequence: vote.view for vote in votes}
    return Shown(view=change.view, stable=change.stable_checkpoint, prepared=prepared)


def hides(shown: Shown, view: View, sequence: SequenceNumber) -> bool:
    """Whether a VIEW-CHANGE keeps silent of what its sender committed to in a view: E5.

    Who commits is prepared, and shows the certificate, or one of a later view, until the sequence number is stable.
    """
    return view < shown.view and sequence > shown.stable and shown.prepared.get(sequence, -1) < view


class InvalidEvidence(ProtocolViolation):
    """Bytes that are no evidence, or statements that do not prove what they are said to: nobody is accused."""


# -- encoding ----------------------------------------------------------------------------------------------------


def evidence_bytes_max(group: Group) -> int:
    """Of any encoded proof of this group: two of the longest frames, or the REPLYs of f + 2 replicas."""
    replies = (group.faulty_max + 2) * (STATEMENT_BYTES_MAX + 64 * 1024)
    return max(2 * frame_bytes_max(group), replies) + 1024


def encode_evidence(group: Group, evidence: Evidence) -> bytes:
    """As canonical CBOR: [FORMAT, group id, code, culprit, [statement, ...]]."""
    return encode([FORMAT, group.group_id, evidence.code, evidence.culprit, list(evidence.statements)])


def decode_evidence(group: Group, data: bytes) -> Evidence:
    """Well-formed and of this group, but not verified. Raises InvalidEvidence."""
    try:
        form, group_id, code, culprit, statements = expect_list(decode(data, bytes_max=evidence_bytes_max(group)), 5)
        if form != FORMAT:
            raise InvalidEvidence(f"not of the format {FORMAT}")
        if expect_bytes(group_id) != group.group_id:
            raise InvalidEvidence(f"of another group than {group.name!r}")
        known = expect_text(code, bytes_max=32)
        frames = expect_list(statements, length_max=group.faulty_max + 2)
        return Evidence(
            code=known,
            culprit=_culprit(group, known, culprit),
            statements=tuple(expect_bytes(frame) for frame in frames),
        )
    except MalformedEncoding as error:
        raise InvalidEvidence(f"not in the form of evidence: {error}") from error


def _culprit(group: Group, code: str, value: Value) -> ReplicaId | PublicKey:
    if code == CLIENT_EQUIVOCATION:
        return PublicKey(expect_bytes(value, length=PUBLIC_KEY_BYTES))
    if code not in REPLICA_CODES:
        raise InvalidEvidence(f"no code {code[:32]!r} is known")
    return ReplicaId(expect_int(value, maximum=group.size - 1))


# -- verification ------------------------------------------------------------------------------------------------


def verify_evidence(opener: Opener, evidence: Evidence) -> None:
    """Check that the statements prove what the code says of the culprit. Raises InvalidEvidence, with the reason.

    Says the same of the same evidence always and everywhere: nothing but the group and the frames counts.
    """
    verify = _VERIFIERS.get(evidence.code)
    if verify is None:
        raise InvalidEvidence(f"no code {evidence.code[:32]!r} is known")
    try:
        verify(opener, evidence)
    except InvalidEvidence:
        raise
    except ProtocolViolation as error:
        raise InvalidEvidence(f"a statement does not open: {error}") from error
    except MalformedEncoding as error:
        raise InvalidEvidence(f"a statement is malformed: {error}") from error


def _statements(evidence: Evidence, count: int) -> tuple[bytes, ...]:
    if len(evidence.statements) != count:
        raise InvalidEvidence(
            f"{evidence.code} takes {count} statement{'s' * (count > 1)}, not {len(evidence.statements)}"
        )
    return evidence.statements


def _by_culprit(evidence: Evidence, signer: ReplicaId) -> None:
    if signer != evidence.culprit:
        raise InvalidEvidence(f"a statement is by replica {signer}, not by {evidence.culprit!r}")


def _body(opener: Opener, evidence: Evidence, frame: bytes, message_type: str) -> bytes:
    """What the culprit signed as a message of this type."""
    envelope = opener.parse_envelope(frame, message_type)
    _by_culprit(evidence, envelope.value.signer)
    check_claims(opener.verifier, envelope.claims)
    return envelope.value.message


def _vote(_opener: Opener, body: bytes) -> tuple[Place, bytes]:
    vote = bodies.decode_commit(body)  # the three kinds of votes have one form
    return (vote.view, vote.sequence), vote.batch_digest


def _checkpoint(_opener: Opener, body: bytes) -> tuple[Place, bytes]:
    checkpoint = bodies.decode_checkpoint(body)
    return (checkpoint.sequence,), checkpoint.state_root


def _view_change(opener: Opener, body: bytes) -> tuple[Place, bytes]:
    view, *_ = bodies.decode_view_change(body, bytes_max=opener.group.view_change_bytes_max)
    return (view,), body


def _new_view(opener: Opener, body: bytes) -> tuple[Place, bytes]:
    view, *_ = bodies.decode_new_view(body, bytes_max=opener.frame_bytes_max)
    return (view,), body


def _two_of(
    message_type: str, read: Callable[[Opener, bytes], tuple[Place, bytes]]
) -> Callable[[Opener, Evidence], None]:
    """Two statements of one type, about one place, that say different things. `read` gives place and contents.

    Contents are compared, not frames: two signatures under one statement are no contradiction.
    """

    def verify(opener: Opener, evidence: Evidence) -> None:
        first, second = (
            read(opener, _body(opener, evidence, frame, message_type)) for frame in _statements(evidence, 2)
        )
        if first[0] != second[0]:
            raise InvalidEvidence(f"the two {message_type}s are about different places: {first[0]} and {second[0]}")
        if first[1] == second[1]:
            raise InvalidEvidence(f"the two {message_type}s say the same")

    return verify


def _verify_hidden(opener: Opener, evidence: Evidence) -> None:
    """E5: after COMMIT(v, n) a replica shows in each VIEW-CHANGE with h < n what it prepared at n in v or above."""
    frames = _statements(evidence, 2)
    commit, change = (opener.parse_peer(frame) for frame in frames)
    match commit.value, change.value:
        case Signed(message=Commit() as vote, signer=first), Signed(message=ViewChange() as asked, signer=second):
            _by_culprit(evidence, first)
            _by_culprit(evidence, second)
        case _:
            raise InvalidEvidence("E5 takes a COMMIT and then a VIEW-CHANGE")
    shown = shown_by(asked)
    if not hides(shown, vote.view, vote.sequence):
        raise InvalidEvidence(_why_not_hidden(shown, vote))
    check_claims(opener.verifier, (*commit.claims, *change.claims))


def _why_not_hidden(shown: Shown, vote: Commit) -> str:
    if shown.view <= vote.view:
        return f"the VIEW-CHANGE is to view {shown.view}, not above the COMMIT's view {vote.view}"
    if shown.stable >= vote.sequence:
        return f"the VIEW-CHANGE stands on checkpoint {shown.stable}, which covers {vote.sequence}"
    return f"the VIEW-CHANGE shows {vote.sequence} as prepared in view {shown.prepared.get(vote.sequence)}"


def _verify_invalid_or_two_new_views(opener: Opener, evidence: Evidence) -> None:
    """E7."""
    if len(evidence.statements) == 2:
        _two_of(bodies.NEW_VIEW, _new_view)(opener, evidence)
        return
    (frame,) = _statements(evidence, 1)
    message_type = expect_list(decode(frame, bytes_max=opener.frame_bytes_max), 5)[0]
    if not isinstance(message_type, str) or message_type not in {bodies.VIEW_CHANGE, bodies.NEW_VIEW}:
        raise InvalidEvidence("E7 takes a VIEW-CHANGE or a NEW-VIEW")
    _body(opener, evidence, frame, message_type)
    if why_invalid(opener, frame) is None:
        raise InvalidEvidence(f"the {message_type} is valid in itself")


def why_invalid(opener: Opener, frame: bytes) -> str | None:
    """What is wrong with a VIEW-CHANGE or NEW-VIEW in itself; None if nothing is."""
    try:
        opened = opener.open_peer(frame)
    except ProtocolViolation as error:
        return str(error)
    match opened:
        case Signed(message=NewView() as new_view) if not proposes_what_it_must(new_view):
            return f"the NEW-VIEW of view {new_view.view} does not propose what its VIEW-CHANGEs ask for"
        case _:
            return None


def _verify_bad_request(opener: Opener, evidence: Evidence) -> None:
    """E8: the digest that the primary signed is that of a batch with something in it that is no valid REQUEST."""
    (frame,) = _statements(evidence, 1)
    kind, header, _ = expect_list(decode(frame, bytes_max=opener.frame_bytes_max), 3)
    if kind != PROPOSAL:
        raise InvalidEvidence("E8 takes a PROPOSAL")
    _body(opener, evidence, expect_bytes(header), bodies.PRE_PREPARE)
    if all(_is_request(opener, wire) for wire in proposed_requests(opener, frame)):
        raise InvalidEvidence("all requests of the proposal are valid")


def proposed_requests(opener: Opener, frame: bytes) -> list[bytes]:
    """What stands for requests in a PROPOSAL, whoever signed it. Raises InvalidEvidence if the PRE-PREPARE does not
    name this batch, or nothing can be made of it."""
    try:
        _, header, batch = expect_list(decode(frame, bytes_max=opener.frame_bytes_max), 3)
        envelope = opener.parse_envelope(expect_bytes(header), bodies.PRE_PREPARE)
        vote = bodies.decode_pre_prepare(envelope.value.message)
        timestamp, requests = expect_list(decode(expect_bytes(batch), bytes_max=opener.frame_bytes_max), 2)
        most = opener.group.parameters.batch_operations_max
        wires = [expect_bytes(wire) for wire in expect_list(requests, length_max=most)]
        time = Milliseconds(expect_int(timestamp))
    except (MalformedEncoding, ProtocolViolation) as error:
        raise InvalidEvidence(f"a statement is malformed: {error}") from error
    if batch_digest(time, (leaf_digest(wire) for wire in wires)) != vote.batch_digest:
        raise InvalidEvidence("the batch is not the one that the PRE-PREPARE names")
    return wires


def _is_request(opener: Opener, wire: bytes) -> bool:
    try:
        return isinstance(opener.open_peer(wire), SignedRequest)
    except ProtocolViolation:
        return False


def _verify_reply(opener: Opener, evidence: Evidence) -> None:
    """E9: one place in one batch holds one operation, and gives it one result.

    Places are compared, not names alone: what the application does not remember may run twice, at different places.
    """
    frames = _statements(evidence, opener.group.honest_minimum + 1)
    opened = [opener.parse_reply(frame) for frame in frames]
    claims: list[Claim] = [claim for each in opened for claim in each.claims]
    replies: list[Reply] = []
    signers: list[ReplicaId] = []
    for each in opened:
        match each.value:
            case Signed(message=Reply() as reply, signer=signer):
                replies.append(reply)
                signers.append(signer)
            case _:
                raise InvalidEvidence("E9 takes REPLYs")
    _by_culprit(evidence, signers[0])
    if len(set(signers)) != len(signers):
        raise InvalidEvidence("a replica stands in the evidence twice")
    if len({(reply.device, reply.session, reply.sequence) for reply in replies}) != 1:
        raise InvalidEvidence("the REPLYs are to different sessions, or about different sequence numbers")
    if replies[0].sequence == 0:
        raise InvalidEvidence("the REPLYs are about no sequence number: the name was forgotten")
    if not any(_is_denied(result, replies[1:]) for result in replies[0].results):
        raise InvalidEvidence("the others' REPLYs do not contradict the first")
    check_claims(opener.verifier, claims)


def _is_denied(result: OperationResult, others: list[Reply]) -> bool:
    """Whether all others agree on another result in its place. A refusal contradicts nothing."""
    place = result.client_sequence, result.index
    told = [_results(reply).get(place) for reply in others]
    return not result.refused and None not in told and len(set(told)) == 1 and result.result not in told


def _results(reply: Reply) -> dict[Place, bytes]:
    return {(each.client_sequence, each.index): each.result for each in reply.results if not each.refused}


def _verify_client(opener: Opener, evidence: Evidence) -> None:
    """Two requests of one device that give one name to different operations."""
    opened = [opener.parse_peer(frame) for frame in _statements(evidence, 2)]
    operations: list[dict[int, bytes]] = []
    sessions = set()
    for each in opened:
        if not isinstance(each.value, SignedRequest):
            raise InvalidEvidence(f"{CLIENT_EQUIVOCATION} takes REQUESTs")
        if each.value.device != evidence.culprit:
            raise InvalidEvidence("a REQUEST is of another device")
        request = each.value.message
        sessions.add(request.session)
        operations.append(dict(enumerate(request.operations, start=request.first_client_sequence)))
    first, second = operations
    if len(sessions) != 1 or all(first[name] == second[name] for name in first.keys() & second.keys()):
        raise InvalidEvidence("the two REQUESTs give no name to different operations")
    check_claims(opener.verifier, [claim for each in opened for claim in each.claims])


_VERIFIERS: Final[dict[str, Callable[[Opener, Evidence], None]]] = {
    "E1": _two_of(bodies.PRE_PREPARE, _vote),
    "E2": _two_of(bodies.PREPARE, _vote),
    "E3": _two_of(bodies.COMMIT, _vote),
    "E4": _two_of(bodies.CHECKPOINT, _checkpoint),
    "E5": _verify_hidden,
    "E6": _two_of(bodies.VIEW_CHANGE, _view_change),
    "E7": _verify_invalid_or_two_new_views,
    "E8": _verify_bad_request,
    "E9": _verify_reply,
    CLIENT_EQUIVOCATION: _verify_client,
}
