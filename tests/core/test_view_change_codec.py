"""VIEW-CHANGE and NEW-VIEW frames: every way to be invalid by itself, sizes, and what need not be checked twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

from crypto.canonical import Value, decode, encode
from crypto.signing import Domain, PublicKey, Signature, Verifier
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.errors import InvalidCertificate, InvalidMessageSignature, MalformedMessage, ProtocolViolation
from pbft.core.frames import encode_signed
from pbft.core.group import NEW_VIEW_BYTES_MAX
from pbft.core.messages import CheckpointCertificate, NewView, PreparedCertificate, Signed, ViewChange
from pbft.core.types import ReplicaId
from tests.harness.craft import Craft, digest
from tests.harness.keys import Members, make_group

K = 4
MEMBERS = make_group(4, checkpoint_interval=K, pipeline_depth=1)
GROUP, CRAFT = MEMBERS.group, Craft(MEMBERS)
X, Y = digest("x"), digest("y")
STABLE = CRAFT.checkpoint_certificate(K, digest("r"), (0, 1, 2))
ONE, TWO = CRAFT.prepared(1, X, (1, 2)), CRAFT.prepared(2, Y, (1, 3))
LATER = CRAFT.prepared(K + 1, X, (0, 2), view=1)


class CountingVerifier:
    """Counts what it is asked."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self.asked = 0

    def verify(self, public_key: PublicKey, domain: Domain, body: bytes, signature: Signature) -> None:
        self.asked += 1
        self._verifier.verify(public_key, domain, body, signature)


def opener() -> Opener:
    return Opener(GROUP, MEMBERS.verifier)


