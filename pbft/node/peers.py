"""Links between replicas. Each replica dials every other and sends over the link it dialled; it only reads the
links that others dialled. So a link has one direction, and no tie to break when two dial at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import structlog
import trio

from crypto.canonical import encode
from crypto.errors import CertificateError
from crypto.tls import check_pinned, fingerprint, peer_certificate, replica_dial_context, replica_listener_context
from pbft.core.bodies import REQUEST
from pbft.core.codec import Opener
from pbft.core.effects import Evidence, FromPeer
from pbft.core.errors import MalformedMessage, ProtocolViolation
from pbft.core.handshake import (
    ReplicaHello,
    decode_replica_hello,
    encode_replica_hello,
    framed,
)
from pbft.core.messages import Fetch, PeerMessage, Status
from pbft.core.state_messages import FetchState
from pbft.core.types import ReplicaId
from pbft.node.config import NodeConfig
from pbft.node.failures import LINK_FAILURES, reason_of
from pbft.node.intake import Inbox, Intake
from pbft.node.listening import Place
from pbft.node.streams import HANDSHAKE_SECONDS_MAX, FrameStream, SendQueue, TlsStream, until_one_ends
from pbft.node.turns import (
    HANDSHAKE_UNITS,
    HOLD_SECONDS,
    IGNORED_UNITS,
    USELESS_UNITS,
    Allowance,
    Party,
    Share,
    Turn,
    Turns,
)
from pbft.transport import keep_alive

QUEUE_BYTES_MAX = 64 * 1024 * 1024
QUESTION_UNITS = 8
VIOLATION_UNITS = 1000
"""What a frame costs that does not open, however little of it was looked at."""
JUDGED_UNITS_PER_S = 800
"""Of signature checks, for a peer whose frames do not open: about a hundredth of the time, to see whether they are
proofs. That they are looked at at all, VIOLATION_UNITS pay for."""
QUESTIONS = (Status, Fetch, FetchState)
"""What asks for an answer: correct replicas do so a few times a second, or some hundred times when far behind."""
REQUEST_PREFIX = encode([REQUEST, 0, b"", b"", b""])[: 2 + len(REQUEST)]
"""How a frame begins that holds a client's request."""
BACKOFF_FIRST_S = 0.05
BACKOFF_MAX_S = 2.0

log = structlog.get_logger()


