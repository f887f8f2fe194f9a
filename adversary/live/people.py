"""People who talk while a group is attacked, over real sockets, and who know what must have become of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import trio

from chatsvc.application.answers import History, Message, decode_answer
from chatsvc.application.operations import Create, Join, Leave, Operation, Post, Read, Register, encode_operation
from chatsvc.application.queries import ROWS_MAX, ReadHistory, SearchMessages, encode_query
from chatsvc.application.results import ErrorCode, Posted, Rejected, decode_result
from chatsvc.application.schema import MessageIndex
from crypto.signing import Ed25519Signer, PublicKey
from pbft.client.directory import GroupDirectory
from pbft.client.driver import ReplicaClient, open_client
from pbft.client.errors import ClientError
from pbft.client.quorums import Accepted, Settings, Unknown
from pbft.core.types import SequenceNumber

ROOM = "main"
"""As in the simulator: people with a script of their own find the others there."""
SETTINGS = Settings(retransmit_after_ms=400, retransmit_pause_max_ms=2_000, outcome_after_ms=10_000)
RETRY_SECONDS = 10.0
POST = "post"
"""What the posting of a message is called in a journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An operation and when f+1 replicas had signed what came of it, by `time.monotonic`; None: nobody knows."""

    who: str
    what: str
    nonce: bytes
    asked_at: float
    accepted_at: float | None = None
    sequence: SequenceNumber | None = None
    vouchers: tuple[int, ...] = ()
    author: str = ""
    """Of a message: the name it must stand there with, if that is not `who`'s."""
    body: str = ""
    room: str = ROOM
    index: int | None = None
    """The message's place in its room, as f+1 replicas told it."""
    refusal: str = ""
    """Why it was ordered, and refused by the chat: nothing was changed."""
    is_forgotten: bool = False
    """Whether f+1 replicas said that they no longer know whether it ever ran."""

    def __post_init__(self) -> None:
        if not self.author:
            object.__setattr__(self, "author", self.who)

    @property
    def is_refused(self) -> bool:
        return bool(self.refusal)

    @property
    def must_be_there(self) -> bool:
        """Whether it is a message that somebody was told is in its room."""
        return self.what == POST and self.accepted_at is not None and not self.is_refused


@dataclass
class Journal:
    """Everything that was asked for, and when. `tell` is told of every outcome."""

    tell: Callable[[Said], None] = lambda _said: None
    said: list[Said] = field(default_factory=list)
    waiting: Counter[str] = field(default_factory=Counter)

    def add(self, said: Said) -> None:
        self.said.append(said)
        self.tell(said)

    @property
    def accepted(self) -> list[Said]:
        return [said for said in self.said if said.accepted_at is not None]

    def longest_wait_s(self) -> float:
        """How long the slowest operation took until it was accepted."""
        return max((said.accepted_at - said.asked_at for said in self.accepted if said.accepted_at), default=0.0)

    def longest_gap_s(self) -> float:
        """The longest time in which somebody waited and nothing was accepted."""
        steps = sorted(
            [(said.asked_at, 1) for said in self.said]
            + [(said.accepted_at, -1) for said in self.said if said.accepted_at is not None]
        )
        waiting, since, longest = 0, 0.0, 0.0
        for moment, change in steps:
            if waiting == 0 or change < 0:
                longest = max(longest, moment - since if waiting else 0.0)
                since = moment
            waiting += change
        return longest