GOOD: dict[str, Signed[ViewChange] | Signed[NewView]] = {
    "nothing to show": CRAFT.view_change(3, 1),
    "prepared": CRAFT.view_change(3, 1, ONE, TWO),
    "with a gap": CRAFT.view_change(3, 5, ONE, CRAFT.prepared(2 * K, X, (0, 1), view=3)),
    "checkpoint": CRAFT.view_change(3, 2, checkpoint=STABLE),
    "checkpoint and prepared": CRAFT.view_change(3, 2, LATER, checkpoint=STABLE),
    "to the highest view": CRAFT.view_change(3, 2**63 - 1, ONE),
    "new view of nothing": CRAFT.new_view(1, [CRAFT.view_change(signer, 1) for signer in (0, 1, 2)]),
    "new view": CRAFT.new_view(
        2, [CRAFT.view_change(0, 2, ONE), CRAFT.view_change(2, 2), CRAFT.view_change(3, 2, TWO)]
    ),
    "new view above a checkpoint": CRAFT.new_view(
        2, [CRAFT.view_change(0, 2, LATER, checkpoint=STABLE), CRAFT.view_change(1, 2, ONE), CRAFT.view_change(3, 2)]
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_valid_one_opens_to_itself(name: str) -> None:
    assert opener().open_peer(GOOD[name].wire) == GOOD[name]


# -- each way to be invalid


def _with(certificate: PreparedCertificate | CheckpointCertificate, position: int, value: Value) -> bytes:
    fields = decode(certificate.wire, bytes_max=2**20)
    assert isinstance(fields, list)
    return encode([*fields[:position], value, *fields[position + 1 :]])


def raw_change(view: int, stable: int, checkpoint: bytes | None, prepared: list[Value], *, signer: int = 3) -> bytes:
    """Signed as it should be, whatever it holds."""
    body = encode([view, stable, checkpoint, prepared])
    signature = MEMBERS.signers[signer].sign(GROUP.domain(bodies.VIEW_CHANGE), body)
    return encode_signed(bodies.VIEW_CHANGE, GROUP.epoch, signer, body, signature)


def raw_new_view(view: int, changes: list[Value], proposals: list[Value], *, signer: int | None = None) -> bytes:
    by = view % 4 if signer is None else signer
    body = encode([view, changes, proposals])
    signature = MEMBERS.signers[by].sign(GROUP.domain(bodies.NEW_VIEW), body)
    return encode_signed(bodies.NEW_VIEW, GROUP.epoch, by, body, signature)


def forged(signed: Signed[Any]) -> bytes:
    return signed.wire[:-1] + bytes([signed.wire[-1] ^ 1])


FORGED_PREPARED = ONE.wire[:-1] + bytes([ONE.wire[-1] ^ 1])
FORGED_STABLE = STABLE.wire[:-1] + bytes([STABLE.wire[-1] ^ 1])


@dataclass(frozen=True)
class Bad:
    what: str
    frame: bytes
    error: type[ProtocolViolation]
    words: str


FORM, PLACE, SIGNATURE = MalformedMessage, InvalidCertificate, InvalidMessageSignature

BAD_CHANGES = (
    Bad("to view 0", raw_change(0, 0, None, []), FORM, "from 1"),
    Bad("to a view below 0", raw_change(-1, 0, None, []), FORM, "integer"),
    Bad("to a view over 63 bits", raw_change(2**63, 0, None, []), FORM, "integer"),
    Bad("checkpoint claimed, none shown", raw_change(1, K, None, []), PLACE, "another checkpoint"),
    Bad("checkpoint shown, none claimed", raw_change(1, 0, STABLE.wire, []), PLACE, "another checkpoint"),
    Bad("lower checkpoint shown", raw_change(1, 2 * K, STABLE.wire, []), PLACE, "another checkpoint"),
    Bad(
        "certificate of no checkpoint",
        CRAFT.view_change(3, 1, checkpoint=CRAFT.checkpoint_certificate(K + 1, digest("r"), (0, 1, 2))).wire,
        PLACE,
        "another checkpoint",
    ),
    Bad(
        "checkpoint of too few",
        CRAFT.view_change(3, 1, checkpoint=CRAFT.checkpoint_certificate(K, digest("r"), (0, 1))).wire,
        PLACE,
        "2 signers",
    ),
    Bad("forged checkpoint", raw_change(1, K, FORGED_STABLE, []), SIGNATURE, "does not verify"),
    Bad(
        "commits for a checkpoint",
        raw_change(1, K, CRAFT.commit_certificate(K, X, (0, 1, 2)).wire, []),
        FORM,
        "expected a CHECKPOINT-CERTIFICATE",
    ),
    Bad("empty checkpoint", raw_change(1, K, b"", []), FORM, "CBOR|bytes|empty|end"),
    Bad("checkpoint of another epoch", raw_change(1, K, _with(STABLE, 1, 1), []), FORM, "epoch"),
    Bad("forged prepared certificate", raw_change(1, 0, None, [FORGED_PREPARED]), SIGNATURE, "verify"),
    Bad("one forged among good ones", raw_change(1, 0, None, [FORGED_PREPARED, TWO.wire]), SIGNATURE, "verify"),
    Bad("prepared of too few", CRAFT.view_change(3, 1, CRAFT.prepared(1, X, (1,))).wire, PLACE, "1 signers"),
    Bad("prepared by its primary", CRAFT.view_change(3, 1, CRAFT.prepared(1, X, (0, 1))).wire, PLACE, "stand"),
    Bad("one signer twice", CRAFT.view_change(3, 1, CRAFT.prepared(1, X, (1, 1))).wire, PLACE, "once each"),
    Bad("prepared of another epoch", raw_change(1, 0, None, [_with(ONE, 1, 1)]), FORM, "epoch"),
    Bad(
        "prepared by a stranger",
        raw_change(1, 0, None, [_with(ONE, 3, [[1, bytes(64)], [4, bytes(64)]])]),
        SIGNATURE,
        "no member",
    ),
    Bad(
        "prepared in the view asked for",
        CRAFT.view_change(3, 1, CRAFT.prepared(1, X, (0, 2), view=1)).wire,
        PLACE,
        "out of place",
    ),
    Bad(
        "prepared in a later view",
        CRAFT.view_change(3, 1, CRAFT.prepared(1, X, (0, 1), view=2)).wire,
        PLACE,
        "out of place",
    ),
    Bad("one place twice", CRAFT.view_change(3, 1, ONE, ONE).wire, PLACE, "out of place"),
    Bad("in the wrong order", CRAFT.view_change(3, 1, TWO, ONE).wire, PLACE, "out of place"),
    Bad("below its checkpoint", CRAFT.view_change(3, 1, ONE, checkpoint=STABLE).wire, PLACE, "out of place"),
    Bad(
        "at its checkpoint",
        CRAFT.view_change(3, 1, CRAFT.prepared(K, X, (1, 2)), checkpoint=STABLE).wire,
        PLACE,
        "out of place",
    ),
    Bad(
        "above its window", CRAFT.view_change(3, 1, CRAFT.prepared(2 * K + 1, X, (1, 2))).wire, PLACE, "out of place"
    ),
    Bad(
        "commits for prepared",
        raw_change(1, 0, None, [CRAFT.commit_certificate(1, X, (0, 1, 2)).wire]),
        FORM,
        "expected a PREPARED",
    ),
    Bad("a list of nothing for prepared", raw_change(1, 0, None, [encode([])]), FORM, "expected a PREPARED"),
    Bad("a number for a frame", raw_change(1, 0, None, [7]), FORM, "byte string"),
    Bad("forged itself", forged(CRAFT.view_change(3, 1)), SIGNATURE, "does not verify"),
    Bad("over its cap", raw_change(1, 0, None, [bytes(GROUP.view_change_bytes_max)]), FORM, "more than"),
)

QUORUM = [CRAFT.view_change(signer, 1) for signer in (0, 1, 2)]
WIRES: list[Value] = [change.wire for change in QUORUM]


def proposal(sequence: int = 1, signer: int = 1, view: int = 1) -> bytes:
    return CRAFT.pre_prepare(signer, sequence, X, view=view).wire


BAD_NEW_VIEWS = (
    Bad("of view 0", raw_new_view(0, WIRES, []), FORM, "from 1"),
    Bad("by another than its primary", CRAFT.new_view(1, QUORUM, signer=2).wire, PLACE, "not its primary"),
    Bad("on too few", CRAFT.new_view(1, QUORUM[:2]).wire, PLACE, "3 replicas"),
    Bad("on nothing", CRAFT.new_view(1, []).wire, PLACE, "3 replicas"),
    Bad("on too many", CRAFT.new_view(1, [*QUORUM, CRAFT.view_change(3, 1)]).wire, PLACE, "3 replicas"),
    Bad("on one of them twice", CRAFT.new_view(1, [*QUORUM[:2], QUORUM[1]]).wire, PLACE, "in order"),
    Bad("in another order", CRAFT.new_view(1, QUORUM[::-1]).wire, PLACE, "in order"),
    Bad(
        "on one for another view",
        CRAFT.new_view(1, [*QUORUM[:2], CRAFT.view_change(2, 2)]).wire,
        PLACE,
        "another view",
    ),
    Bad("on one that is forged", raw_new_view(1, [*WIRES[:2], forged(QUORUM[2])], []), SIGNATURE, "verify"),
    Bad(
        "on one that is invalid by itself",
        CRAFT.new_view(1, [*QUORUM[:2], CRAFT.view_change(2, 1, TWO, ONE)], []).wire,
        PLACE,
        "out of place",
    ),
    Bad(
        "on one that holds a forged certificate",
        raw_new_view(1, [*WIRES[:2], raw_change(1, 0, None, [FORGED_PREPARED], signer=2)], []),
        SIGNATURE,
        "verify",
    ),
    Bad(
        "on something else",
        raw_new_view(1, [*WIRES[:2], CRAFT.prepare(2, 1, X).wire], []),
        FORM,
        "expected a VIEW-CHANGE",
    ),
    Bad("proposing for another view", raw_new_view(1, WIRES, [proposal(view=5)]), PLACE, "another view"),
    Bad("proposing for another replica", raw_new_view(1, WIRES, [proposal(signer=2)]), PLACE, "or replica"),
    Bad(
        "proposing with a forged header",
        raw_new_view(1, WIRES, [forged(CRAFT.pre_prepare(1, 1, X, view=1))]),
        SIGNATURE,
        "verify",
    ),
    Bad(
        "proposing with something else",
        raw_new_view(1, WIRES, [CRAFT.prepare(1, 1, X, view=1).wire]),
        FORM,
        "expected a PRE-PREPARE",
    ),
    Bad("proposing a number", raw_new_view(1, WIRES, [1]), FORM, "byte string"),
    Bad("forged itself", forged(CRAFT.new_view(1, QUORUM)), SIGNATURE, "verify"),
    Bad("over the cap of a frame", raw_new_view(1, [bytes(2**22)], []), FORM, "more than"),
)


@pytest.mark.parametrize("case", [*BAD_CHANGES, *BAD_NEW_VIEWS], ids=lambda case: case.what)
def test_what_is_invalid_by_itself_is_refused(case: Bad) -> None:
    with pytest.raises(case.error, match=case.words):
        opener().open_peer(case.frame)


@pytest.mark.parametrize("name", GOOD)
def test_no_byte_of_it_can_be_changed(name: str) -> None:
    """Also not by a replica that has opened the right one before."""
    random = Random(name)  # noqa: S311 - positions, not a secret
    frame, strict = GOOD[name].wire, opener()
    strict.open_peer(frame)
    for _ in range(300):
        at = random.randrange(len(frame))
        changed = frame[:at] + bytes([frame[at] ^ 1 << random.randrange(8)]) + frame[at + 1 :]
        with pytest.raises(ProtocolViolation):
            strict.open_peer(changed)
        with pytest.raises(ProtocolViolation):
            strict.open_peer(frame[:at])
    with pytest.raises(ProtocolViolation):
        strict.open_peer(frame + b"\x00")


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"name": "other"}], ids=str)
def test_pitfall_11_one_of_another_group_or_epoch_is_refused(other: dict[str, Any]) -> None:
    foreign = make_group(4, checkpoint_interval=K, pipeline_depth=1, **other)
    strict = Opener(replace(foreign.group, members=GROUP.members), MEMBERS.verifier)
    for signed in GOOD.values():
        with pytest.raises(ProtocolViolation):
            strict.open_peer(signed.wire)


