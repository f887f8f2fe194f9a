"""Collects the effects of one step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from crypto.signing import PublicKey
from pbft.core.effects import (
    EFFECT_FIELDS,
    Alarm,
    Effects,
    Evidence,
    Execute,
    Ignored,
    IgnoreReason,
    InstallPages,
    InstallState,
    ReadEvents,
    Record,
    ReplyTo,
    RunQuery,
    Send,
    ServeArchive,
    ServeState,
    SetTimer,
    Timer,
)
from pbft.core.messages import PeerMessage, ToClient
from pbft.core.types import Milliseconds, ReplicaId


@dataclass(slots=True)
class Output:
    """Mutable twin of Effects; its first fields are the same, in the same order."""

    persist: list[Record] = field(default_factory=list)
    archive: list[Record] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    send: list[Send] = field(default_factory=list)
    reply: list[ReplyTo] = field(default_factory=list)
    install: list[InstallPages | InstallState] = field(default_factory=list)
    execute: list[Execute] = field(default_factory=list)
    read: list[RunQuery | ReadEvents] = field(default_factory=list)
    serve: list[ServeArchive] = field(default_factory=list)
    serve_state: list[ServeState] = field(default_factory=list)
    timers: list[SetTimer] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    link: ReplicaId | None = None
    """Whose link brought what is being looked at; not part of the effects."""

    def send_to(self, to: Iterable[ReplicaId], message: PeerMessage) -> None:
        self.send.append(Send(to=tuple(to), message=message))

    def reply_to(self, device: PublicKey, message: ToClient) -> None:
        self.reply.append(ReplyTo(device=device, message=message))

    def set_timer(self, timer: Timer, at: Milliseconds) -> None:
        self.timers.append(SetTimer(timer, at))

    def accuse(self, code: str, culprit: ReplicaId | PublicKey, *statements: bytes) -> None:
        self.evidence.append(Evidence(code=code, culprit=culprit, statements=statements))

    def alarm(self, text: str) -> None:
        self.alarms.append(Alarm(text=text))

    def ignore(self, reason: IgnoreReason, source: ReplicaId | PublicKey, message_type: str) -> None:
        self.ignored.append(Ignored(reason=reason, source=source, message_type=message_type, link=self.link))

    def effects(self) -> Effects:
        return Effects(**{name: tuple(getattr(self, name)) for name in EFFECT_FIELDS})
