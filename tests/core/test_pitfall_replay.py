"""Signatures are for one group, epoch, type and statement (11); every statement has one encoding (12)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from crypto.canonical import Value, decode, encode
from pbft.core.codec import Opener
from pbft.core.effects import Evidence, IgnoreReason
from pbft.core.errors import MalformedMessage, ProtocolViolation
from pbft.core.evidence import InvalidEvidence, decode_evidence, encode_evidence, verify_evidence, why_invalid
from pbft.core.handshake import decode_client_hello, decode_replica_hello, decode_welcome
from pbft.core.types import Epoch, ReplicaId
from tests.core.corpus import CRAFT, GROUP, MEMBERS, WELCOME, frames
from tests.harness.cluster import Cluster
from tests.harness.craft import Craft, digest
from tests.harness.simnode import Flight

PEER = ("PROPOSAL", "PREPARE", "COMMIT", "CHECKPOINT", "COMMIT-CERTIFICATE", "CHECKPOINT-CERTIFICATE", "REQUEST")
CLIENT = ("REPLY", "ANSWER", "EVENTS", "DIGESTS")
SIGNED = ("PREPARE", "COMMIT", "CHECKPOINT", "PRE-PREPARE", "REPLY", "ANSWER", "EVENTS", "REQUEST")


EVIDENCE = encode_evidence(
    GROUP,
    Evidence(
        code="E2", culprit=ReplicaId(1), statements=tuple(CRAFT.prepare(1, 1, digest(each)).wire for each in "xy")
    ),
)


def fields_of(frame: bytes) -> list[Value]:
    fields = decode(frame, bytes_max=2**20)
    assert isinstance(fields, list)
    return fields


def signed_frame(name: str) -> bytes:
    return CRAFT.pre_prepare(0, 1, digest("x")).wire if name == "PRE-PREPARE" else frames()[name]


def open_as(opener: Opener, frame: bytes) -> object:
    """As whoever would take it: a replica, a client, or the opener of a proposal."""
    for opened in (opener.open_peer, opener.open_client, opener.open_reply):
        try:
            return opened(frame)
        except ProtocolViolation:
            continue
    proposal = encode(["PROPOSAL", frame, CRAFT.batch(CRAFT.request("a")).wire])
    return opener.open_peer(proposal)


def relatives() -> dict[str, Opener]:
    """Groups of the same keys that differ in one thing each."""
    verifier = MEMBERS.verifier
    others = {
        "another nonce": replace(GROUP, nonce=b"other"),
        "another name": replace(GROUP, name="other"),
        "another parameter": replace(GROUP, parameters=replace(GROUP.parameters, client_window=255)),
        "the next epoch": replace(GROUP, epoch=Epoch(1)),
        "one member more": replace(GROUP, members=(*GROUP.members, MEMBERS.device("fifth").public_key)),
    }
    return {what: Opener(group, verifier) for what, group in others.items()}


@pytest.mark.parametrize("what", relatives())
@pytest.mark.parametrize("name", PEER + CLIENT)
def test_pitfall_11_nothing_signed_in_one_group_or_epoch_opens_in_another(name: str, what: str) -> None:
    opener, frame = relatives()[what], frames()[name]
    for opened in (opener.open_peer, opener.open_client, opener.open_reply):
        with pytest.raises(ProtocolViolation):
            opened(frame)
    fields = fields_of(frame)
    if isinstance(fields[1], int):  # the same signature under the other epoch's number
        fields[1] = opener.group.epoch
        for opened in (opener.open_peer, opener.open_client, opener.open_reply):
            with pytest.raises(ProtocolViolation):
                opened(encode(fields))


@pytest.mark.parametrize("what", relatives())
def test_pitfall_11_evidence_of_one_group_or_epoch_proves_nothing_in_another(what: str) -> None:
    verify_evidence(Opener(GROUP, MEMBERS.verifier), decode_evidence(GROUP, EVIDENCE))
    opener = relatives()[what]
    with pytest.raises(InvalidEvidence):
        verify_evidence(opener, decode_evidence(opener.group, EVIDENCE))
    fields = fields_of(EVIDENCE)
    fields[1] = opener.group.group_id
    with pytest.raises(InvalidEvidence):
        verify_evidence(opener, decode_evidence(opener.group, encode(fields)))


@pytest.mark.parametrize("claimed", SIGNED)
@pytest.mark.parametrize("signed", SIGNED)
def test_pitfall_11_no_signature_passes_as_one_over_another_type(signed: str, claimed: str) -> None:
    fields = fields_of(signed_frame(signed))
    if signed == claimed:
        return
    fields[0] = claimed
    if claimed == "REQUEST" or signed == "REQUEST":  # a device's key and a replica's number change places too
        fields[2] = MEMBERS.signers[1].public_key if claimed == "REQUEST" else 1
    with pytest.raises(ProtocolViolation):
        open_as(Opener(GROUP, MEMBERS.verifier), encode(fields))


@pytest.mark.parametrize("name", ["PREPARE", "COMMIT", "CHECKPOINT"])
def test_pitfall_11_no_signature_passes_as_another_member_s(name: str) -> None:
    opener, fields = Opener(GROUP, MEMBERS.verifier), fields_of(frames()[name])
    signer = fields[2]
    for other in range(5):
        if other != signer:
            with pytest.raises(ProtocolViolation):
                opener.open_peer(encode([*fields[:2], other, *fields[3:]]))


@pytest.mark.parametrize("view", [1, 4, 2**62])
def test_pitfall_11_votes_of_another_view_count_in_no_slot(view: int) -> None:
    cluster = Cluster(byzantine=(0, 2, 3))
    craft = Craft(cluster.members)
    proposal = craft.proposal(0, 1, craft.batch(craft.request("a")))
    cluster.inject(0, 1, proposal)
    for voter in (2, 3):
        cluster.inject(voter, 1, craft.prepare(voter, 1, proposal.batch.digest, view=view))
    for voter in (0, 2, 3):
        cluster.inject(voter, 1, craft.commit(voter, 1, proposal.batch.digest, view=view))
    cluster.deliver_all()
    slot = cluster.replicas[ReplicaId(1)].log.get(1)
    assert slot is not None
    assert (slot.prepared, slot.certificate, set(slot.prepares), set(slot.commits)) == (None, None, {1}, set())
    assert cluster.nodes[ReplicaId(1)].ignored == {IgnoreReason.FUTURE_VIEW: 5}


def test_pitfall_11_a_replay_changes_nothing() -> None:
    """All that was ever sent, sent again to everybody over every link."""
    cluster = Cluster(checkpoint_interval=4, pipeline_depth=2)
    said: list[bytes] = []

    def overhear(flight: Flight) -> bool:
        said.append(flight.frame)
        return True

    cluster.on_send = overhear
    for first in range(6):
        cluster.request("a", first=first, ack=first)
        cluster.deliver_all()
    ledgers = {me: len(node.ledger) for me, node in cluster.nodes.items()}
    cluster.on_send = None
    for frame in said:
        for to in range(4):
            cluster.inject((to + 1) % 4, to, frame)
    cluster.deliver_all()
    assert {node.executed for node in cluster.nodes.values()} == {6}
    assert {me: len(node.ledger) for me, node in cluster.nodes.items()} == ledgers
    assert all(not node.evidence for node in cluster.nodes.values())


# -- 12: one encoding


def _long_head(data: bytes) -> bytes:
    return bytes([0x98, data[0] & 0x1F]) + data[1:]


def _indefinite(data: bytes) -> bytes:
    return b"\x9f" + data[1:] + b"\xff"


def _long_epoch(data: bytes) -> bytes:
    """The first zero byte after the type is the epoch: 0x00 becomes 0x18 0x00."""
    position = data.index(0, 2)
    return data[:position] + b"\x18\x00" + data[position + 1 :]


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "a byte behind": lambda data: data + b"\x00",
    "a value behind": lambda data: data + data,
    "a long head": _long_head,
    "an indefinite list": _indefinite,
    "a tag": lambda data: b"\xd9\xd9\xf7" + data,
    "a list around": lambda data: b"\x81" + data,
    "a long integer": _long_epoch,
}


def _is_good(opener: Opener, frame: bytes) -> None:
    why = why_invalid(opener, frame)
    if why is not None:
        raise MalformedMessage(why)


DECODERS: dict[str, Callable[[Opener, bytes], object]] = {
    "a replica's frame": Opener.open_peer,
    "a client's frame": Opener.open_client,
    "a frame for a client": Opener.open_reply,
    "a prepared certificate": Opener.parse_prepared_certificate,
    "a batch": Opener.parse_batch,
    "an envelope": lambda opener, frame: opener.parse_envelope(frame, "VIEW-CHANGE"),
    "evidence": lambda _, frame: decode_evidence(GROUP, frame),
    "why a frame is invalid": _is_good,
    "a replica's hello": lambda _, frame: decode_replica_hello(GROUP, frame),
    "a welcome": lambda _, frame: decode_welcome(GROUP, frame),
    "a client's hello": lambda _, frame: decode_client_hello(GROUP, MEMBERS.verifier, WELCOME, frame),
}


EVERYTHING = {
    **{name: frame for name, frame in frames().items() if frame},
    "VIEW-CHANGE": CRAFT.view_change(1, 1).wire,
    "a file of evidence": EVIDENCE,
    "a batch": CRAFT.batch(CRAFT.request("a")).wire,
}
SPELLINGS = [
    (name, form) for name, frame in EVERYTHING.items() for form in FORMS if form != "a long integer" or 0 in frame[2:]
]


@pytest.mark.parametrize(("name", "form"), SPELLINGS)
def test_pitfall_12_no_decoder_takes_another_encoding(name: str, form: str) -> None:
    """Whatever reads bytes from outside, from a disk or from a proof says the same of them."""
    frame = FORMS[form](EVERYTHING[name])
    for decoder in DECODERS.values():
        with pytest.raises(ProtocolViolation):
            decoder(Opener(GROUP, MEMBERS.verifier), frame)


def test_the_decoders_take_what_they_are_for() -> None:
    taken = set()
    for what, decoder in DECODERS.items():
        for name, frame in EVERYTHING.items():
            try:
                decoder(Opener(GROUP, MEMBERS.verifier), frame)
            except ProtocolViolation:
                continue
            taken.add((what, name))
    assert {what for what, _ in taken} == set(DECODERS)


BODY_FORMS = {form: change for form, change in FORMS.items() if form != "a long integer"}


@pytest.mark.parametrize("form", BODY_FORMS)
@pytest.mark.parametrize("name", ["PREPARE", "COMMIT", "CHECKPOINT", "REPLY", "ANSWER", "EVENTS"])
def test_pitfall_12_another_encoding_of_a_body_is_refused_though_its_signature_is_good(name: str, form: str) -> None:
    fields = fields_of(frames()[name])
    body = fields[3]
    assert isinstance(body, bytes)
    changed = BODY_FORMS[form](body)
    fields[2], fields[3] = 1, changed
    fields[4] = MEMBERS.signers[1].sign(GROUP.domain(name), changed)
    opener = Opener(GROUP, MEMBERS.verifier)
    with pytest.raises(MalformedMessage):
        (opener.open_reply if name in CLIENT else opener.open_peer)(encode(fields))


@pytest.mark.parametrize("form", BODY_FORMS)
def test_pitfall_12_another_encoding_inside_a_batch_is_refused(form: str) -> None:
    request = CRAFT.request("a")
    opener = Opener(GROUP, MEMBERS.verifier)
    for batch in (encode([5, [BODY_FORMS[form](request.wire)]]), BODY_FORMS[form](encode([5, [request.wire]]))):
        with pytest.raises(MalformedMessage):
            opener.open_peer(encode(["BODY", 0, 1, batch]))
        with pytest.raises(MalformedMessage):
            opener.parse_batch(batch)