# -- sizes


def full_change(members: Members, signer: int, view: int, spoil: Callable[[int], int] = int) -> Signed[ViewChange]:
    """A certificate for every sequence number of the window, with the largest numbers there are."""
    craft, group = Craft(members), members.group
    interval, window = group.parameters.checkpoint_interval, group.parameters.window
    stable = (2**62 // interval) * interval
    everybody = tuple(group.replicas)
    before = view - group.size
    primary = group.primary(before)  # type: ignore[arg-type]
    backups = [replica for replica in everybody if replica != primary]
    held = [
        craft.prepared(stable + place, digest(f"{spoil(place)}"), backups[-(group.quorum - 1) :], view=before)
        for place in range(1, window + 1)
    ]
    return craft.view_change(
        signer, view, *held, checkpoint=craft.checkpoint_certificate(stable, digest("r"), everybody)
    )


@pytest.mark.parametrize(("n", "interval"), [(4, 2), (4, 128), (7, 128), (13, 128), (61, 4)], ids=str)
def test_a_full_view_change_and_a_full_new_view_open(n: int, interval: int) -> None:
    """A window of certificates from each of a quorum, and all proposed again; the certificate of the checkpoint,
    which comes from peers, holds all their signatures."""
    members = make_group(n, checkpoint_interval=interval, pipeline_depth=1)
    group, craft = members.group, Craft(members)
    view = (2**62 // n) * n
    one = full_change(members, 0, view)
    assert len(one.wire) <= group.view_change_bytes_max
    changes = [craft.view_change(s, view, *one.message.prepared, checkpoint=one.message.checkpoint)
               for s in range(group.quorum)]  # fmt: skip
    new_view = craft.new_view(view, changes)
    assert len(new_view.message.pre_prepares) == group.parameters.window
    strict = Opener(group, members.verifier)
    assert len(new_view.wire) <= group.new_view_bytes_max <= strict.frame_bytes_max <= NEW_VIEW_BYTES_MAX + 2**17
    assert strict.open_peer(new_view.wire) == new_view


# -- what was checked once


def test_a_statement_that_was_checked_is_not_checked_again() -> None:
    counting = CountingVerifier(MEMBERS.verifier)
    strict = Opener(GROUP, counting)

    def cost(frame: bytes) -> int:
        before = counting.asked
        strict.open_peer(frame)
        return counting.asked - before

    assert cost(CRAFT.prepare(1, 1, X).wire) == 1
    assert cost(CRAFT.checkpoint(0, K, digest("r")).wire) == 1
    first = CRAFT.view_change(0, 2, ONE, TWO)
    assert cost(first.wire) == 1 + 6 - 1, "its own, and six votes of which one came before"
    assert cost(CRAFT.view_change(2, 2, ONE, TWO).wire) == 1
    third = CRAFT.view_change(3, 2, LATER, checkpoint=STABLE)
    assert cost(third.wire) == 1 + 3 + 2
    new_view = CRAFT.new_view(2, [first, CRAFT.view_change(2, 2, ONE, TWO), third])
    assert len(new_view.message.pre_prepares) == 1
    assert cost(new_view.wire) == 1 + 1, "itself and what it proposes"
    assert cost(first.wire) == 0


def test_a_new_view_at_full_size_made_of_view_changes_seen_before_costs_only_what_is_new() -> None:
    members = make_group(13, checkpoint_interval=32)
    counting = CountingVerifier(members.verifier)
    strict, craft = Opener(members.group, counting), Craft(members)
    view = 2**62 // 13 * 13
    one = full_change(members, 0, view).message
    changes = [craft.view_change(s, view, *one.prepared, checkpoint=one.checkpoint) for s in range(9)]
    for each in changes:
        strict.open_peer(each.wire)
    counting.asked = 0
    strict.open_peer(craft.new_view(view, changes).wire)
    assert counting.asked == 1 + members.group.parameters.window


def test_a_statement_whose_signature_is_another_is_checked_again() -> None:
    """It is known by its signature, too: else a forged one would come in on the back of the right one."""
    strict = opener()
    strict.open_peer(CRAFT.prepare(1, 1, X).wire)
    strict.open_peer(CRAFT.prepare(2, 1, X).wire)
    with pytest.raises(InvalidMessageSignature):
        strict.open_peer(raw_change(1, 0, None, [FORGED_PREPARED]))


def test_what_did_not_verify_is_not_taken_for_checked_the_second_time() -> None:
    strict = opener()
    frame = raw_change(1, 0, None, [FORGED_PREPARED])
    for _ in range(2):
        with pytest.raises(InvalidMessageSignature):
            strict.open_peer(frame)
    parsed = strict.parse_peer(frame)
    assert len(parsed.claims) == len(strict.parse_peer(frame).claims) == 4, "parsing alone makes nothing known"


def test_the_memory_of_what_was_checked_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbft.core.claims.STATEMENTS_MAX", 2)
    strict = opener()
    for signer in (1, 2, 3):
        strict.open_peer(CRAFT.prepare(signer, 1, X).wire)
    held = CRAFT.view_change(3, 1, CRAFT.prepared(1, X, (1, 2, 3)))
    assert len(strict.parse_peer(held.wire).claims) == 2 + 1, "itself, the PRE-PREPARE, and the oldest PREPARE"


def test_a_signer_is_who_signed() -> None:
    opened = opener().open_peer(CRAFT.view_change(2, 1).wire)
    assert isinstance(opened, Signed)
    assert opened.signer == ReplicaId(2)
    fields = decode(CRAFT.view_change(2, 1).wire, bytes_max=2**20)
    assert isinstance(fields, list)
    with pytest.raises(InvalidMessageSignature):
        opener().open_peer(encode([*fields[:2], 3, *fields[3:]]))
