"""The one strict way from bytes to a message (`pbft.core.frames` says what the bytes are).

Parsing is total: any bytes give a value or one ProtocolViolation. It yields the claims (signatures to be checked)
beside the value, so that a caller may check many in a chunk, elsewhere; only `accept` hands the value out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

from crypto.canonical import decode, expect_list
from crypto.errors import MalformedEncoding
from crypto.signing import Verifier
from pbft.core import bodies
from pbft.core.claims import Parser, RequestMemory, StatementMemory, Unverified, check_claims
from pbft.core.errors import MalformedMessage
from pbft.core.frame_parsers import FrameParsers
from pbft.core.frames import BODY, CHECKPOINT_CERTIFICATE, COMMIT_CERTIFICATE, PREPARED, PROPOSAL
from pbft.core.group import Group
from pbft.core.messages import Batch, ClientMessage, PeerMessage, PreparedCertificate, Signed, ToClient
from pbft.core.state_bodies import FETCH_STATE, STATE, decode_fetch_state, decode_state

STATEMENT_BYTES_MAX = 512 * 1024
"""Of what replicas tell clients, as far as it is split (`pbft.core.replies`, `pbft.core.readers`)."""

T = TypeVar("T")


def frame_bytes_max(group: Group) -> int:
    """Of any frame in this group. A batch may exceed batch_bytes_max by its last request."""
    limits = group.parameters
    request_bytes_max = limits.request_operations_max * (limits.operation_bytes_max + 16)
    proposal_bytes_max = limits.batch_bytes_max + request_bytes_max
    return max(proposal_bytes_max, STATEMENT_BYTES_MAX, group.new_view_bytes_max) + 64 * 1024


class Opener:
    """Opens frames of one group and epoch. The only way in for bytes from outside."""

    def __init__(self, group: Group, verifier: Verifier) -> None:
        self.group = group
        self.verifier = verifier
        self._memory = RequestMemory()
        self._statements = StatementMemory()
        self.frame_bytes_max: int = frame_bytes_max(group)
        parsers = FrameParsers(group, self._memory, self._statements, frame_bytes_max=self.frame_bytes_max)
        self._parsers = parsers
        self._peer_parsers: dict[str, Parser[PeerMessage]] = {
            PROPOSAL: parsers.proposal,
            BODY: parsers.body,
            COMMIT_CERTIFICATE: parsers.commit_certificate,
            CHECKPOINT_CERTIFICATE: parsers.checkpoint_certificate,
            bodies.REQUEST: parsers.request,
            bodies.PREPARE: parsers.signed_with(bodies.decode_prepare),
            bodies.COMMIT: parsers.signed_with(bodies.decode_commit),
            bodies.CHECKPOINT: parsers.signed_with(bodies.decode_checkpoint),
            bodies.VIEW_CHANGE: parsers.view_change,
            bodies.NEW_VIEW: parsers.new_view,
            bodies.STATUS: parsers.link_with(bodies.decode_status),
            bodies.FETCH: parsers.link_with(bodies.decode_fetch),
            bodies.EVIDENCE: parsers.link_with(bodies.decode_shared_evidence),
            FETCH_STATE: parsers.link_with(decode_fetch_state),
            STATE: parsers.link_with(partial(decode_state, bytes_max=self.frame_bytes_max)),
        }
        self._client_parsers: dict[str, Parser[ClientMessage]] = {
            bodies.REQUEST: parsers.request,
            bodies.QUERY: parsers.link_with(bodies.decode_query),
            bodies.SUBSCRIBE: parsers.link_with(bodies.decode_subscribe),
            bodies.CREDIT: parsers.link_with(bodies.decode_credit),
            bodies.UNSUBSCRIBE: parsers.link_with(bodies.decode_unsubscribe),
        }
        most = self.frame_bytes_max
        self._reply_parsers: dict[str, Parser[ToClient]] = {
            bodies.REPLY: parsers.signed_with(partial(bodies.decode_reply, bytes_max=most)),
            bodies.ANSWER: parsers.signed_with(partial(bodies.decode_answer, bytes_max=most)),
            bodies.EVENTS: parsers.signed_with(partial(bodies.decode_events, bytes_max=most)),
        }

    # parse_*: bytes to Unverified; open_*: the same, checked at once

    def parse_peer(self, data: bytes) -> Unverified[PeerMessage]:
        """A frame from another replica. Raises ProtocolViolation."""
        return self._parse(data, self._peer_parsers)

    def parse_client(self, data: bytes) -> Unverified[ClientMessage]:
        """A frame from a client. Raises ProtocolViolation."""
        return self._parse(data, self._client_parsers)

    def parse_reply(self, data: bytes) -> Unverified[ToClient]:
        """A frame from a replica to a client. Raises ProtocolViolation."""
        return self._parse(data, self._reply_parsers)

    def accept(self, unverified: Unverified[T]) -> T:
        """Hand the message out: the caller has checked its claims."""
        for request in unverified.new_requests:
            self._memory.add(request)
        self._statements.add(unverified.claims)
        return unverified.value

    def open(self, unverified: Unverified[T]) -> T:
        """Check the claims here and now. Raises InvalidMessageSignature, or InvalidCertificate."""
        check_claims(self.verifier, unverified.claims)
        return self.accept(unverified)

    def open_peer(self, data: bytes) -> PeerMessage:
        return self.open(self.parse_peer(data))

    def open_client(self, data: bytes) -> ClientMessage:
        return self.open(self.parse_client(data))

    def open_reply(self, data: bytes) -> ToClient:
        return self.open(self.parse_reply(data))

    def parse_prepared_certificate(self, data: bytes) -> Unverified[PreparedCertificate]:
        """As stored in the ledger, or carried in a VIEW-CHANGE. Raises ProtocolViolation."""
        return self._parse(data, {PREPARED: self._parsers.prepared_certificate})

    def parse_envelope(self, data: bytes, message_type: str) -> Unverified[Signed[bytes]]:
        """A frame of one type signed by a replica, its body not looked into: it may be invalid in itself.

        The only claim is the replica's own signature over that body. Raises ProtocolViolation.
        """
        return self._parse(data, {message_type: self._parsers.signed_with(bytes)})

    def parse_batch(self, data: bytes) -> Batch:
        """A bare batch out of the ledger: certified, so its requests need no checking. Raises ProtocolViolation."""
        try:
            return self._parsers.batch(data).value
        except MalformedEncoding as error:
            raise MalformedMessage(str(error)) from error

    def _parse(self, data: bytes, parsers: Mapping[str, Parser[T]]) -> Unverified[T]:
        try:
            fields = expect_list(decode(data, bytes_max=self.frame_bytes_max))
            message_type = fields[0] if fields else None
            parser = parsers.get(message_type) if isinstance(message_type, str) else None
            if parser is None:
                msg = f"no message of type {str(message_type)[:32]!r} is expected here"
                raise MalformedMessage(msg)
            return parser(data, fields)
        except MalformedEncoding as error:
            raise MalformedMessage(str(error)) from error
