"""The link to one replica: dialled, pinned, authenticated, read and written, and dialled again when it breaks."""

from __future__ import annotations

import random
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias

import trio

from crypto.canonical import encode
from crypto.errors import CertificateError
from crypto.signing import Signer
from crypto.tls import check_pinned, client_dial_context
from pbft.client.directory import ReplicaContact
from pbft.client.errors import LinkState
from pbft.core.claims import check_claims
from pbft.core.codec import Opener
from pbft.core.errors import MalformedMessage, ProtocolViolation
from pbft.core.handshake import (
    HANDSHAKE_BYTES_MAX,
    INSPECTION,
    FrameSplitter,
    Refused,
    decode_inspection,
    decode_welcome,
    encode_client_hello,
    encode_inspect,
    framed,
    is_refused,
)
from pbft.core.messages import Answer, Events, Reply, ToClient
from pbft.core.types import ReplicaId
from pbft.transport import keep_alive

DIAL_SECONDS_MAX = 5.0
"""For connecting, TLS and the handshake together."""
SEND_SECONDS_MAX = 30.0
RECONNECT_PAUSE_MIN_S = 0.05
RECONNECT_PAUSE_MAX_S = 5.0
SETTLED_SECONDS = 1.0
"""A link that lasts so long was not refused, and the next pause is short again."""
RECEIVE_BYTES = 256 * 1024
SEND_BYTES = 256 * 1024
SEND_QUEUE_BYTES_MAX = 8 * 1024 * 1024
SLICE_FRAMES = 32
"""Signature checks between two looks at the other links: about a millisecond."""

Dial: TypeAlias = Callable[[ReplicaContact], Awaitable[trio.abc.Stream]]
"""Opens a byte stream to a replica's client listener; raises OSError."""
Tls: TypeAlias = "trio.SSLStream[trio.abc.Stream]"

_INSPECTION_PREFIX: Final = encode([INSPECTION, 0, b""])[: 2 + len(INSPECTION)]
_REFUSED_PREFIX: Final = encode(["REFUSED", ""])[: 2 + len("REFUSED")]

LINK_FAULTS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, ProtocolViolation)
"""What ends one link, and nothing else."""


EXPIRED = 10
"""OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED."""


class NotTheReplica(ProtocolViolation):
    """Whoever answers there does not hold the pinned certificate."""


def certificate_problem(error: ssl.SSLCertVerificationError) -> str:
    """What a person can do about a certificate that does not verify."""
    if error.verify_code == EXPIRED:
        return (
            "its certificate in the group file has expired: whoever runs the replica makes a new one with "
            "'quorate renew', and gives everybody the new group file"
        )
    return f"its certificate is not the pinned one: {error.verify_message}"


class LinkOwner(Protocol):
    """Who is told what happens on the links."""

    def is_surplus(self, message: Reply | Answer | Events) -> bool:
        """Whether the message would change nothing, even if its signature is good."""
        ...

    def heard(self, messages: Sequence[ToClient]) -> trio.Event:
        """Take verified messages; the event says when they are being handled."""
        ...

    def link_changed(self, replica: ReplicaId, *, up: bool | None) -> None:
        """The link is up or down now; None: only its `state` has changed."""
        ...


async def dial_tcp(contact: ReplicaContact) -> trio.abc.Stream:
    stream = await trio.open_tcp_stream(contact.host, contact.port)
    try:
        keep_alive(stream)
    except OSError:
        await trio.aclose_forcefully(stream)
        raise
    return stream


class _Inspection:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.report: bytes | None = None