class Person:
    """One user and device. Each operation is asked for again, under its name, until its outcome is known."""

    def __init__(self, name: str, number: int, client: ReplicaClient, journal: Journal) -> None:
        self.name = name
        self.client = client
        self._number = number
        self._journal = journal
        self._count = 0
        self._is_registered = False
        self._author = name

    async def arrive(self, room: str = ROOM) -> None:
        """Register, and be a member of a room, which is made if there is none."""
        await self.client.wait_connected(self.client.group.honest_minimum, within_s=RETRY_SECONDS)
        await self.do("register", Register(name=self.name))
        self._is_registered = True
        await self.do("create", Create(room=room, topic=""))
        await self.do("join", Join(room=room))

    async def post(self, text: str, room: str = ROOM) -> Said:
        nonce = self._number.to_bytes(4, "big") + self._count.to_bytes(8, "big")
        return await self.do(POST, Post(room=room, body=text, nonce=nonce), nonce)

    async def do(self, what: str, operation: Operation, nonce: bytes = b"") -> Said:
        self._count += 1
        asked_at = time.monotonic()
        self._journal.waiting[self.name] += 1
        said = Said(who=self.name, what=what, nonce=nonce, asked_at=asked_at, author=self._author)
        if isinstance(operation, Post):
            said = replace(said, body=operation.body, room=operation.room)
        try:
            said = await self._until_known(said, encode_operation(operation))
        finally:
            self._journal.waiting[self.name] -= 1
            self._journal.add(said)
        return said

    async def _until_known(self, said: Said, operation: bytes) -> Said:
        repeatable = not self._is_registered or said.what in {"register", "read"}
        outcome = await self.client.submit(operation, within_s=RETRY_SECONDS, repeatable=repeatable)
        while isinstance(outcome, Unknown):
            outcome = await self.client.retry(outcome, within_s=RETRY_SECONDS)
        if not isinstance(outcome, Accepted):
            return replace(said, is_forgotten=True)
        result = decode_result(outcome.result)
        return replace(
            said,
            accepted_at=time.monotonic(),
            sequence=outcome.sequence,
            vouchers=outcome.vouchers,
            index=result.index if isinstance(result, Posted) else None,
            refusal=f"{result.code.value}: {result.detail}" if isinstance(result, Rejected) else "",
        )

    async def talk(self, messages: int, for_s: float) -> None:
        """Post so many messages over a time, one after the other."""
        began = trio.current_time()
        for number in range(messages):
            await trio.sleep_until(began + for_s * number / messages)
            await self.post(f"{self.name} says {number}")

    async def history(self, room: str = ROOM) -> list[Message]:
        """The whole room, as f+1 replicas give it, in its place in the order; of a room that there is not, nothing.
        Raises ClientError.
        """
        found: list[Message] = []
        before: MessageIndex | None = None
        while True:
            query = encode_query(ReadHistory(room=room, before=before, limit=ROWS_MAX))
            answer = await self.client.query(query, linearizable=before is None, within_s=RETRY_SECONDS)
            page = decode_answer(answer.result)
            if isinstance(page, Rejected) and page.code is ErrorCode.NO_SUCH_ROOM:
                return []
            if not isinstance(page, History):
                msg = f"#{room} cannot be read: {page}"
                raise ClientError(msg)
            found[:0] = page.messages
            if page.next is None:
                return found
            before = MessageIndex(page.next)

    async def act(self, kind: str, room: str, text: str) -> None:
        """What the script of a simulated person says: `adversary.simulator.scenario.Action`."""
        match kind:
            case "register":
                if not (await self.do(kind, Register(name=text))).is_refused:
                    self._author = text
                self._is_registered = True
            case "create":
                await self.do(kind, Create(room=room, topic=text))
            case "join":
                await self.do(kind, Join(room=room))
            case "leave":
                await self.do(kind, Leave(room=room))
            case "post":
                await self.post(text, room)
            case "read":
                await self.do(kind, Read(encode_query(ReadHistory(room=room, limit=ROWS_MAX))))
            case _:
                query = (
                    SearchMessages(text=text, limit=ROWS_MAX)
                    if kind == "search"
                    else ReadHistory(room=room, limit=ROWS_MAX)
                )
                await self._ask(encode_query(query))

    async def _ask(self, query: bytes) -> None:
        """Until it is answered, as operations are."""
        self._journal.waiting[self.name] += 1
        try:
            while True:
                try:
                    await self.client.query(query, within_s=RETRY_SECONDS)
                except ClientError:
                    continue
                return
        finally:
            self._journal.waiting[self.name] -= 1


def ordered_read(query: bytes) -> bytes:
    return encode_operation(Read(query))


def client_of(directory: GroupDirectory) -> tuple[ReplicaClient, PublicKey]:
    """A new device's, and its key. Raises CertificateError."""
    signer = Ed25519Signer.generate()
    client = open_client(
        directory,
        signer,
        settings=SETTINGS,
        ordered_read=ordered_read,
    )
    return client, signer.public_key
