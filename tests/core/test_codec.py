"""What opens, what is refused, and what the fault is called."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from crypto.canonical import Value, decode, encode
from pbft.core.codec import Opener
from pbft.core.errors import (
    InvalidCertificate,
    InvalidMessageSignature,
    MalformedMessage,
    ProtocolViolation,
)
from pbft.core.frames import wire_of
from pbft.core.handshake import (
    FrameSplitter,
    Refused,
    ReplicaHello,
    Welcome,
    decode_client_hello,
    decode_replica_hello,
    encode_client_hello,
    encode_refused,
    encode_replica_hello,
    framed,
)
from pbft.core.messages import (
    Body,
    SlotStatus,
    Status,
)
from pbft.core.types import (
    ReplicaId,
    SequenceNumber,
    View,
)
from tests.core.corpus import CRAFT, DEVICE, GROUP, MEMBERS, WELCOME, frames, peer_messages
from tests.harness.craft import Craft, digest
from tests.harness.keys import make_group

# -- what is valid opens, and comes out as it went in


@pytest.mark.parametrize("name", peer_messages())
def test_a_valid_message_opens_to_itself(name: str) -> None:
    message = peer_messages()[name]
    opened = Opener(GROUP, MEMBERS.verifier).open_peer(wire_of(GROUP.epoch, message))
    assert opened == message
    assert wire_of(GROUP.epoch, opened) == wire_of(GROUP.epoch, message)


@pytest.mark.parametrize("name", ["REPLY", "ANSWER", "EVENTS", "DIGESTS"])
def test_statements_for_clients_open_to_themselves(name: str) -> None:
    frame = frames()[name]
    assert wire_of(GROUP.epoch, Opener(GROUP, MEMBERS.verifier).open_reply(frame)) == frame


@pytest.mark.parametrize("name", ["QUERY", "SUBSCRIBE", "CREDIT", "UNSUBSCRIBE", "REQUEST"])
def test_messages_of_clients_open_to_themselves(name: str) -> None:
    frame = frames()[name]
    assert wire_of(GROUP.epoch, Opener(GROUP, MEMBERS.verifier).open_client(frame)) == frame


# -- sizes


def test_a_frame_over_the_cap_is_refused_unread() -> None:
    opener = Opener(GROUP, MEMBERS.verifier)
    with pytest.raises(MalformedMessage, match="more than"):
        opener.open_peer(bytes(opener.frame_bytes_max + 1))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"batch_bytes_max": 1024},
        {"batch_bytes_max": 64, "operation_bytes_max": 20_000, "request_operations_max": 5},
        {"operation_bytes_max": 1, "request_operations_max": 1},
    ],
)
def test_the_largest_request_fits_into_a_proposal(parameters: dict[str, Any]) -> None:
    """Else a client could have an honest primary propose what its backups must refuse."""
    members = make_group(4, **parameters)
    craft, limits = Craft(members), members.group.parameters
    operation = bytes(limits.operation_bytes_max)
    request = craft.request("a", 2**62 - 64, *[operation] * limits.request_operations_max, session=2**63 - 1)
    proposal = craft.proposal(0, 2**63 - 1, craft.batch(request, timestamp=2**63 - 1), view=2**63 - 4)
    opener = Opener(members.group, members.verifier)
    assert opener.open_peer(wire_of(members.group.epoch, request)) == request
    assert opener.open_peer(proposal.wire) == proposal
    body = Body(sequence=SequenceNumber(2**63 - 1), batch=proposal.batch)
    assert opener.open_peer(wire_of(members.group.epoch, body)) == body


def test_the_fullest_status_of_the_largest_group_opens() -> None:
    everybody = 2**62 - 1
    slot = SlotStatus(sequence=SequenceNumber(2**63 - 1), has_proposal=True, prepares=everybody, commits=everybody)
    status = Status(
        view=View(2**63 - 1),
        stable_checkpoint=SequenceNumber(2**63 - 1),
        last_executed=SequenceNumber(2**63 - 1),
        slots=(slot,) * 64,
    )
    assert Opener(GROUP, MEMBERS.verifier).open_peer(wire_of(GROUP.epoch, status)) == status


def test_each_request_is_checked_once_and_the_memory_of_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbft.core.claims.VERIFIED_REQUESTS_MAX", 2)
    opener = Opener(GROUP, MEMBERS.verifier)
    requests = [CRAFT.request(name) for name in "abc"]

    def claims() -> list[int]:
        return [len(opener.parse_peer(request.wire).claims) for request in requests]

    assert claims() == [1, 1, 1], "parsing alone makes nothing known"
    for request in requests:
        opener.open_peer(request.wire)
        opener.open_peer(request.wire)
    assert claims() == [1, 0, 0]
    monkeypatch.setattr("pbft.core.claims.VERIFIED_BYTES_MAX", 200)
    opener.open_peer(requests[0].wire)
    assert claims() == [0, 1, 1]


def test_a_request_in_a_body_that_nobody_certified_is_not_taken_for_checked() -> None:
    request = CRAFT.request("a")
    forged = request.wire[:-1] + bytes([request.wire[-1] ^ 1])
    opener = Opener(GROUP, MEMBERS.verifier)
    opener.open_peer(encode(["BODY", 0, 1, encode([5, [forged]])]))
    with pytest.raises(InvalidMessageSignature):
        opener.open_peer(forged)


# -- what each fault is called


def _frame(name: str, position: int, value: Value) -> bytes:
    fields = decode(frames()[name], bytes_max=2**20)
    assert isinstance(fields, list)
    return encode([*fields[:position], value, *fields[position + 1 :]])


@pytest.mark.parametrize(
    ("frame", "error", "words"),
    [
        (_frame("PREPARE", 0, "PRE-PREPARE"), MalformedMessage, "no message of type"),
        (_frame("PREPARE", 0, 7), MalformedMessage, "no message of type"),
        (encode([]), MalformedMessage, "no message of type"),
        (_frame("PREPARE", 1, 1), MalformedMessage, "epoch"),
        (_frame("PREPARE", 1, False), MalformedMessage, "integer"),
        (_frame("PREPARE", 2, 4), InvalidMessageSignature, "no member"),
        (_frame("PREPARE", 2, 2), InvalidMessageSignature, "does not verify"),
        (_frame("PREPARE", 0, "COMMIT"), InvalidMessageSignature, "does not verify"),
        (_frame("PREPARE", 4, bytes(63)), MalformedMessage, "64 bytes"),
        (_frame("PREPARE", 3, encode([0, 0, digest("x")])), MalformedMessage, "from 1"),
        (_frame("PREPARE", 3, encode([2**63, 1, digest("x")])), MalformedMessage, "integer"),
        (_frame("REQUEST", 3, encode([1, 0, 0, []])), MalformedMessage, "without operations"),
        (_frame("REQUEST", 3, encode([1, 0, 1, [b"x"]])), MalformedMessage, "acknowledges itself"),
        (_frame("REQUEST", 3, encode([1, 0, 0, [b"x"] * 65])), MalformedMessage, "at most 64"),
        (_frame("REQUEST", 3, encode([1, 0, 0, [bytes(16385)]])), MalformedMessage, "at most 16384"),
        (_frame("PROPOSAL", 2, CRAFT.batch(CRAFT.request("c")).wire), MalformedMessage, "not the one"),
        (_frame("PROPOSAL", 1, frames()["PREPARE"]), MalformedMessage, "expected a PRE-PREPARE"),
        (_frame("BODY", 3, encode([5, []])), MalformedMessage, "timestamp 0"),
        (_frame("BODY", 3, encode([5, [frames()["PREPARE"]]])), MalformedMessage, "no REQUEST"),
        (_frame("STATUS", 2, encode([0, True, [], None, 0, 0, [[1, 1, 0, 0]]])), MalformedMessage, "boolean"),
        (_frame("STATUS", 2, encode([0, 1, [], None, 0, 0, []])), MalformedMessage, "boolean"),
        (_frame("STATUS", 2, encode([0, True, [0] * 62, None, 0, 0, []])), MalformedMessage, "at most 61"),
        (_frame("STATUS", 2, encode([0, True, [-1], None, 0, 0, []])), MalformedMessage, "integer"),
        (_frame("STATUS", 2, encode([0, True, [], [None], 0, 0, []])), MalformedMessage, "2 items"),
        (_frame("STATUS", 2, encode([0, True, [], [None, -1], 0, 0, []])), MalformedMessage, "integer"),
        (_frame("FETCH", 2, encode([[1, digest("x")]] * 65)), MalformedMessage, "at most 64"),
    ],
)
def test_the_fault_is_named(frame: bytes, error: type[ProtocolViolation], words: str) -> None:
    with pytest.raises(error, match=words):
        Opener(GROUP, MEMBERS.verifier).open_peer(frame)


def _endorsed(kind: str, signers: list[int], *, view: int = 0) -> bytes:
    """A certificate frame with these signers in this order."""
    if kind == "PREPARED":
        endorsements = [(s, CRAFT.prepare(s, 1, digest("x"), view=view).signature) for s in signers]
        statement = CRAFT.pre_prepare(view % 4, 1, digest("x"), view=view).wire
    elif kind == "COMMIT-CERTIFICATE":
        endorsements = [(s, CRAFT.commit(s, 1, digest("x")).signature) for s in signers]
        statement = encode([0, 1, digest("x")])
    else:
        endorsements = [(s, CRAFT.checkpoint(s, 128, digest("x")).signature) for s in signers]
        statement = encode([128, digest("x")])
    return encode([kind, 0, statement, [[signer, signature] for signer, signature in endorsements]])


CERTIFICATES = ("COMMIT-CERTIFICATE", "CHECKPOINT-CERTIFICATE")


@pytest.mark.parametrize("kind", CERTIFICATES)
@pytest.mark.parametrize("signers", [[0, 1], [], [0, 1, 1], [0, 0, 0], [1, 0, 2], [2, 1, 0]], ids=str)
def test_pitfall_06_certificates_need_a_quorum_of_distinct_signers_in_order(kind: str, signers: list[int]) -> None:
    with pytest.raises(InvalidCertificate):
        Opener(GROUP, MEMBERS.verifier).open_peer(_endorsed(kind, signers))


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_pitfall_06_a_certificate_that_mixes_statements_is_refused(kind: str) -> None:
    """Its body is one statement, so a signature over another one does not verify."""
    opener = Opener(GROUP, MEMBERS.verifier)
    opener.open_peer(_endorsed(kind, [0, 1, 2]))
    others = {
        "view": CRAFT.commit(2, 1, digest("x"), view=1).signature,
        "sequence": CRAFT.commit(2, 2, digest("x")).signature,
        "digest": CRAFT.commit(2, 1, digest("y")).signature,
        "type": CRAFT.prepare(2, 1, digest("x")).signature,
        "root": CRAFT.checkpoint(2, 128, digest("y")).signature,
        "checkpoint": CRAFT.checkpoint(2, 256, digest("x")).signature,
    }
    fields = decode(_endorsed(kind, [0, 1, 2]), bytes_max=2**20)
    assert isinstance(fields, list)
    signers = fields[3]
    assert isinstance(signers, list)
    for signature in others.values():
        with pytest.raises(InvalidMessageSignature):
            opener.open_peer(encode([*fields[:3], [*signers[:2], [2, signature]]]))
    with pytest.raises(InvalidMessageSignature, match="no member"):
        opener.open_peer(encode([*fields[:3], [*signers, [4, bytes(64)]]]))


@pytest.mark.parametrize(
    ("signers", "view", "good"),
    [
        ([1, 2], 0, True),
        ([1, 2, 3], 0, True),
        ([1], 0, False),
        ([0, 1, 2], 0, False),
        ([0, 1], 0, False),
        ([2, 2], 0, False),
        ([0, 2], 1, True),
        ([1, 2], 1, False),
    ],
)
def test_a_prepared_certificate_holds_its_primary_once(signers: list[int], view: int, good: bool) -> None:
    opener = Opener(GROUP, MEMBERS.verifier)
    frame = _endorsed("PREPARED", signers, view=view)
    if good:
        opener.open(opener.parse_prepared_certificate(frame))
    else:
        with pytest.raises(InvalidCertificate):
            opener.parse_prepared_certificate(frame)


def test_a_prepared_certificate_of_a_pre_prepare_by_another_replica_is_refused() -> None:
    statement = CRAFT.pre_prepare(1, 1, digest("x")).wire
    signers: list[Value] = [[s, CRAFT.prepare(s, 1, digest("x")).signature] for s in (2, 3)]
    with pytest.raises(InvalidCertificate, match="not its primary"):
        Opener(GROUP, MEMBERS.verifier).parse_prepared_certificate(encode(["PREPARED", 0, statement, signers]))


# -- handshakes


def test_a_handshake_of_other_parameters_says_what_differs() -> None:
    hello = ReplicaHello(replica=ReplicaId(1), to=ReplicaId(2))
    good = encode_replica_hello(GROUP, hello)
    assert decode_replica_hello(GROUP, good) == hello
    fields = decode(good, bytes_max=1024)
    assert isinstance(fields, list)
    for position, value, words in (
        (0, "HALLO", "expected HELLO"),
        (1, 2, "version"),
        (1, True, "version"),
        (2, digest("other"), "another group"),
        (3, 1, "epoch"),
        (3, False, "epoch"),
        (4, 4, "0 to 3"),
        (5, -1, "0 to 3"),
    ):
        with pytest.raises(MalformedMessage, match=words):
            decode_replica_hello(GROUP, encode([*fields[:position], value, *fields[position + 1 :]]))
    with pytest.raises(Refused, match="too many"):
        decode_replica_hello(GROUP, encode_refused("too many"))


def test_a_client_hello_is_for_one_welcome_only() -> None:
    frame = encode_client_hello(GROUP, MEMBERS.device("a"), WELCOME)
    assert decode_client_hello(GROUP, MEMBERS.verifier, WELCOME, frame).device == DEVICE
    for other in (Welcome(replica=ReplicaId(2), nonce=bytes(32)), Welcome(replica=ReplicaId(1), nonce=b"n" * 32)):
        with pytest.raises(InvalidMessageSignature):
            decode_client_hello(GROUP, MEMBERS.verifier, other, frame)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.lists(st.integers(1, 9), min_size=1))
def test_frames_are_cut_wherever_the_stream_is(payloads: list[bytes], cuts: list[int]) -> None:
    stream, splitter, found = b"".join(map(framed, payloads)), FrameSplitter(50), []
    position = turn = 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        found += splitter.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert found == payloads


@pytest.mark.parametrize("length", [0, 51, 2**32 - 1])
def test_a_frame_of_a_forbidden_length_is_refused_before_it_is_read(length: int) -> None:
    with pytest.raises(MalformedMessage, match="allowed"):
        FrameSplitter(50).feed(length.to_bytes(4, "big"))
