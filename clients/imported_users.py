"""The people of an import: each becomes a user with a key of its own, derived from the importer's.

So a second run finds its users again, and no key has to be kept. Connections are opened as they are needed.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import trio

from chatsvc.application.names import BadName, DisplayName, parse_account
from chatsvc.application.results import ErrorCode
from clients.sdk import Chat, ChatError, Done, OutcomeUnknown
from crypto.digest import digest_of_parts
from crypto.signing import Ed25519Signer, SecretSeed
from pbft.client.connection import Dial, dial_tcp
from pbft.client.directory import GroupDirectory
from pbft.core.types import ReplicaId

OPEN_USERS_MAX = 40
"""Users that are connected at the same time; the one that spoke longest ago leaves first."""

PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 60.0
RETRIES_MAX = 6
"""How often a write of unknown outcome is waited for again, each time as long as for any."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in what is imported. `label`: tells people apart, and gives the key; `name`: for the account."""

    label: str
    name: str


@dataclass(frozen=True, slots=True)
class _User:
    chat: Chat
    leave: trio.Event


async def patiently(chat: Chat, call: Callable[[], Awaitable[Done[T]]]) -> Done[T]:
    """Return what `call`, a write of `chat`, gives; called again whenever the group allows its user more operations.

    A write of unknown outcome is waited for again under its own name: it is carried out once. Raises OutcomeUnknown
    if nothing was heard of it all the same.
    """
    while True:
        try:
            return await _known(chat, call)
        except ChatError as error:
            if error.code is not ErrorCode.RATE_LIMITED or error.retry_ms is None:
                raise
            wait_s = error.retry_ms / 1000 - time.time()
        await trio.sleep(min(max(wait_s, PAUSE_MIN_S), PAUSE_MAX_S))  # one of the clocks may be wrong


async def _known(chat: Chat, call: Callable[[], Awaitable[Done[T]]]) -> Done[T]:
    try:
        return await call()
    except OutcomeUnknown as error:
        unknown = error
    for left in reversed(range(RETRIES_MAX)):
        try:
            return cast("Done[T]", await chat.retry(unknown))
        except OutcomeUnknown as error:
            unknown = error
            if not left:
                raise
    raise unknown


def user_signer(importer: Ed25519Signer, label: str) -> Ed25519Signer:
    """The key of one person: the importer's secret and the label give it."""
    return Ed25519Signer(SecretSeed(digest_of_parts(b"quorate/import/1", importer.reveal_seed(), label.encode())))


class ImportedUsers:
    """Connects, registers and brings into rooms whoever is asked for."""

    def __init__(
        self,
        directory: GroupDirectory,
        importer: Ed25519Signer,
        *,
        taken_suffix: str,
        timeout_s: float,
        nursery: trio.Nursery,
        dial: Dial,
    ) -> None:
        self.introduced = 0
        """Users registered by this run."""
        self._directory = directory
        self.importer = importer
        self._taken_suffix = taken_suffix
        self._timeout_s = timeout_s
        self._nursery = nursery
        self._dial = dial
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._registered: set[str] = set()
        self._joined: set[tuple[str, str]] = set()
        self._authors: dict[str, DisplayName] = {}
        self._refused: dict[tuple[str, str], ChatError] = {}
        self._lies: Counter[ReplicaId] = Counter()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        directory: GroupDirectory,
        importer: Ed25519Signer,
        *,
        taken_suffix: str,
        timeout_s: float,
        dial: Dial = dial_tcp,
    ) -> AsyncIterator[ImportedUsers]:
        """`taken_suffix`: behind a name that somebody else has. Users stay connected until the context ends."""
        async with trio.open_nursery() as nursery:
            yield cls(directory, importer, taken_suffix=taken_suffix, timeout_s=timeout_s, nursery=nursery, dial=dial)
            nursery.cancel_scope.cancel()

    async def in_room(self, person: Person, room: str) -> Chat:
        """Return the connection of somebody who is a member of the room. Raises ChatError, again if asked again."""
        place = (person.label, room)
        if place in self._refused:
            raise self._refused[place]
        chat = await self._connected(person.label)
        if place in self._joined:
            return chat
        try:
            if person.label not in self._registered:
                await self._register(chat, person.name)
                self._registered.add(person.label)
            await self._join(chat, room)
        except ChatError as error:
            self._refused[place] = error
            raise
        self._joined.add(place)
        return chat

    def may_be(self, person: Person, author: str) -> bool:
        """Whether the person's account can be called so."""
        for name in (person.name, person.name + self._taken_suffix):
            try:
                if parse_account(name).key == parse_account(author).key:
                    return True
            except BadName:
                continue
        return False

    async def author(self, person: Person, room: str) -> DisplayName:
        """Return what the person's account is called. Raises ChatError as `in_room` does."""
        if person.label not in self._authors:
            chat = await self.in_room(person, room)
            self._authors[person.label] = (await chat.whoami()).name
        return self._authors[person.label]

    def lies(self) -> dict[ReplicaId, int]:
        """Contradictions found so far, by replica, over all users."""
        total = self._lies.copy()
        for user in self._users.values():
            total.update(user.chat.lies())
        return dict(sorted(total.items()))

    async def _connected(self, label: str) -> Chat:
        known = self._users.get(label)
        if known is not None:
            self._users.move_to_end(label)
            return known.chat
        if len(self._users) >= OPEN_USERS_MAX:
            _, oldest = self._users.popitem(last=False)
            self._lies.update(oldest.chat.lies())
            oldest.leave.set()
        user: _User = await self._nursery.start(self._host, label)
        self._users[label] = user
        return user.chat

    async def _host(self, label: str, *, task_status: trio.TaskStatus[_User]) -> None:
        """A connection lives in a task of its own: users come and go in any order."""
        signer = user_signer(self.importer, label)
        async with Chat.connect(self._directory, signer, timeout=self._timeout_s, dial=self._dial) as chat:
            user = _User(chat=chat, leave=trio.Event())
            task_status.started(user)
            await user.leave.wait()

    async def _register(self, chat: Chat, name: str) -> None:
        try:
            await chat.register(name)
            self.introduced += 1
        except ChatError as error:
            if error.code is ErrorCode.NAME_TAKEN:
                await chat.register(name + self._taken_suffix)
                self.introduced += 1
            elif error.code is not ErrorCode.ALREADY_REGISTERED:
                raise

    @staticmethod
    async def _join(chat: Chat, room: str) -> None:
        try:
            await chat.join(room)
        except ChatError as error:
            if error.code is not ErrorCode.ALREADY_A_MEMBER:
                raise
