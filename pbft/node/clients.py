"""Connections of clients: who is connected as which device, and what waits to be sent to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import structlog
import trio

from crypto.signing import PublicKey
from crypto.tls import client_listener_context
from pbft.core.bodies import REQUEST
from pbft.core.codec import Opener
from pbft.core.effects import FromClient, Ignored, IgnoreReason
from pbft.core.errors import ProtocolViolation
from pbft.core.handshake import (
    NONCE_BYTES,
    Welcome,
    decode_client_hello,
    encode_inspection,
    encode_refused,
    encode_welcome,
    framed,
    is_inspect,
)
from pbft.core.messages import ClientMessage, PeerMessage, SignedRequest
from pbft.node.config import NodeConfig
from pbft.node.connection import Connection
from pbft.node.intake import Inbox, Intake
from pbft.node.listening import Place
from pbft.node.streams import (
    FAREWELL_SECONDS,
    HANDSHAKE_SECONDS_MAX,
    FrameStream,
    SendQueue,
    TlsStream,
    until_one_ends,
)
from pbft.node.turns import (
    HANDSHAKE_UNITS,
    HOLD_SECONDS,
    IGNORED_UNITS,
    REPORT_UNITS,
    USELESS_UNITS,
    Allowances,
    Party,
    Ration,
    Room,
    Share,
    Turn,
    Turns,
)

CLIENT_QUEUE_BYTES_MAX = 8 * 1024 * 1024
CONNECTIONS_PER_DEVICE_MAX = 16
CLIENT_FRAME_BYTES_MAX = 2 * 1024 * 1024
INSPECTIONS_BEFORE_HELLO_MAX = 16
FRAMES_AT_ONCE = 64
"""Of a connection, between two looks at how much room there is for requests."""

NO_FAULT = frozenset(
    {
        IgnoreReason.STATE_NOT_WHOLE,
        IgnoreReason.POOL_FULL,
        IgnoreReason.TOO_MANY_READS,
        IgnoreReason.TOO_MANY_SUBSCRIPTIONS,
    }
)
"""Of this replica, or of others who were here before: a client that meets it has done nothing wrong. What a device is
refused because as much of its own waits is another reason (DEVICE_FULL), and charged."""

log = structlog.get_logger()


class Clients:
    """Accepts clients, reads them, and routes statements to every connection of a device."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        opener: Opener,
        intake: Intake,
        turns: Turns,
        room: Room,
        strangers: Ration,
        inbox: Inbox,
        is_useless: Callable[[PeerMessage], bool],
        knows: Callable[[PublicKey], bool],
        report: Callable[[], bytes],
        on_gone: Callable[[PublicKey], None],
    ) -> None:
        """`knows`: whether the application knows a device; strangers share few turns."""
        self._config = config
        self._opener = opener
        self._intake = intake
        self._turns = turns
        self._room = room
        self._strangers = strangers
        self._inbox = inbox
        self._is_useless_to_peers = is_useless
        self._knows = knows
        self._report = report
        self._on_gone = on_gone
        self._context = client_listener_context(config.tls_pem)
        self._devices: dict[PublicKey, list[Connection]] = {}
        self._held_bytes = 0
        self.closed_for_memory = 0
        self._useless = Allowances(config.limits.address_useless_per_s)
        self.slowed = 0
        """How often a connection was not read for a while, for what comes from its address is of no use."""

    def _on_bytes(self, change: int) -> None:
        """All connections together have a bound. Beyond it the address that holds most loses its largest, until
        the rest fits."""
        self._held_bytes += change
        while change > 0 and self._held_bytes > self._config.limits.connection_bytes_max:
            largest = self._largest()
            if largest is None:
                return
            log.warning("client holds most of the memory", device=largest.device.hex()[:16])
            self.closed_for_memory += 1
            largest.drop()

    def _largest(self) -> Connection | None:
        """Of the address that holds most."""
        held: dict[str, list[Connection]] = {}
        for connections in self._devices.values():
            for each in connections:
                if each.held_bytes:
                    held.setdefault(each.host, []).append(each)
        if not held:
            return None
        crowd = max(held.values(), key=lambda ones: sum(each.held_bytes for each in ones))
        return max(crowd, key=lambda each: each.held_bytes)

    @property
    def connected(self) -> int:
        return sum(len(connections) for connections in self._devices.values())

    def has_room(self, device: PublicKey) -> bool:
        """Whether the device takes what is sent to it. True for one that is gone: what is read for it is dropped."""
        connections = self._devices.get(device, ())
        return all(connection.queue.waiting_bytes < CLIENT_QUEUE_BYTES_MAX // 2 for connection in connections)

    def send_nowait(self, device: PublicKey, data: bytes) -> None:
        """To every connection of the device. One that does not take what it asked for is closed."""
        for connection in self._devices.get(device, ()):
            if not connection.scope.cancel_called and not connection.queue.put_nowait(data):
                log.warning("client too slow", device=device.hex()[:16], queue_bytes_max=CLIENT_QUEUE_BYTES_MAX)
                connection.scope.cancel()

    def on_ignored(self, ignored: Ignored) -> None:
        """Something that a device said changed nothing: each address that it is connected from pays, once."""
        if ignored.reason in NO_FAULT:
            return
        is_cheap = ignored.message_type != REQUEST or ignored.reason is IgnoreReason.DUPLICATE
        units = USELESS_UNITS if is_cheap else IGNORED_UNITS
        connections = self._devices.get(PublicKey(bytes(ignored.source)), ())
        for host in {connection.host for connection in connections}:
            self._useless.of(host).spend(trio.current_time(), units)

    async def handle(self, socket: trio.SocketStream, place: Place) -> None:
        """One connection, from handshake to end. Raises LINK_FAILURES."""
        tls = trio.SSLStream(socket, self._context, server_side=True, https_compatible=True)
        frame_bytes_max = min(CLIENT_FRAME_BYTES_MAX, self._opener.frame_bytes_max)
        stream = FrameStream(tls, frame_bytes_max=frame_bytes_max, on_change=self._on_bytes)
        try:
            device = await self._handshake(tls, stream, place.host)
            if device is not None:
                await self._serve(stream, device, place)
        finally:
            self._on_bytes(-stream.unfinished_bytes)
            await trio.aclose_forcefully(tls)

    async def _serve(self, stream: FrameStream, device: PublicKey, place: Place) -> None:
        queue = SendQueue(CLIENT_QUEUE_BYTES_MAX, self._on_bytes)
        connection = Connection(
            device, place.host, room=self._room, strangers=self._strangers, stream=stream, queue=queue
        )
        if self._knows(device):
            place.become_member()
        connections = self._devices.setdefault(device, [])
        if len(connections) >= CONNECTIONS_PER_DEVICE_MAX:
            # The oldest may be dead without our knowing, after its machine slept.
            log.info("client connects again", device=device.hex()[:16], closed="its oldest connection")
            connections.pop(0).scope.cancel()
        connections.append(connection)
        try:
            with connection.scope:
                await until_one_ends(
                    partial(self._write, stream, connection), partial(self._read, stream, connection, place)
                )
        finally:
            queue.clear()
            if connection in connections:
                connections.remove(connection)
            if not connections and self._devices.get(device) is connections:
                del self._devices[device]
                self._on_gone(device)

    async def _handshake(self, tls: TlsStream, stream: FrameStream, host: str) -> PublicKey | None:
        group = self._config.group
        party: Party = (Share.NEWCOMERS, host, None)
        with trio.fail_after(HANDSHAKE_SECONDS_MAX):
            await self._take_turn(party, HANDSHAKE_UNITS)
            await tls.do_handshake()
            welcome = Welcome(replica=self._config.me, nonce=os.urandom(NONCE_BYTES))
            await stream.send(framed(encode_welcome(group, welcome)))
            frame = await stream.receive_handshake()
            for _ in range(INSPECTIONS_BEFORE_HELLO_MAX):
                if not is_inspect(group, frame):
                    break
                await self._take_turn(party, REPORT_UNITS)
                await stream.send(framed(encode_inspection(group.epoch, self._report())))
                frame = await stream.receive_handshake(or_end=True)
                if not frame:
                    return None  # it only wanted to know
            try:
                device = decode_client_hello(group, self._opener.verifier, welcome, frame).device
            except ProtocolViolation as error:
                await stream.refuse(str(error))
                raise
        return device

    async def _write(self, stream: FrameStream, connection: Connection) -> None:
        await connection.queue.pump(stream)
        await stream.end()

    async def _take_turn(self, party: Party, units: int) -> None:
        """For work that is no frame's."""
        turn = Turn(self._turns, party)
        await turn.begin()
        turn.units = units
        turn.end()

    def _is_useless(self, message: ClientMessage) -> bool:
        return isinstance(message, SignedRequest) and self._is_useless_to_peers(message)

    async def _read(self, stream: FrameStream, connection: Connection, place: Place) -> None:
        while frames := await stream.receive():
            came_at = trio.current_time()
            place.heard()
            is_known = self._knows(connection.device)
            connection.become(known=is_known)
            if is_known:
                place.become_member()
            asked = [frame for frame in frames if is_inspect(self._config.group, frame)]
            if asked:
                await self._take_turn(connection.party, REPORT_UNITS)
                connection.queue.put_nowait(framed(encode_inspection(self._config.group.epoch, self._report())))
                frames = [frame for frame in frames if not is_inspect(self._config.group, frame)]
            for start in range(0, len(frames), FRAMES_AT_ONCE):
                violation = await self._hand_in(frames[start : start + FRAMES_AT_ONCE], connection)
                if violation is not None:
                    log.warning("client refused", device=connection.device.hex()[:16], reason=str(violation))
                    connection.queue.finish(framed(encode_refused(str(violation))))
                    await trio.sleep(FAREWELL_SECONDS)
                    return
                pause = self._useless.of(connection.host).seconds_overdrawn(trio.current_time())
                if pause:
                    self.slowed += 1
                    await trio.sleep(min(pause, HOLD_SECONDS))
                was_held_up = pause or trio.current_time() - came_at > HOLD_SECONDS
                if was_held_up and stream.was_left():
                    return  # the rest is for nobody, and must not keep the place

    async def _hand_in(self, frames: Sequence[bytes], connection: Connection) -> ProtocolViolation | None:
        """Leave what is good with the replica, until the first that is not."""
        make = partial(FromClient, device=connection.device, host=connection.host)
        try:
            messages, violation = await self._intake.open(
                frames,
                self._opener.parse_client,
                self._is_useless,
                party=connection.party,
                admit=connection.admit,
            )
            if messages:
                await self._inbox.put(connection, [make(message=message) for message in messages])
                connection.hand_over()
        finally:
            connection.release()
        return violation
