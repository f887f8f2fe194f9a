"""Asking one replica how it is. Its answer is its own word: for operating it, never for the chat."""

from __future__ import annotations

import os
import ssl
from typing import Annotated, Any

import msgspec
import trio

from crypto.errors import CertificateError
from crypto.tls import check_pinned, client_dial_context
from pbft.client.connection import certificate_problem
from pbft.client.directory import GroupDirectory, ReplicaContact
from pbft.core.errors import MalformedMessage, ProtocolViolation
from pbft.core.handshake import (
    INSPECTION_BYTES_MAX,
    FrameSplitter,
    decode_inspection,
    decode_welcome,
    encode_inspect,
    framed,
)
from pbft.core.types import ReplicaId

Report = dict[str, Any]
"""The fields of `_Report`, as JSON has them, from a replica that answered."""


_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Member = Annotated[int, msgspec.Meta(ge=0, le=255)]


_Decimal = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,3}$")]
_Code = Annotated[str, msgspec.Meta(max_length=24)]


class _Waiting(msgspec.Struct):
    replicas: Annotated[list[_Member], msgspec.Meta(max_length=64)]
    what: Annotated[str, msgspec.Meta(max_length=500)]


class _Transfer(msgspec.Struct):
    checkpoint: _Number
    pages_wanted: _Number
    pages_fetched: _Number
    bytes_fetched: _Number


class _Link(msgspec.Struct):
    up: bool
    failure: str | None
    dials: int
    dropped_frames: int


class _Report(msgspec.Struct):
    """What `docs/operating.md` lists. Anything else in a report is dropped, anything missing refuses it,
    but for what has a default."""

    view: int
    primary: int
    role: str
    last_executed: int
    stable_checkpoint: int
    state_root: str
    agreed_time_ms: int
    pending_requests: int
    open_slots: list[dict[str, Any]]
    peers: dict[str, _Link]
    clients: int
    ledger_commits: int
    ignored: dict[str, int]
    closed_connections: dict[str, int]
    evidence: int
    evidence_dropped: int
    alarms: list[str]
    uptime_s: float
    cpu_s: float
    proven: Annotated[dict[_Decimal, dict[_Code, _Number]], msgspec.Meta(max_length=64)] | None = None
    in_view_change: bool = False
    timeout_doublings: _Number = 0
    waiting_for: _Waiting | None = None
    transfer: _Transfer | None = None
    dropped_messages: int = 0
    shed: dict[str, int] = msgspec.field(default_factory=dict)
    slowed_links: int = 0


async def inspect_replica(directory: GroupDirectory, replica: ReplicaId, *, timeout_s: float) -> Report | str:
    """The replica's report, or in words why there is none. Needs no identity."""
    contact = directory.replicas[replica]
    try:
        with trio.fail_after(timeout_s):
            socket = await trio.open_tcp_stream(contact.host, contact.port)
            tls = trio.SSLStream(socket, client_dial_context(contact.certificate_der), https_compatible=True)
            try:
                return await _ask(tls, directory, replica)
            finally:
                await trio.aclose_forcefully(tls)
    except trio.TooSlowError:
        return f"no answer within {timeout_s:g} s"
    except (OSError, ssl.SSLError, trio.BrokenResourceError) as error:
        return _reason(error, contact)
    except (CertificateError, ProtocolViolation, ValueError) as error:
        return str(error)


def _reason(error: Exception, contact: ReplicaContact) -> str:
    """What trio's own exceptions do not say, but what caused them does."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return certificate_problem(cause)
    if isinstance(cause, ExceptionGroup):  # of all the addresses of a name; the first says enough
        first = cause.exceptions[0]
        if isinstance(first, OSError) and first.errno is not None:
            return f"{contact.host}:{contact.port}: {os.strerror(first.errno).lower()}"
    return str(cause or error)


async def _ask(tls: trio.SSLStream[trio.SocketStream], directory: GroupDirectory, replica: ReplicaId) -> Report:
    await tls.do_handshake()
    check_pinned(tls, directory.replicas[replica].certificate_der)
    await tls.send_all(framed(encode_inspect(directory.group.epoch)))
    splitter = FrameSplitter(INSPECTION_BYTES_MAX)
    frames: list[bytes] = []
    while len(frames) < 2:
        data = await tls.receive_some()
        if not data:
            msg = "the connection closed before the answer was there"
            raise MalformedMessage(msg)
        frames.extend(splitter.feed(data))
    decode_welcome(directory.group, frames[0])
    report = decode_inspection(frames[1])
    if report is None:
        msg = "the replica answered something else than its report"
        raise MalformedMessage(msg)
    return checked_report(report, replica)


def checked_report(report: bytes, replica: ReplicaId) -> Report:
    """A report as `_Report` has it, its texts harmless. Raises MalformedMessage."""
    try:
        checked = msgspec.json.decode(report, type=_Report)
    except (msgspec.DecodeError, RecursionError) as error:
        msg = f"the replica's report is not what a replica reports: {error}"
        raise MalformedMessage(msg) from error
    # What it calls itself does not matter: the certificate says who was asked.
    return {name: _harmless(value) for name, value in msgspec.to_builtins(checked).items()} | {"replica": replica}


def _harmless(value: Any) -> Any:
    """Texts without control characters: a report is shown on terminals."""
    match value:
        case str():
            return "".join(char if char.isprintable() else "?" for char in value)
        case list():
            return [_harmless(item) for item in value]
        case dict():
            return {_harmless(key): _harmless(item) for key, item in value.items()}
        case _:
            return value


async def inspect_all(directory: GroupDirectory, *, timeout_s: float) -> list[Report | str]:
    """One entry per replica, in order; all are asked at once."""
    answers: list[Report | str] = [""] * directory.group.size

    async def ask(replica: ReplicaId) -> None:
        answers[replica] = await inspect_replica(directory, replica, timeout_s=timeout_s)

    async with trio.open_nursery() as nursery:
        for replica in directory.group.replicas:
            nursery.start_soon(ask, replica)
    return answers
