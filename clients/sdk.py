"""The chat for Python programs: `async with Chat.connect(directory, signer) as chat`.

Nothing here believes one replica: whatever is returned, f+1 of them have signed, and writes say which.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, NoReturn, Self, TypeVar, assert_never

from chatsvc.application import answers, operations, queries, results
from chatsvc.application.answers import Member, Message, RoomDetails, RoomHeader
from chatsvc.application.bodies import BadText, TextTooLong, parse_body
from chatsvc.application.names import BadName, RoomName, parse_room
from chatsvc.application.queries import ROWS_MAX
from chatsvc.application.results import Created, ErrorCode, Joined, Left, Posted, Registered
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial
from crypto.errors import MalformedEncoding
from crypto.signing import Signer
from pbft.client.connection import Dial, dial_tcp
from pbft.client.directory import GroupDirectory
from pbft.client.driver import ReplicaClient, open_client
from pbft.client.errors import (
    AuthenticationFailed,
    ClientError,
    ExitCode,
    LinkState,
    NotEnoughReplicas,
    OutcomeUnknown,
    ReplicasDisagree,
    RequestRejected,
    TopicClosed,
)
from pbft.client.quorums import Accepted, ContradictionLog, Outcome, Rejected, Settings, Unknown
from pbft.client.streams import EventStream
from pbft.core.effects import Evidence
from pbft.core.types import EventIndex, Milliseconds, ReplicaId, SequenceNumber

__all__ = [
    "AuthenticationFailed",
    "Chat",
    "ChatError",
    "ClientFailure",
    "Done",
    "ExitCode",
    "MessageStream",
    "NotEnoughReplicas",
    "OutcomeUnknown",
    "Reading",
    "Receipt",
    "ReplicasDisagree",
    "RequestRejected",
]

TIMEOUT_S = 10.0

ClientFailure = ClientError
"""Base of everything raised here on purpose; its `exit_code` is that of a command that ends by it."""

R = TypeVar("R")
A = TypeVar("A")
T_co = TypeVar("T_co", covariant=True)


class ChatError(ClientError):
    """The chat says no, in f+1 voices. Nothing was changed."""

    exit_code = ExitCode.REJECTED

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What makes it true: ordered at `sequence`, place `index`, as `vouchers` have signed; `needed` would do."""

    sequence: SequenceNumber
    index: int
    vouchers: tuple[ReplicaId, ...]
    needed: int


@dataclass(frozen=True, slots=True)
class Done(Generic[T_co]):
    """An operation was carried out."""

    value: T_co
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[T_co]):
    """An answer as of `sequence`. `ordered`: it has a place in the order of all writes, hence is linearizable."""

    value: T_co
    sequence: SequenceNumber
    vouchers: tuple[ReplicaId, ...]
    needed: int
    ordered: bool


class MessageStream:
    """`async with` subscribes, `async for` gives a room's messages, each once and in order, without end."""

    def __init__(self, room: RoomName, events: EventStream) -> None:
        self.room = room
        self._events = events

    async def __aenter__(self) -> Self:
        await self._events.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._events.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """Raise ChatError when the room cannot be read."""
        try:
            event = await anext(self._events)
        except TopicClosed as error:
            raise ChatError(ErrorCode.NO_SUCH_ROOM, f"there is no room {self.room}") from error
        try:
            return answers.decode_event(event.body)
        except MalformedEncoding as error:
            msg = f"#{self.room}: event {event.index} is no message that this version knows: {error}"
            raise ClientFailure(msg, exit_code=ExitCode.DISAGREE) from error


