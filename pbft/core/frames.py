"""Frames: the bytes that travel. A frame is a canonical CBOR list that begins with its type:

signed       [type, epoch, signer, body, signature]        signer: replica number, or a device's public key
proposal     ["PROPOSAL", PRE-PREPARE frame, batch]        batch = [timestamp, [REQUEST frame, ...]]
certificate  [type, epoch, body, [[replica, signature], ...]]
on a link    [type, epoch, body]                           its sender is the authenticated link itself
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from crypto.canonical import encode
from crypto.digest import Digest, digest_of_parts
from crypto.merkle import leaf_digest, merkle_root
from crypto.signing import Signer
from pbft.core import bodies
from pbft.core.group import Group
from pbft.core.messages import (
    Batch,
    Body,
    Checkpoint,
    CheckpointCertificate,
    ClientMessage,
    Commit,
    CommitCertificate,
    Credit,
    Endorsements,
    Fetch,
    PeerMessage,
    PreparedCertificate,
    PrePrepare,
    Query,
    Request,
    SharedEvidence,
    Signed,
    SignedRequest,
    Status,
    Subscribe,
    ToClient,
    Unsubscribe,
)
from pbft.core.state_bodies import FETCH_STATE, STATE, encode_fetch_state, encode_state
from pbft.core.state_messages import FetchState, StateAnswer
from pbft.core.types import Epoch, Milliseconds

PROPOSAL: Final = "PROPOSAL"
BODY: Final = "BODY"
PREPARED: Final = "PREPARED"
COMMIT_CERTIFICATE: Final = "COMMIT-CERTIFICATE"
CHECKPOINT_CERTIFICATE: Final = "CHECKPOINT-CERTIFICATE"

NULL_TIMESTAMP = Milliseconds(0)


def encode_signed(message_type: str, epoch: Epoch, signer: int | bytes, body: bytes, signature: bytes) -> bytes:
    return encode([message_type, epoch, signer, body, signature])


def encode_link(message_type: str, epoch: Epoch, body: bytes) -> bytes:
    return encode([message_type, epoch, body])


def encode_certificate(message_type: str, epoch: Epoch, body: bytes, endorsements: Endorsements) -> bytes:
    return encode([message_type, epoch, body, [[replica, signature] for replica, signature in endorsements]])


def encode_proposal(pre_prepare_wire: bytes, batch_wire: bytes) -> bytes:
    return encode([PROPOSAL, pre_prepare_wire, batch_wire])


def batch_digest(timestamp: Milliseconds, leaves: Iterable[Digest]) -> Digest:
    """Commits to the timestamp and the Merkle root over the requests' frames (RFC 6962 hashing)."""
    return digest_of_parts(b"quorate/batch/1", timestamp.to_bytes(8, "big"), merkle_root(tuple(leaves)))


def make_batch(timestamp: Milliseconds, requests: tuple[SignedRequest, ...]) -> Batch:
    wire = encode([timestamp, [request.wire for request in requests]])
    digest = batch_digest(timestamp, (request.digest for request in requests))
    return Batch(timestamp=timestamp, requests=requests, digest=digest, wire=wire)


NULL_BATCH: Final = make_batch(NULL_TIMESTAMP, ())


def make_commit_certificate(group: Group, commit: Commit, endorsements: Endorsements) -> CommitCertificate:
    wire = encode_certificate(COMMIT_CERTIFICATE, group.epoch, bodies.encode_vote(commit), endorsements)
    return CommitCertificate(commit=commit, endorsements=endorsements, wire=wire)


def make_checkpoint_certificate(
    group: Group, checkpoint: Checkpoint, endorsements: Endorsements
) -> CheckpointCertificate:
    body = bodies.encode_checkpoint(checkpoint)
    wire = encode_certificate(CHECKPOINT_CERTIFICATE, group.epoch, body, endorsements)
    return CheckpointCertificate(checkpoint=checkpoint, endorsements=endorsements, wire=wire)


def make_prepared_certificate(
    group: Group, pre_prepare: Signed[PrePrepare], prepares: Endorsements
) -> PreparedCertificate:
    wire = encode_certificate(PREPARED, group.epoch, pre_prepare.wire, prepares)
    return PreparedCertificate(pre_prepare=pre_prepare, prepares=prepares, wire=wire)


def wire_of(epoch: Epoch, message: PeerMessage | ClientMessage | ToClient) -> bytes:
    """The frame of a message: as it was received or signed, or encoded now if it travels unsigned."""
    match message:
        case Status():
            return encode_link(bodies.STATUS, epoch, bodies.encode_status(message))
        case Fetch():
            return encode_link(bodies.FETCH, epoch, bodies.encode_fetch(message))
        case Body():
            return encode([BODY, epoch, message.sequence, message.batch.wire])
        case FetchState():
            return encode_link(FETCH_STATE, epoch, encode_fetch_state(message))
        case StateAnswer():
            return encode_link(STATE, epoch, encode_state(message))
        case SharedEvidence():
            return encode_link(bodies.EVIDENCE, epoch, message.data)
        case Query():
            return encode_link(bodies.QUERY, epoch, bodies.encode_query(message))
        case Subscribe():
            return encode_link(bodies.SUBSCRIBE, epoch, bodies.encode_subscribe(message))
        case Credit():
            return encode_link(bodies.CREDIT, epoch, bodies.encode_credit(message))
        case Unsubscribe():
            return encode_link(bodies.UNSUBSCRIBE, epoch, bodies.encode_unsubscribe(message))
        case _:
            return message.wire


def sign_request(group: Group, signer: Signer, request: Request) -> SignedRequest:
    """A client's request, signed with its device key."""
    body = bodies.encode_request(request)
    signature = signer.sign(group.domain(bodies.REQUEST), body)
    wire = encode_signed(bodies.REQUEST, group.epoch, signer.public_key, body, signature)
    return SignedRequest(message=request, device=signer.public_key, wire=wire, digest=leaf_digest(wire))
