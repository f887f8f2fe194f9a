"""The full-screen chat from its first question to its last read marker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

import trio
import urwid

from chatsvc.application.results import ErrorCode
from clients.identity import write_identity
from clients.sdk import AuthenticationFailed, Chat, ChatError, ClientFailure, NotEnoughReplicas
from clients.terminal.arguments import BadCommand
from clients.terminal.dialogs import Dialog
from clients.terminal.model import Model
from clients.terminal.palette import Theme, colours_of, palette
from clients.terminal.screen import Screen
from clients.terminal.session import AGAIN_S, Session
from clients.terminal.texts import one_line
from crypto.errors import KeyFileError
from crypto.signing import Ed25519Signer
from pbft.client.connection import Dial, dial_tcp
from pbft.client.directory import GroupDirectory

OFFERED_ROOMS_MAX = 6
QUIT = "Quit"
LOOK_AROUND = "Look around first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`identity`: where a new one is written. `room`: to begin in. `timeout_s`: for each outcome."""

    identity: Path
    theme: Theme = Theme.AUTO
    bell: bool = True
    room: str | None = None
    timeout_s: float = 10.0
    zone: tzinfo | None = None
    dial: Dial = dial_tcp


class App:
    """`signer`: None to make an identity first. `ring`: call attention."""

    def __init__(
        self,
        directory: GroupDirectory,
        signer: Ed25519Signer | None,
        options: Options,
        *,
        ring: Callable[[], None] = lambda: None,
        on_redraw: Callable[[], None] = lambda: None,
    ) -> None:
        self.directory = directory
        self.model = Model(group=directory.group.name, needed=directory.group.honest_minimum)
        self.screen = Screen(self.model, zone=options.zone, on_quit=self.quit, on_redraw=on_redraw)
        self.chat: Chat | None = None
        """The connection, kept for what it found out when it is over."""
        self._signer = signer
        self._options = options
        self._ring = ring if options.bell else lambda: None
        self._life = trio.CancelScope()
        self._renewals = 0

    def quit(self) -> None:
        session = self.screen.session
        if session is None:
            self._life.cancel()
        else:
            self.model.say("leaving...")
            session.leave()

    async def live(self) -> None:
        """Everything but drawing. Returns when the person leaves. Raises what ends a command."""
        with self._life:
            signer = self._signer or await self._make_identity()
            while signer is not None:
                if not self._renewals:
                    self.model.say("connecting...")
                try:
                    if await self._connected(signer):
                        continue
                except NotEnoughReplicas as error:
                    self._renewals = 0
                    self.model.complain(one_line(f"{error}; trying again"))
                    await trio.sleep(AGAIN_S)
                else:
                    return

    async def _connected(self, signer: Ed25519Signer) -> bool:
        """Returns whether the group has ended the session, so that it takes another one."""
        options, before = self._options, self.model.says
        async with Chat.connect(self.directory, signer, timeout=options.timeout_s, dial=options.dial) as chat:
            self.chat = chat
            self.model.connected = True
            self.model.say("")
            if not await self._registered(chat):
                return False
            if self._renewals:
                self.model.complain(before)
            session = Session(chat, self.model, ring=self._ring, zone=self._options.zone, renewals=self._renewals)
            async with trio.open_nursery() as nursery:
                await nursery.start(session.run)
                self.screen.session = session
                session.start(self._begin, session)
        self.screen.session = None
        self._renewals = session.renewals
        return session.is_ended

    # -- first steps

    async def _make_identity(self) -> Ed25519Signer | None:
        path, error = self._options.identity, ""
        text = (
            f"Welcome to {self.directory.group.name}!\n\nYou need an identity: a key that signs what you say, kept"
            f" in a file of yours.\n\n{path}\n\nTo protect it with a passphrase, quit and run"
            " `quorate identity new --passphrase`."
        )
        while True:
            answer = await self.screen.ask(Dialog("First steps", text, ("Make an identity", QUIT), error=error))
            if answer.choice == QUIT:
                return None
            signer = Ed25519Signer.generate()
            try:
                write_identity(path, signer)
            except KeyFileError as failure:
                error = str(failure)
            else:
                return signer

    async def _registered(self, chat: Chat) -> bool:
        """Have the person choose a name if the key has none. Returns False when it would rather leave."""
        error = ""
        while True:
            try:
                await chat.whoami()
            except AuthenticationFailed:
                raise
            except ClientFailure as failure:
                if not isinstance(failure, ChatError) or failure.code is not ErrorCode.NOT_REGISTERED:
                    self.model.complain(one_line(str(failure)))
                    await trio.sleep(AGAIN_S)
                    continue
            else:
                return True
            text = "Choose a name: 1 to 32 characters without spaces. It is yours for good, and others see it."
            answer = await self.screen.ask(Dialog("Your name", text, ("Register", QUIT), field="Name", error=error))
            if answer.choice == QUIT:
                return False
            try:
                await chat.register(answer.text)
            except ClientFailure as failure:
                error = str(failure)

    async def _begin(self, session: Session) -> None:
        """Open the room that was asked for, or the one that has something for this person."""
        model, wanted = self.model, self._options.room
        if model.open is not None:
            await session.enter(model.open)
        elif wanted is not None:
            await self._join_or_enter(session, wanted)
        elif model.rooms:
            urgent = [room for room in model.ordered_rooms() if room.is_urgent]
            await session.enter((urgent or model.ordered_rooms())[0].name)
        else:
            await self._first_room(session)

    async def _join_or_enter(self, session: Session, room: str) -> None:
        name = room.removeprefix("#").casefold()
        if name not in self.model.rooms:
            name = (await session.chat.join(room)).value.room
            await session.load_rooms()
        await session.enter(name)

    async def _first_room(self, session: Session) -> None:
        error = ""
        while True:
            offered: list[str] = []
            async for header in session.chat.rooms():
                offered.append(f"#{header.room}")
                if len(offered) >= OFFERED_ROOMS_MAX:
                    break
            text = "Pick a room to join, or type a name: if there is no such room, it is made for you."
            choices = ("Join or create", *offered, LOOK_AROUND)
            answer = await self.screen.ask(Dialog("Your first room", text, choices, field="Room", error=error))
            if answer.choice == LOOK_AROUND:
                self.model.say("/rooms lists the rooms, /join ROOM joins one, /create ROOM makes one; F1: keys")
                return
            room = answer.text if answer.choice == choices[0] else answer.choice
            try:
                await self._join_or_create(session, room)
            except (ClientFailure, BadCommand) as failure:
                error = str(failure)
            else:
                return

    async def _join_or_create(self, session: Session, room: str) -> None:
        try:
            done = (await session.chat.join(room)).value.room
        except ChatError as error:
            if error.code is not ErrorCode.NO_SUCH_ROOM:
                raise
            done = (await session.chat.create(room)).value.room
        await session.load_rooms()
        await session.enter(done)
        self.model.say(f"this is #{done}: type, Enter says it; F1: keys, /help: commands")


async def show(app: App, terminal: Any, options: Options, environment: Mapping[str, str]) -> None:
    """Draw the application on a terminal of `urwid` until the person leaves."""
    events = urwid.TrioEventLoop()
    terminal.set_terminal_properties(colors=colours_of(environment))
    loop = urwid.MainLoop(
        app.screen, palette(options.theme, environment), screen=terminal, event_loop=events, handle_mouse=True
    )
    async with trio.open_nursery() as nursery:
        with loop.start():
            terminal.tty_signal_keys(intr="undefined")  # from here on: what it was comes back with the screen
            nursery.start_soon(_live, app, nursery.cancel_scope)
            await events.run_async()


async def _live(app: App, drawing: trio.CancelScope) -> None:
    await app.live()
    drawing.cancel()