class OutgoingLink:
    """The link that this replica dials to `peer`, again and again, and sends over."""

    def __init__(self, config: NodeConfig, peer: ReplicaId, on_up: Callable[[ReplicaId], None]) -> None:
        self.peer = peer
        self.is_up = False
        self.last_failure: str | None = None
        self.dials = 0
        self._config = config
        self._contact = config.contacts[peer]
        self._context = replica_dial_context(config.tls_pem, self._contact.certificate_der)
        self._on_up = on_up
        self._queue = SendQueue(QUEUE_BYTES_MAX)
        self._wake = trio.Event()

    @property
    def dropped(self) -> int:
        """Frames dropped because the queue was full; the peer asks again for what it needs."""
        return self._queue.refused

    def send_nowait(self, data: bytes) -> None:
        """Queue a framed message. While the link is down it is dropped: STATUS tells later what is missing."""
        if self.is_up:
            self._queue.put_nowait(data)

    def dial_now(self) -> None:
        """The peer is there, for it has just dialled us: do not wait for the back-off to end.

        A dial that is under way may have come too early: if it fails, it is repeated once."""
        if not self.is_up:
            self._wake.set()

    async def run(self) -> None:
        pause = BACKOFF_FIRST_S
        while True:
            self.dials += 1
            try:
                await self._connect_and_send()
                failure = "closed by the peer"
            except LINK_FAILURES as error:
                failure = reason_of(error)
            except Exception as error:
                # As for accepted connections: whatever goes wrong here concerns this link only.
                failure = reason_of(error)
                log.exception("link failed", peer=self.peer)
            was_up, self.is_up = self.is_up, False
            self._queue.clear()
            if was_up or failure != self.last_failure:
                log.info("link down", peer=self.peer, address=str(self._contact.endpoint), reason=failure)
            self.last_failure = failure
            pause = BACKOFF_FIRST_S if was_up else min(2 * pause, BACKOFF_MAX_S)
            with trio.move_on_after(pause * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, not a secret
                await self._wake.wait()
            self._wake = trio.Event()

    async def _connect_and_send(self) -> None:
        endpoint = self._contact.endpoint
        with trio.fail_after(HANDSHAKE_SECONDS_MAX):
            socket = await trio.open_tcp_stream(endpoint.host, endpoint.port)
        tls = trio.SSLStream(socket, self._context, https_compatible=True)
        try:
            keep_alive(socket)
            stream = FrameStream(tls, frame_bytes_max=0)
            with trio.fail_after(HANDSHAKE_SECONDS_MAX):
                await tls.do_handshake()
                check_pinned(tls, self._contact.certificate_der)
                hello = ReplicaHello(replica=self._config.me, to=self.peer)
                await stream.send(framed(encode_replica_hello(self._config.group, hello)))
                answer = decode_replica_hello(self._config.group, await stream.receive_handshake())
            if (answer.replica, answer.to) != (self.peer, self._config.me):
                msg = f"{endpoint} says that it is replica {answer.replica}, not {self.peer}"
                raise MalformedMessage(msg)
            self.is_up = True
            self.last_failure = None
            self._wake = trio.Event()
            log.info("link up", peer=self.peer, address=str(endpoint))
            self._on_up(self.peer)
            await until_one_ends(partial(self._queue.pump, stream), partial(self._until_closed, tls))
        finally:
            await trio.aclose_forcefully(tls)

    async def _until_closed(self, tls: TlsStream) -> None:
        if await tls.receive_some(1):
            msg = f"replica {self.peer} answers on a link that only goes to it"
            raise MalformedMessage(msg)


class PeerListener:
    """Accepts the links that other replicas dial, and reads them. `on_linked` is told of each, once authenticated,
    `on_proof` of frames that prove their signer a liar by not opening; `may_prove` says of which code and culprit
    more proofs are of any use."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        opener: Opener,
        intake: Intake,
        turns: Turns,
        inbox: Inbox,
        is_useless: Callable[[PeerMessage], bool],
        on_linked: Callable[[ReplicaId], None],
        on_proof: Callable[[Evidence], None],
        may_prove: Callable[[str, ReplicaId], bool],
    ) -> None:
        self._config = config
        self._opener = opener
        self._intake = intake
        self._turns = turns
        self._inbox = inbox
        self._is_useless = is_useless
        self._on_linked = on_linked
        self._on_proof = on_proof
        self._may_prove = may_prove
        certificates = [contact.certificate_der for contact in config.contacts]
        self._context = replica_listener_context(config.tls_pem, certificates)
        self._members = {der: ReplicaId(replica) for replica, der in enumerate(certificates)}
        self._current: dict[ReplicaId, trio.CancelScope] = {}
        limits = config.limits
        members = range(len(certificates))
        self._useless = {ReplicaId(peer): Allowance(limits.peer_useless_per_s) for peer in members}
        self._requests = {ReplicaId(peer): Allowance(limits.peer_requests_per_s) for peer in members}
        self._judged = {ReplicaId(peer): Allowance(JUDGED_UNITS_PER_S) for peer in members}
        self.slowed = 0
        """How often a link was not read for a while, for what came over it was of no use."""
        self.dropped_requests = 0

    async def handle(self, socket: trio.SocketStream, place: Place) -> None:
        """One link, from handshake to end. Raises LINK_FAILURES."""
        tls = trio.SSLStream(socket, self._context, server_side=True, https_compatible=True)
        try:
            stream = FrameStream(tls, frame_bytes_max=self._opener.frame_bytes_max)
            peer = await self._handshake(tls, stream, place.host)
            place.become_member()
            with trio.CancelScope() as scope:
                older = self._current.get(peer)
                if older is not None:
                    older.cancel()  # the peer dialled again: what it dialled before is dead to it
                self._current[peer] = scope
                self._on_linked(peer)
                try:
                    await self._read(stream, peer)
                finally:
                    if self._current.get(peer) is scope:
                        del self._current[peer]
        finally:
            await trio.aclose_forcefully(tls)

    async def _handshake(self, tls: TlsStream, stream: FrameStream, host: str) -> ReplicaId:
        turn = Turn(self._turns, (Share.NEWCOMERS, host, None))
        with trio.fail_after(HANDSHAKE_SECONDS_MAX):
            await turn.begin()
            turn.units = HANDSHAKE_UNITS
            turn.end()
            await tls.do_handshake()
            certificate = peer_certificate(tls)
            peer = self._members.get(certificate)
            if peer is None:
                msg = f"a certificate that is in no group file line: {fingerprint(certificate)}"
                raise CertificateError(msg)
            try:
                hello = decode_replica_hello(self._config.group, await stream.receive_handshake())
                if (hello.replica, hello.to) != (peer, self._config.me):
                    msg = f"HELLO from {hello.replica} to {hello.to} over the link from {peer} to {self._config.me}"
                    raise MalformedMessage(msg)
            except ProtocolViolation as error:
                await stream.refuse(str(error))
                raise
            answer = ReplicaHello(replica=self._config.me, to=peer)
            await stream.send(framed(encode_replica_hello(self._config.group, answer)))
        return peer

    async def _read(self, stream: FrameStream, peer: ReplicaId) -> None:
        make = partial(FromPeer, peer=peer)
        party: Party = (Share.PEERS, peer, None)
        useless = self._useless[peer]

        def is_useless(message: PeerMessage) -> bool:
            if self._is_useless(message):
                useless.spend(trio.current_time(), USELESS_UNITS)
                return True
            if isinstance(message, QUESTIONS):
                useless.spend(trio.current_time(), QUESTION_UNITS)
            return False

        while True:
            pause = useless.seconds_overdrawn(trio.current_time())
            if pause:
                self.slowed += 1
                await trio.sleep(min(pause, HOLD_SECONDS))
            frames = await stream.receive()
            if not frames:
                return
            messages, violation = await self._intake.open(
                self._without_surplus(peer, frames), self._opener.parse_peer, is_useless, party=party
            )
            if messages:
                await self._inbox.put(stream, [make(message=message) for message in messages])
            if violation is not None:
                useless.spend(trio.current_time(), VIOLATION_UNITS)
                await self._judge(peer, party, violation.frame)
                raise violation

    async def _judge(self, peer: ReplicaId, party: Party, frame: bytes) -> None:
        """See whether the frame proves something. Who brings many that are signed has to wait for it, also over
        another link; of what would have to wait for long, the signatures inside are not checked."""
        allowance = self._judged[peer]
        pause = allowance.seconds_overdrawn(trio.current_time())
        if pause:
            self.slowed += 1
            await trio.sleep(min(pause, HOLD_SECONDS))
        evidence = await self._intake.proof_in(
            frame,
            party=party,
            may_prove=self._may_prove,
            spend=lambda units: allowance.spend(trio.current_time(), units),
            in_full=pause <= HOLD_SECONDS,
        )
        if evidence is not None:
            self._on_proof(evidence)

    def _without_surplus(self, peer: ReplicaId, frames: list[bytes]) -> list[bytes]:
        """Without the requests that are too many: whoever passed them on will do so again."""
        allowance, now = self._requests[peer], trio.current_time()
        kept = []
        for frame in frames:
            if frame.startswith(REQUEST_PREFIX):
                if allowance.left(now) <= 0:
                    self.dropped_requests += 1
                    continue
                allowance.spend(now, 1)
            kept.append(frame)
        return kept

    def on_ignored(self, peer: ReplicaId) -> None:
        """A message that came over the link from `peer` was checked, and changed nothing."""
        self._useless[peer].spend(trio.current_time(), IGNORED_UNITS)
