"""What is inside each kind of frame: one method each, from its fields to a message and the claims to be checked.

For `pbft.core.codec` alone, which says what is expected where, and lets nothing out unchecked. Everything here raises
MalformedEncoding or ProtocolViolation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from crypto.canonical import Value, decode, expect_bytes, expect_int, expect_list
from crypto.merkle import leaf_digest
from crypto.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Domain, PublicKey, Signature
from pbft.core import bodies
from pbft.core.claims import Claim, Parser, RequestMemory, StatementMemory, Unverified
from pbft.core.errors import InvalidCertificate, InvalidMessageSignature, MalformedMessage
from pbft.core.frames import CHECKPOINT_CERTIFICATE, NULL_TIMESTAMP, PREPARED, batch_digest
from pbft.core.group import Group
from pbft.core.messages import (
    Batch,
    Body,
    CheckpointCertificate,
    CommitCertificate,
    Endorsements,
    NewView,
    PeerMessage,
    PreparedCertificate,
    PrePrepare,
    Proposal,
    Signed,
    SignedRequest,
    ViewChange,
)
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber

T = TypeVar("T")


class FrameParsers:
    """Of one group and epoch. What the memories hold was checked before, and claims nothing again."""

    def __init__(
        self, group: Group, requests: RequestMemory, statements: StatementMemory, *, frame_bytes_max: int
    ) -> None:
        self._group = group
        self._memory = requests
        self._statements = statements
        self._frame_bytes_max = frame_bytes_max

    def _epoch(self, value: Value) -> None:
        if expect_int(value) != self._group.epoch:
            msg = f"message of epoch {value!r}, while the epoch is {self._group.epoch}"
            raise MalformedMessage(msg)

    def _member(self, value: Value) -> ReplicaId:
        replica = expect_int(value)
        if replica >= self._group.size:
            msg = f"replica {replica} is no member: there are {self._group.size}"
            raise InvalidMessageSignature(msg)
        return ReplicaId(replica)

    def link_with(self, decoder: Callable[[bytes], T]) -> Parser[T]:
        def parse(_wire: bytes, fields: list[Value]) -> Unverified[T]:
            _, epoch, body = expect_list(fields, 3)
            self._epoch(epoch)
            return Unverified(decoder(expect_bytes(body)), ())

        return parse

    def signed_with(self, decoder: Callable[[bytes], T]) -> Parser[Signed[T]]:
        def parse(wire: bytes, fields: list[Value]) -> Unverified[Signed[T]]:
            return self._signed(wire, fields, decoder)

        return parse

    def _signed(self, wire: bytes, fields: list[Value], decoder: Callable[[bytes], T]) -> Unverified[Signed[T]]:
        message_type, epoch, signer, body, signature = expect_list(fields, 5)
        self._epoch(epoch)
        replica = self._member(signer)
        body = expect_bytes(body)
        signature = Signature(expect_bytes(signature, length=SIGNATURE_BYTES))
        message = decoder(body)
        claim = Claim(self._group.members[replica], self._group.domain(str(message_type)), body, signature)
        signed = Signed(message=message, signer=replica, signature=signature, wire=wire)
        return Unverified(signed, (claim,))

    def request(self, wire: bytes, fields: list[Value]) -> Unverified[SignedRequest]:
        message_type, epoch, device, body, signature = expect_list(fields, 5)
        if message_type != bodies.REQUEST:
            msg = "a batch holds something that is no REQUEST"
            raise MalformedMessage(msg)
        self._epoch(epoch)
        limits = self._group.parameters
        body = expect_bytes(body)
        request = SignedRequest(
            message=bodies.decode_request(
                body,
                operations_max=limits.request_operations_max,
                operation_bytes_max=limits.operation_bytes_max,
            ),
            device=PublicKey(expect_bytes(device, length=PUBLIC_KEY_BYTES)),
            wire=wire,
            digest=leaf_digest(wire),
        )
        known = self._memory.get(request.digest)
        if known is not None:
            return Unverified(known, ())
        signature = Signature(expect_bytes(signature, length=SIGNATURE_BYTES))
        claim = Claim(request.device, self._group.domain(bodies.REQUEST), body, signature)
        return Unverified(request, (claim,), (request,))

    def _batched_request(self, wire: bytes) -> Unverified[SignedRequest]:
        known = self._memory.get(leaf_digest(wire))
        if known is not None:
            return Unverified(known, ())
        return self.request(wire, expect_list(decode(wire, bytes_max=self._frame_bytes_max)))

    def batch(self, wire: bytes) -> Unverified[Batch]:
        timestamp, frames = expect_list(decode(wire, bytes_max=self._frame_bytes_max), 2)
        opened = [
            self._batched_request(expect_bytes(frame))
            for frame in expect_list(frames, length_max=self._group.parameters.batch_operations_max)
        ]
        requests = tuple(item.value for item in opened)
        time = Milliseconds(expect_int(timestamp))
        digest = batch_digest(time, (request.digest for request in requests))
        batch = Batch(timestamp=time, requests=requests, digest=digest, wire=wire)
        if not requests and time != NULL_TIMESTAMP:
            msg = "a batch without requests has timestamp 0"
            raise MalformedMessage(msg)
        claims = tuple(claim for item in opened for claim in item.claims)
        return Unverified(batch, claims, tuple(new for item in opened for new in item.new_requests))

    def _pre_prepare(self, wire: bytes) -> Unverified[Signed[PrePrepare]]:
        fields = expect_list(decode(wire, bytes_max=1024), 5)
        if fields[0] != bodies.PRE_PREPARE:
            msg = "expected a PRE-PREPARE"
            raise MalformedMessage(msg)
        return self._signed(wire, fields, bodies.decode_pre_prepare)

    def proposal(self, wire: bytes, fields: list[Value]) -> Unverified[PeerMessage]:
        _, header, body = expect_list(fields, 3)
        pre_prepare = self._pre_prepare(expect_bytes(header))
        batch = self.batch(expect_bytes(body))
        if batch.value.digest != pre_prepare.value.message.batch_digest:
            msg = "the batch is not the one that the PRE-PREPARE names"
            raise MalformedMessage(msg)
        proposal = Proposal(pre_prepare=pre_prepare.value, batch=batch.value, wire=wire)
        return Unverified(proposal, pre_prepare.claims + batch.claims, batch.new_requests)

    def body(self, _wire: bytes, fields: list[Value]) -> Unverified[PeerMessage]:
        """A bare batch: its requests were checked by the replicas that certified its digest, so no claims."""
        _, epoch, sequence, batch_wire = expect_list(fields, 4)
        self._epoch(epoch)
        batch = self.batch(expect_bytes(batch_wire)).value
        return Unverified(Body(sequence=SequenceNumber(expect_int(sequence)), batch=batch), ())

    # -- certificates

    def _endorsements(
        self, value: Value, *, least: int, domain: Domain, body: bytes, barred: ReplicaId | None = None
    ) -> tuple[Endorsements, tuple[Claim, ...]]:
        endorsements: list[tuple[ReplicaId, Signature]] = []
        for item in expect_list(value):
            replica_value, signature = expect_list(item, 2)
            replica = self._member(replica_value)
            if endorsements and replica <= endorsements[-1][0]:
                msg = "a certificate names its signers once each, in order"
                raise InvalidCertificate(msg)
            if replica == barred:
                msg = f"replica {replica} cannot stand in this certificate"
                raise InvalidCertificate(msg)
            endorsements.append((replica, Signature(expect_bytes(signature, length=SIGNATURE_BYTES))))
        if len(endorsements) < least:
            msg = f"certificate of {len(endorsements)} signers where {least} are needed"
            raise InvalidCertificate(msg)
        claims = tuple(Claim(self._group.members[r], domain, body, signature) for r, signature in endorsements)
        return tuple(endorsements), claims

    def _certificate(
        self, fields: list[Value], message_type: str, decoder: Callable[[bytes], T]
    ) -> tuple[T, Endorsements, tuple[Claim, ...]]:
        _, epoch, body, signers = expect_list(fields, 4)
        self._epoch(epoch)
        body = expect_bytes(body, bytes_max=1024)
        statement = decoder(body)
        domain = self._group.domain(message_type)
        endorsements, claims = self._endorsements(signers, least=self._group.quorum, domain=domain, body=body)
        return statement, endorsements, claims

    def commit_certificate(self, wire: bytes, fields: list[Value]) -> Unverified[PeerMessage]:
        commit, endorsements, claims = self._certificate(fields, bodies.COMMIT, bodies.decode_commit)
        return Unverified(CommitCertificate(commit=commit, endorsements=endorsements, wire=wire), claims)

    def checkpoint_certificate(self, wire: bytes, fields: list[Value]) -> Unverified[CheckpointCertificate]:
        checkpoint, endorsements, claims = self._certificate(fields, bodies.CHECKPOINT, bodies.decode_checkpoint)
        certificate = CheckpointCertificate(checkpoint=checkpoint, endorsements=endorsements, wire=wire)
        return Unverified(certificate, claims)

    # -- view change: each piece must hold by itself before any of it is counted

    def _nested(self, wire: bytes, expected: str, parser: Parser[T]) -> Unverified[T]:
        fields = expect_list(decode(wire, bytes_max=self._frame_bytes_max))
        if not fields or fields[0] != expected:
            msg = f"expected a {expected} frame inside a certificate"
            raise MalformedMessage(msg)
        return parser(wire, fields)

    def view_change(self, wire: bytes, fields: list[Value]) -> Unverified[Signed[ViewChange]]:
        most = self._group.view_change_bytes_max
        signed = self._signed(wire, fields, partial(bodies.decode_view_change, bytes_max=most))
        view, stable, frame, frames = signed.value.message
        claims = list(signed.claims)
        checkpoint: CheckpointCertificate | None = None
        if frame is not None:
            opened = self._nested(frame, CHECKPOINT_CERTIFICATE, self.checkpoint_certificate)
            checkpoint = opened.value
            claims += opened.claims
        if (checkpoint.checkpoint.sequence if checkpoint else 0) != stable or not self._group.is_checkpoint(stable):
            msg = f"VIEW-CHANGE to {view} proves another checkpoint than {stable}"
            raise InvalidCertificate(msg)
        prepared: list[PreparedCertificate] = []
        last, most = stable, stable + self._group.parameters.window
        for each in frames:
            held = self._nested(each, PREPARED, self.prepared_certificate)
            vote = held.value.pre_prepare.message
            if not last < vote.sequence <= most or vote.view >= view:
                msg = f"VIEW-CHANGE to {view} carries view {vote.view}, sequence {vote.sequence}, out of place"
                raise InvalidCertificate(msg)
            last = vote.sequence
            prepared.append(held.value)
            claims += held.claims
        change = ViewChange(view=view, stable_checkpoint=stable, checkpoint=checkpoint, prepared=tuple(prepared))
        return Unverified(
            Signed(message=change, signer=signed.value.signer, signature=signed.value.signature, wire=wire),
            self._statements.unknown(claims),
        )

    def new_view(self, wire: bytes, fields: list[Value]) -> Unverified[Signed[NewView]]:
        """Everything but O, which only a comparison shows (`pbft.core.new_view`)."""
        signed = self._signed(wire, fields, partial(bodies.decode_new_view, bytes_max=self._frame_bytes_max))
        view, change_frames, proposal_frames = signed.value.message
        signer = signed.value.signer
        if signer != self._group.primary(view):
            msg = f"NEW-VIEW of view {view} by replica {signer}, not its primary"
            raise InvalidCertificate(msg)
        changes = [self._nested(frame, bodies.VIEW_CHANGE, self.view_change) for frame in change_frames]
        signers = [change.value.signer for change in changes]
        if signers != sorted(set(signers)) or len(signers) != self._group.quorum:
            msg = f"NEW-VIEW of view {view} needs VIEW-CHANGEs of {self._group.quorum} replicas, in order"
            raise InvalidCertificate(msg)
        if any(change.value.message.view != view for change in changes):
            msg = f"NEW-VIEW of view {view} carries a VIEW-CHANGE to another view"
            raise InvalidCertificate(msg)
        proposals = [self._pre_prepare(frame) for frame in proposal_frames]
        for proposal in proposals:
            if proposal.value.signer != signer or proposal.value.message.view != view:
                msg = f"NEW-VIEW of view {view} proposes for another view or replica"
                raise InvalidCertificate(msg)
        new_view = NewView(
            view=view,
            view_changes=tuple(change.value for change in changes),
            pre_prepares=tuple(proposal.value for proposal in proposals),
        )
        claims = [claim for part in (signed, *changes, *proposals) for claim in part.claims]
        return Unverified(
            Signed(message=new_view, signer=signer, signature=signed.value.signature, wire=wire),
            self._statements.unknown(claims),
        )

    def prepared_certificate(self, wire: bytes, fields: list[Value]) -> Unverified[PreparedCertificate]:
        _, epoch, header, signers = expect_list(fields, 4)
        self._epoch(epoch)
        pre_prepare = self._pre_prepare(expect_bytes(header, bytes_max=1024))
        vote = pre_prepare.value.message
        primary = self._group.primary(vote.view)
        if pre_prepare.value.signer != primary:
            msg = f"PRE-PREPARE of view {vote.view} by replica {pre_prepare.value.signer}, not its primary"
            raise InvalidCertificate(msg)
        endorsements, claims = self._endorsements(
            signers,
            least=self._group.quorum - 1,
            domain=self._group.domain(bodies.PREPARE),
            body=bodies.encode_vote(vote),
            barred=primary,
        )
        certificate = PreparedCertificate(pre_prepare=pre_prepare.value, prepares=endorsements, wire=wire)
        return Unverified(certificate, pre_prepare.claims + claims)
