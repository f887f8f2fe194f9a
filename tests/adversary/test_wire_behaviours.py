"""What the behaviours against decoders and verifiers are made of: each piece is what it should be, and is refused."""

from __future__ import annotations

import cbor2
import pytest

from adversary.behaviours.wire import NOT_CANONICAL, REENCODINGS, SMALL_ORDER, bombs, on_the_edge
from adversary.craft import Craft, digest
from adversary.simulator.bad_clients import DEADLY
from chatsvc.application.operations import OPERATION_BYTES_MAX, decode_operation
from crypto.canonical import decode
from crypto.errors import InvalidSignature, MalformedEncoding
from crypto.signing import Ed25519Verifier, PublicKey, Signature
from pbft.core import bodies
from pbft.core.codec import Opener
from pbft.core.errors import ProtocolViolation
from tests.harness.keys import make_group

MEMBERS = make_group(4, real=True)
CRAFT = Craft(MEMBERS)
OPENER = Opener(MEMBERS.group, MEMBERS.verifier)
VOTE = CRAFT.commit(1, 5, digest("batch"))


@pytest.mark.parametrize("frame", bombs(4096), ids=lambda frame: frame[:4].hex())
def test_a_bomb_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        OPENER.open_peer(frame)


@pytest.mark.parametrize("form", range(len(REENCODINGS)))
def test_other_bytes_for_the_same_value_are_refused(form: int) -> None:
    """A decoder that is not strict takes them for the message that they are not."""
    other = REENCODINGS[form](VOTE.wire)
    assert other != VOTE.wire
    lenient = cbor2.loads(other)
    assert list(getattr(lenient, "value", lenient)) == decode(VOTE.wire, bytes_max=4096)
    with pytest.raises(ProtocolViolation):
        OPENER.open_peer(other)


def test_signatures_on_the_edge_do_not_hold() -> None:
    domain, body = MEMBERS.group.domain(bodies.COMMIT), bodies.encode_vote(VOTE.message)
    verifier = Ed25519Verifier()
    verifier.verify(MEMBERS.group.members[1], domain, body, VOTE.signature)
    for signature in on_the_edge(VOTE.signature):
        assert len(signature) == 64
        for key in (MEMBERS.group.members[1], *SMALL_ORDER, *NOT_CANONICAL):
            with pytest.raises(InvalidSignature):
                verifier.verify(PublicKey(key), domain, body, Signature(signature))


def test_most_of_what_could_kill_an_executor_is_no_operation() -> None:
    """The others are refused by the rules of the chat."""
    refused = 0
    for operation in DEADLY:
        try:
            decode_operation(operation)
        except MalformedEncoding:
            refused += 1
    assert 15 < refused < len(DEADLY)
    assert any(len(operation) > OPERATION_BYTES_MAX for operation in DEADLY)
