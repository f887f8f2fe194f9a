"""What a proof shows, in words for people who know the chat and not its protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crypto.canonical import decode, expect_bytes, expect_list
from crypto.digest import digest_of
from crypto.errors import MalformedEncoding
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.effects import Evidence
from pbft.core.errors import ProtocolViolation
from pbft.core.evidence import CLIENT_EQUIVOCATION, why_invalid
from pbft.core.frames import PROPOSAL
from pbft.core.messages import Reply, Signed, SignedRequest

SHOWN_MAX = 8
"""Of a list inside a statement."""

TITLES = {
    "E1": "proposed two different batches for one place in the history",
    "E2": "accepted two different batches for one place in the history",
    "E3": "vouched for two different batches at one place in the history",
    "E4": "vouched for two different states of the chat at one place in the history",
    "E5": "hid a batch that it had vouched for when another primary took over",
    "E6": "asked for one change of the primary in two different ways",
    "E7": "signed an invalid change of the primary",
    "E8": "proposed a message that its author never signed",
    "E9": "told a client another result than the one that the others agree on",
    CLIENT_EQUIVOCATION: "signed two different operations under one number",
}

REASONS = {
    "E1": (
        "The primary numbers what the chat does: one batch of messages for each place. Whoever signs two for one "
        "place shows one history to some replicas and another to the rest. A correct primary stores the number "
        "that it gave before it sends anything, and never gives it again in the same view."
    ),
    "E2": (
        "A replica accepts the first batch that the primary proposes for a place, and says so once. Accepting a "
        "second one could let both be taken for agreed. A correct replica stores its vote before it sends it, and "
        "a restart sends the same one again."
    ),
    "E3": (
        "This vote is the last step before a batch is executed. Two different ones for one place, in one view, "
        "help two histories into being. A correct replica votes once for a place in a view, and stores the vote "
        "first."
    ),
    "E4": (
        "At every checkpoint a replica signs the fingerprint of its whole state, once. Correct replicas have "
        "executed the same history, and have the same fingerprint. Signing two lets two states be certified."
    ),
    "E5": (
        "When the primary is replaced, every replica must show what may have been agreed in earlier views, so "
        "that it survives. This one had signed that it was ready to execute a batch, and then signed a list from "
        "which the batch is missing. A correct replica keeps the proof of such a batch on its disk until a "
        "checkpoint covers it."
    ),
    "E6": (
        "A replica asks for a view once, and sends the same bytes again if need be. Two different lists, for "
        "different listeners, let the histories that they continue come apart."
    ),
    "E7": (
        "The list that goes with a change of the primary consists of certificates that everybody can check. A "
        "correct replica checks what it includes, computes what follows from it, and signs nothing else, nor two "
        "for one view."
    ),
    "E8": (
        "Every message carries its author's signature, and a primary checks it before it proposes the message. It "
        "signed a batch with one in it that bears no valid signature. This holds as long as fewer than a quorum "
        "of the replicas are faulty: a later primary proposes again what a quorum accepted."
    ),
    "E9": (
        "All correct replicas execute the same history and give the same results. More replicas than may be "
        "faulty signed another result for this operation, so one correct one did. This holds as long as no more "
        "replicas are faulty than the group bears; a replica whose stored state rotted gives wrong results, too."
    ),
    CLIENT_EQUIVOCATION: (
        "A client numbers its operations, so that each is executed once however often it is sent. Two under one "
        "number would be executed by whoever got which first. The first one that is ordered counts. Only who "
        "holds the device's key can have signed them."
    ),
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """`said`: what each statement says, in order. `why`: why nobody correct signs that."""

    title: str
    said: tuple[str, ...]
    why: str


def culprit_name(evidence: Evidence) -> str:
    if isinstance(evidence.culprit, int):
        return f"replica {evidence.culprit}"
    return f"device {evidence.culprit.hex()[:16]}"


def explain(opener: Opener, evidence: Evidence) -> Explanation:
    """Says nothing about whether the proof holds: verify it first."""
    said = tuple(_statement(opener, frame) for frame in evidence.statements)
    if evidence.code == "E7" and len(evidence.statements) == 1:
        said = (*said, f"It is invalid: {why_invalid(opener, evidence.statements[0])}.")
    title = f"{culprit_name(evidence)} {TITLES[evidence.code]}"
    return Explanation(title=title, said=said, why=REASONS[evidence.code])


def _short(data: bytes) -> str:
    return data.hex()[:12]


def _statement(opener: Opener, frame: bytes) -> str:
    """One statement in one line; of one that does not open, no more than its length."""
    try:
        kind = expect_list(decode(frame, bytes_max=opener.frame_bytes_max))[0]
        describe = _DESCRIBED.get(kind) if isinstance(kind, str) else None
        if describe is not None:
            return describe(opener, frame)
    except (ProtocolViolation, MalformedEncoding, IndexError):
        pass
    return f"a statement of {len(frame)} bytes that does not open"


def _vote(kind: str, says: str) -> Callable[[Opener, bytes], str]:
    def describe(opener: Opener, frame: bytes) -> str:
        envelope = opener.parse_envelope(frame, kind).value
        vote = bodies.decode_commit(envelope.message)  # the three kinds of votes have one form
        return (
            f"{kind} of replica {envelope.signer} in view {vote.view}, whose primary is replica "
            f"{opener.group.primary(vote.view)}: {says} batch {_short(vote.batch_digest)} as number {vote.sequence}"
        )

    return describe


def _checkpoint(opener: Opener, frame: bytes) -> str:
    envelope = opener.parse_envelope(frame, bodies.CHECKPOINT).value
    said = bodies.decode_checkpoint(envelope.message)
    root = _short(said.state_root)
    return f"CHECKPOINT of replica {envelope.signer}: the state after number {said.sequence} is {root}"


def _view_change(opener: Opener, frame: bytes) -> str:
    envelope = opener.parse_envelope(frame, bodies.VIEW_CHANGE).value
    about = f"VIEW-CHANGE {_short(digest_of(envelope.message))} of replica {envelope.signer}"
    try:
        view, stable, _, parts = bodies.decode_view_change(
            envelope.message, bytes_max=opener.group.view_change_bytes_max
        )
    except MalformedEncoding:
        return f"{about}: does not open"
    return f"{about} to view {view}: stands on checkpoint {stable}, and shows above it {_shown(opener, parts)}"


def _shown(opener: Opener, parts: list[bytes]) -> str:
    shown = []
    for part in parts[:SHOWN_MAX]:
        try:
            vote = opener.parse_prepared_certificate(part).value.pre_prepare.message
            shown.append(f"number {vote.sequence} of view {vote.view} (batch {_short(vote.batch_digest)})")
        except ProtocolViolation:
            shown.append("something that does not open")
    if len(parts) > SHOWN_MAX:
        shown.append(f"{len(parts) - SHOWN_MAX} more")
    return ", ".join(shown) or "nothing"


def _new_view(opener: Opener, frame: bytes) -> str:
    envelope = opener.parse_envelope(frame, bodies.NEW_VIEW).value
    about = f"NEW-VIEW {_short(digest_of(envelope.message))} of replica {envelope.signer}"
    try:
        view, changes, proposals = bodies.decode_new_view(envelope.message, bytes_max=opener.frame_bytes_max)
    except MalformedEncoding:
        return f"{about}: does not open"
    return f"{about} for view {view}: goes by {len(changes)} VIEW-CHANGEs, proposes {len(proposals)} batches again"


def _proposal(opener: Opener, frame: bytes) -> str:
    _, header, batch = expect_list(decode(frame, bytes_max=opener.frame_bytes_max), 3)
    _, requests = expect_list(decode(expect_bytes(batch), bytes_max=opener.frame_bytes_max), 2)
    bad = [number for number, wire in enumerate(expect_list(requests)) if not _opens(opener, expect_bytes(wire))]
    named = _statement(opener, expect_bytes(header))
    places = ", ".join(map(str, bad[:SHOWN_MAX]))
    return f"{named}; of the batch's {len(expect_list(requests))} requests these bear no valid signature: {places}"


def _opens(opener: Opener, wire: bytes) -> bool:
    try:
        opener.open_client(wire)
    except ProtocolViolation:
        return False
    return True


def _reply(opener: Opener, frame: bytes) -> str:
    match opener.parse_reply(frame).value:
        case Signed(message=Reply() as reply, signer=signer):
            results = [
                f"{each.client_sequence} at place {each.index}: "
                + ("refused" if each.refused else f"result {_short(digest_of(each.result))}")
                for each in reply.results[:SHOWN_MAX]
            ]
            return (
                f"REPLY of replica {signer} to device {_short(reply.device)}, session {reply.session}: executed at "
                f"number {reply.sequence}, operation {'; '.join(results)}"
            )
        case _:
            return f"a statement of {len(frame)} bytes that is no REPLY"


def _request(opener: Opener, frame: bytes) -> str:
    match opener.parse_client(frame).value:
        case SignedRequest(message=request, device=device):
            operations = [
                f"{number} is {_short(digest_of(operation))}"
                for number, operation in enumerate(
                    request.operations[:SHOWN_MAX], start=request.first_client_sequence
                )
            ]
            return f"REQUEST of device {_short(device)}, session {request.session}: {', '.join(operations)}"
        case _:
            return f"a statement of {len(frame)} bytes that is no REQUEST"


_DESCRIBED: Final[dict[str, Callable[[Opener, bytes], str]]] = {
    bodies.PRE_PREPARE: _vote(bodies.PRE_PREPARE, "proposes"),
    bodies.PREPARE: _vote(bodies.PREPARE, "accepts"),
    bodies.COMMIT: _vote(bodies.COMMIT, "is ready to execute"),
    bodies.CHECKPOINT: _checkpoint,
    bodies.VIEW_CHANGE: _view_change,
    bodies.NEW_VIEW: _new_view,
    PROPOSAL: _proposal,
    bodies.REPLY: _reply,
    bodies.REQUEST: _request,
}