class Chat:
    """One user's connection to a group. Methods may be called from several tasks at once.

    All raise ChatError for what the chat refuses, OutcomeUnknown when nothing is known in time,
    AuthenticationFailed when a quorum turns this user away; reads ReplicasDisagree, if even ordering did not help.
    """

    def __init__(self, client: ReplicaClient, *, timeout: float) -> None:
        self.client = client
        self._timeout = timeout
        self._is_registered = False

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        directory: GroupDirectory,
        signer: Signer,
        *,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - not of this call, which has none
        settings: Settings | None = None,
        dial: Dial = dial_tcp,
    ) -> AsyncIterator[Chat]:
        """`timeout`: seconds for reaching f+1 replicas, and then for every outcome.

        Raises NotEnoughReplicas, AuthenticationFailed, and CertificateError for a pinned certificate that is none.
        """
        client = open_client(directory, signer, settings=settings, ordered_read=_ordered_read, dial=dial)
        async with client:
            await client.wait_connected(within_s=timeout)
            yield cls(client, timeout=timeout)

    @property
    def contradictions(self) -> ContradictionLog:
        """Who lied, how often, and the evidence."""
        return self.client.contradictions

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Proofs of lies that anybody can verify from the group alone (`pbft.core.evidence`)."""
        return self.client.evidence

    def lies(self) -> dict[ReplicaId, int]:
        """How often each replica contradicted what f+1 of them signed; those that did only."""
        return self.client.contradictions.counts

    def links(self) -> tuple[LinkState, ...]:
        return self.client.links()

    # -- writing

    async def register(self, name: str) -> Done[Registered]:
        """Give this user's key a name. Again with the same name: nothing changes."""
        return await self._write(operations.Register(name), Registered)

    async def create(self, room: str, topic: str = "") -> Done[Created]:
        """Make a room and join it. Here and below, a room's name may begin with `#`."""
        return await self._write(operations.Create(_room(room), topic), Created)

    async def join(self, room: str) -> Done[Joined]:
        return await self._write(operations.Join(_room(room)), Joined)

    async def leave(self, room: str) -> Done[Left]:
        return await self._write(operations.Leave(_room(room)), Left)

    async def post(
        self,
        room: str,
        body: str,
        *,
        action: bool = False,
        reply_to: int | None = None,
        claimed_ms: int | None = None,
        nonce: bytes = b"",
    ) -> Done[Posted]:
        """Say something. `claimed_ms`: when it was said originally; `nonce`: up to 16 bytes to know it again by."""
        try:
            text = parse_body(body)
        except BadText as error:
            code = ErrorCode.BODY_TOO_LONG if isinstance(error, TextTooLong) else ErrorCode.BAD_BODY
            raise ChatError(code, str(error)) from error
        post = operations.Post(
            room=_room(room),
            body=text,
            kind=MessageKind.ACTION if action else MessageKind.TEXT,
            reply_to=None if reply_to is None else MessageIndex(reply_to),
            nonce=nonce,
            claimed_ms=None if claimed_ms is None else Milliseconds(claimed_ms),
        )
        return await self._write(post, Posted)

    async def retry(self, unknown: OutcomeUnknown) -> Done[results.Result]:
        """Wait again for a write whose outcome was unknown; it is carried out once at most.

        Raises ValueError for the OutcomeUnknown of a read, UnknownTicket for one that was retried already.
        """
        if not isinstance(unknown.outcome, Unknown):
            msg = "only a write can be retried; a read is simply asked again"
            raise ValueError(msg)  # noqa: TRY004 - it is no matter of types
        return self._done(await self.client.retry(unknown.outcome, within_s=self._timeout))

    async def _write(self, operation: operations.Operation, kind: type[R]) -> Done[R]:
        # What a device without account does is not remembered, and may run again at another sequence.
        repeatable = not self._is_registered
        try:
            encoded = operations.encode_operation(operation)
            outcome = await self.client.submit(encoded, within_s=self._timeout, repeatable=repeatable)
        except (MalformedEncoding, ValueError) as error:
            raise ChatError(ErrorCode.MALFORMED, str(error)) from error
        done = self._done(outcome)
        if not isinstance(done.value, kind):
            _refuse_nonsense(f"{type(done.value).__name__} in place of {kind.__name__}")
        return Done(done.value, done.receipt)

    def _done(self, outcome: Outcome) -> Done[results.Result]:
        match outcome:
            case Accepted():
                at, needed = outcome.sequence, self.client.group.honest_minimum
                receipt = Receipt(sequence=at, index=outcome.index, vouchers=outcome.vouchers, needed=needed)
            case Rejected():
                msg = "refused under its name: this session was ended by later ones of the same key"
                raise RequestRejected(msg)
            case Unknown():
                msg = f"no outcome within {self._timeout:g} s; it may have been carried out, or be carried out still"
                if not outcome.sent:
                    msg = f"not sent within {self._timeout:g} s: too many operations wait, or too few replicas answer"
                raise OutcomeUnknown(msg, outcome)
            case _:
                assert_never(outcome)
        try:
            result = results.decode_result(outcome.result)
        except MalformedEncoding as error:
            _refuse_nonsense(str(error))
        if isinstance(result, results.Rejected):
            raise ChatError(result.code, result.detail)
        self._is_registered = True
        return Done(result, receipt)

    # -- reading

    async def whoami(self) -> answers.AccountDetails:
        """The account of this user's key."""
        account = await self._read(queries.WhoAmI(), answers.AccountDetails)
        self._is_registered = True
        return account

    async def rooms(self) -> AsyncIterator[RoomHeader]:
        """All rooms, in the order of their names."""
        after: str | None = None
        while True:
            page = await self._read(queries.ListRooms(after=after), answers.RoomList)
            for room in page.rooms:
                yield room
            after = page.next
            if after is None:
                return

    async def members(self, room: str) -> AsyncIterator[Member]:
        """All members of a room, in the order of their names."""
        name, after = _room(room), None
        while True:
            page = await self._read(queries.ListMembers(room=name, after=after), answers.MemberList)
            for member in page.members:
                yield member
            after = page.next
            if after is None:
                return

    async def room(self, room: str) -> RoomDetails:
        return await self._read(queries.ShowRoom(_room(room)), RoomDetails)

    async def message_count(self, room: str) -> int:
        return (await self.room(room)).message_count

    async def history(
        self, room: str, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> tuple[Message, ...]:
        """At most `limit` messages of a room, oldest first.

        Those just before index `before`, or just after index `after` (-1: from the first on); with neither, the last.
        """
        name = _room(room)
        found: list[Message] = []
        if after is not None and after < 0:
            found += (await self._page(name, before=1, after=None, limit=1)).messages
            if not found:
                return ()
            after = 0
        forward = after is not None
        while len(found) < limit:
            page = await self._page(name, before=before, after=after, limit=limit - len(found))
            found = [*found, *page.messages] if forward else [*page.messages, *found]
            if page.next is None:
                break
            after, before = (page.next, None) if forward else (None, page.next)
        return tuple(found[:limit])

    async def _page(self, room: RoomName, *, before: int | None, after: int | None, limit: int) -> answers.History:
        query = queries.ReadHistory(
            room=room,
            before=None if before is None else MessageIndex(before),
            after=None if after is None else MessageIndex(after),
            limit=min(limit, ROWS_MAX),
        )
        return await self._read(query, answers.History)

    async def search(self, text: str, *, limit: int = 20, before: int | None = None) -> tuple[Message, ...]:
        """At most `limit` messages that `text` describes, newest first; only those of a serial below `before`."""
        found: list[Message] = []
        serial = None if before is None else MessageSerial(before)
        while len(found) < limit:
            query = queries.SearchMessages(text=text, before=serial, limit=min(limit - len(found), ROWS_MAX))
            page = await self._read(query, answers.Found)
            found.extend(page.messages)
            serial = page.next
            if serial is None:
                break
        return tuple(found)

    def subscribe(self, room: str, start: int = 0) -> MessageStream:
        """Messages of a room from index `start` on, and then those to come."""
        name = _room(room)
        return MessageStream(name, self.client.subscribe(name.encode(), EventIndex(start)))

    async def ask(self, query: queries.Query, *, linearizable: bool = False) -> Reading[answers.Answer]:
        """Ask anything, and be told what makes the answer true. Raises ChatError for an answer that is an error."""
        try:
            encoded = queries.encode_query(query)
            answer = await self.client.query(encoded, linearizable=linearizable, within_s=self._timeout)
        except (MalformedEncoding, ValueError) as error:
            raise ChatError(ErrorCode.BAD_QUERY, str(error)) from error
        try:
            value = answers.decode_answer(answer.result)
        except MalformedEncoding as error:
            _refuse_nonsense(str(error))
        if isinstance(value, results.Rejected):
            raise ChatError(value.code, value.detail)
        return Reading(
            value=value,
            sequence=answer.sequence,
            vouchers=answer.vouchers,
            needed=self.client.group.honest_minimum,
            ordered=answer.ordered,
        )

    async def _read(self, query: queries.Query, kind: type[A]) -> A:
        value = (await self.ask(query)).value
        if not isinstance(value, kind):
            _refuse_nonsense(f"{type(value).__name__} in place of {kind.__name__}")
        return value


def _ordered_read(query: bytes) -> bytes:
    return operations.encode_operation(operations.Read(query))


def _room(text: str) -> RoomName:
    """Raises ChatError."""
    try:
        return parse_room(text)
    except BadName as error:
        raise ChatError(ErrorCode.BAD_NAME, f"room {text[:40]!r}: {error}") from error


def _refuse_nonsense(what: str) -> NoReturn:
    """f+1 replicas say something that this version of the program does not know."""
    msg = f"the replicas agree on something that this client does not understand: {what}"
    raise ClientFailure(msg, exit_code=ExitCode.DISAGREE)