class Connection:
    """One replica's link. `run` keeps it up; `send_nowait` drops what is sent while it is down."""

    def __init__(
        self,
        *,
        contact: ReplicaContact,
        replica: ReplicaId,
        signer: Signer,
        opener: Opener,
        owner: LinkOwner,
        dial: Dial,
    ) -> None:
        self.replica = replica
        self._contact = contact
        self._signer = signer
        self._opener = opener
        self._group = opener.group
        self._owner = owner
        self._dial = dial
        self._context = client_dial_context(contact.certificate_der)
        self._up = False
        self._refused: str | None = None
        self._last_error: str | None = None
        self._frames: deque[bytes] = deque()
        self._frame_bytes = 0
        self._wake = trio.Event()
        self._overflow = False
        self._inspections: list[_Inspection] = []

    @property
    def state(self) -> LinkState:
        return LinkState(replica=self.replica, connected=self._up, refused=self._refused, last_error=self._last_error)

    @property
    def is_refused(self) -> bool:
        return self._refused is not None

    # -- for the owner

    def send_nowait(self, data: bytes) -> None:
        """Queue what is framed already. A replica that does not take what is sent to it loses its link."""
        if not self._up or self._overflow:
            return
        self._frames.append(data)
        self._frame_bytes += len(data)
        self._overflow = self._frame_bytes > SEND_QUEUE_BYTES_MAX
        self._wake.set()

    async def inspect(self) -> bytes | None:
        """Return the report of the replica about itself; None when the link is down or breaks."""
        if not self._up:
            return None
        inspection = _Inspection()
        self._inspections.append(inspection)
        self.send_nowait(framed(encode_inspect(self._group.epoch)))
        try:
            await inspection.done.wait()
        finally:
            if inspection in self._inspections:
                self._inspections.remove(inspection)
        return inspection.report

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        pause = RECONNECT_PAUSE_MIN_S
        while True:
            began = trio.current_time()
            try:
                await self._connect_and_serve()
                self._last_error = "the replica closed the connection"
            except (Refused, NotTheReplica) as error:
                self._refused = self._last_error = str(error)
            except LINK_FAULTS as error:
                self._last_error = str(error) or str(error.__cause__ or type(error).__name__)
            self._on_down()
            if trio.current_time() - began > RECONNECT_PAUSE_MAX_S:
                pause = RECONNECT_PAUSE_MIN_S
            await trio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
            pause = min(2 * pause, RECONNECT_PAUSE_MAX_S)

    # -- one connection

    async def _connect_and_serve(self) -> None:
        tls: Tls | None = None
        try:
            with trio.fail_after(DIAL_SECONDS_MAX):
                stream = await self._dial(self._contact)
                tls = trio.SSLStream(stream, self._context, https_compatible=True)
                await self._authenticate(tls)
                splitter, early = await self._shake_hands(tls)
        except trio.TooSlowError as error:
            msg = f"no connection within {DIAL_SECONDS_MAX:g} seconds"
            raise OSError(msg) from error
        else:
            await self._serve(tls, splitter, early)
        finally:
            if tls is not None:
                await trio.aclose_forcefully(tls)

    async def _authenticate(self, tls: Tls) -> None:
        """Raises NotTheReplica for any certificate but the pinned one."""
        try:
            await tls.do_handshake()
            check_pinned(tls, self._contact.certificate_der)
        except CertificateError as error:
            raise NotTheReplica(str(error)) from error
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                msg = certificate_problem(error.__cause__)
                raise NotTheReplica(msg) from error
            if isinstance(error.__cause__, ssl.SSLError):
                msg = f"no TLS: {error.__cause__.reason or error.__cause__}"
                raise OSError(msg) from error
            raise

    async def _shake_hands(self, tls: Tls) -> tuple[FrameSplitter, list[bytes]]:
        splitter = FrameSplitter(HANDSHAKE_BYTES_MAX)
        frames: list[bytes] = []
        while not frames:
            data = await tls.receive_some(RECEIVE_BYTES)
            if not data:
                msg = "the replica closed the connection during the handshake"
                raise OSError(msg)
            frames = splitter.feed(data)
        welcome = decode_welcome(self._group, frames.pop(0))
        if welcome.replica != self.replica:
            msg = f"it calls itself replica {welcome.replica}"
            raise MalformedMessage(msg)
        await tls.send_all(framed(encode_client_hello(self._group, self._signer, welcome)))
        splitter.frame_bytes_max = self._opener.frame_bytes_max
        return splitter, frames

    async def _serve(self, tls: Tls, splitter: FrameSplitter, early: list[bytes]) -> None:
        """Read and write until one of both ends."""
        faults: list[Exception] = []
        self._up = True
        self._last_error = None
        self._owner.link_changed(self.replica, up=True)
        async with trio.open_nursery() as nursery:

            async def until_fault(task: Callable[[], Awaitable[None]]) -> None:
                try:
                    await task()
                except LINK_FAULTS as error:
                    faults.append(error)
                nursery.cancel_scope.cancel()

            nursery.start_soon(until_fault, partial(self._read, tls, splitter, early))
            nursery.start_soon(until_fault, partial(self._write, tls))
            nursery.start_soon(self._settle)
        if faults:
            raise faults[0]

    async def _settle(self) -> None:
        await trio.sleep(SETTLED_SECONDS)
        self._accepted()

    def _accepted(self) -> None:
        if self._refused is not None:
            self._refused = None
            self._owner.link_changed(self.replica, up=None)

    def _on_down(self) -> None:
        was_up, self._up = self._up, False
        self._frames.clear()
        self._frame_bytes = 0
        self._overflow = False
        for inspection in self._inspections:
            inspection.done.set()
        self._inspections.clear()
        self._owner.link_changed(self.replica, up=False if was_up else None)

    async def _write(self, tls: Tls) -> None:
        while True:
            while not self._frames:
                self._wake = trio.Event()
                await self._wake.wait()
            if self._overflow:
                msg = "it does not take what is sent to it"
                raise OSError(msg)
            chunk = [self._frames.popleft()]
            size = len(chunk[0])
            while self._frames and size + len(self._frames[0]) <= SEND_BYTES:
                size += len(self._frames[0])
                chunk.append(self._frames.popleft())
            self._frame_bytes -= size
            with trio.fail_after(SEND_SECONDS_MAX):
                await tls.send_all(b"".join(chunk))

    async def _read(self, tls: Tls, splitter: FrameSplitter, frames: list[bytes]) -> None:
        """At most one slice of messages waits to be handled: then the link is not read on."""
        taken = trio.Event()
        taken.set()
        while True:
            for start in range(0, len(frames), SLICE_FRAMES):
                if start:
                    await trio.lowlevel.checkpoint()
                messages, violation = self._open_all(frames[start : start + SLICE_FRAMES])
                if messages:
                    self._accepted()
                    await taken.wait()
                    taken = self._owner.heard(messages)
                if violation is not None:
                    raise violation
            data = await tls.receive_some(RECEIVE_BYTES)
            if not data:
                return
            frames = splitter.feed(data)

    def _open_all(self, frames: Sequence[bytes]) -> tuple[list[ToClient], ProtocolViolation | None]:
        """The messages before the first violation, and the violation."""
        messages: list[ToClient] = []
        for frame in frames:
            try:
                message = self._open(frame)
            except ProtocolViolation as error:
                return messages, error
            if message is not None:
                messages.append(message)
        return messages, None

    def _open(self, frame: bytes) -> ToClient | None:
        """A verified message that matters. Raises ProtocolViolation."""
        if frame.startswith(_INSPECTION_PREFIX):
            self._on_inspection(frame)
            return None
        if frame.startswith(_REFUSED_PREFIX):
            raise Refused(is_refused(frame) or "refused without a reason")
        unverified = self._opener.parse_reply(frame)
        signed = unverified.value
        if signed.signer != self.replica:
            msg = f"a statement of replica {signed.signer} on the link of replica {self.replica}"
            raise MalformedMessage(msg)
        if self._owner.is_surplus(signed.message):
            return None
        check_claims(self._opener.verifier, unverified.claims)
        return self._opener.accept(unverified)

    def _on_inspection(self, frame: bytes) -> None:
        report = decode_inspection(frame)
        if report is None:
            msg = "a malformed INSPECTION"
            raise MalformedMessage(msg)
        for inspection in self._inspections:
            inspection.report = report
            inspection.done.set()
        self._inspections.clear()
