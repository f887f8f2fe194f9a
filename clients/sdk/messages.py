"""What a user says, and does to what was said."""

from __future__ import annotations

from collections.abc import Sequence

from chatsvc.application import answers, operations, queries
from chatsvc.application.bodies import BadText, MessageText, TextTooLong, parse_body
from chatsvc.application.results import Applied, ErrorCode, Posted
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial
from clients.codes import new_nonce
from clients.sdk.port import Port, room_name
from clients.sdk.values import ChatError, Done
from pbft.core.types import Milliseconds


class MessageCalls(Port):
    """Raises as said at `Chat`. A message is named by its room and its index there."""

    async def post(
        self,
        room: str,
        body: str,
        *,
        action: bool = False,
        reply_to: int | None = None,
        thread: str | None = None,
        claimed_ms: int | None = None,
        nonce: bytes | None = None,
    ) -> Done[Posted]:
        """Say something. `claimed_ms`: when it was said originally; `nonce`: up to 16 bytes to know it again by.

        Without one it gets a random one: a deleted message leaves a digest, and must not be guessed by it."""
        post = operations.Post(
            room=room_name(room),
            body=_body(body),
            kind=MessageKind.ACTION if action else MessageKind.TEXT,
            reply_to=None if reply_to is None else MessageIndex(reply_to),
            thread=thread,
            nonce=_salt(nonce),
            claimed_ms=None if claimed_ms is None else Milliseconds(claimed_ms),
        )
        return await self.write(post, Posted)

    async def edit(self, room: str, index: int, body: str, *, nonce: bytes | None = None) -> Done[Applied]:
        """Replace what one's own message says; what it said before can still be read."""
        edit = operations.Edit(room_name(room), MessageIndex(index), _body(body), _salt(nonce))
        return await self.write(edit, Applied)

    async def delete(self, room: str, index: int) -> Done[Applied]:
        """Take a message's text away, and all that it said before: one's own, or as moderator anybody's."""
        return await self.write(operations.Delete(room_name(room), MessageIndex(index)), Applied)

    async def react(self, room: str, index: int, reaction: str, *, on: bool = True) -> Done[Applied]:
        return await self.write(operations.React(room_name(room), MessageIndex(index), reaction, on), Applied)

    async def pin(self, room: str, index: int, *, on: bool = True) -> Done[Applied]:
        return await self.write(operations.Pin(room_name(room), MessageIndex(index), on), Applied)

    async def open_poll(
        self,
        room: str,
        question: str,
        options: Sequence[str],
        *,
        thread: str | None = None,
        nonce: bytes | None = None,
    ) -> Done[Posted]:
        poll = operations.OpenPoll(
            room=room_name(room), question=question, options=tuple(options), thread=thread, nonce=_salt(nonce)
        )
        return await self.write(poll, Posted)

    async def vote(self, room: str, index: int, option: int | None) -> Done[Applied]:
        """Choose an option of a poll, counted from 0, another one than before, or none."""
        return await self.write(operations.Vote(room_name(room), MessageIndex(index), option), Applied)

    async def close_poll(self, room: str, index: int) -> Done[Applied]:
        return await self.write(operations.ClosePoll(room_name(room), MessageIndex(index)), Applied)

    async def mark_read(self, room: str, index: int) -> Done[Applied]:
        """Everything before message `index` has been read."""
        return await self.write(operations.MarkRead(room_name(room), MessageIndex(index)), Applied)

    # -- reading

    async def message(self, room: str, index: int) -> answers.Message:
        """Raises ChatError for a message that is not there."""
        found = await self.history(room, before=index + 1, limit=1)
        if not found or found[0].index != index:
            raise ChatError(ErrorCode.NO_SUCH_MESSAGE, f"there is no message {index} in {room}")
        return found[0]

    async def history(
        self, room: str, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> tuple[answers.Message, ...]:
        """At most `limit` messages of a room, oldest first.

        Those just before index `before`, or just after index `after` (-1: from the first on); with neither, the last.
        """
        name = room_name(room)
        found: list[answers.Message] = []
        if after is not None and after < 0:
            found += (await self._page(name, before=1, after=None, limit=1)).messages
            after = 0
        forward = after is not None
        while len(found) < limit:
            page = await self._page(name, before=before, after=after, limit=limit - len(found))
            found = [*found, *page.messages] if forward else [*page.messages, *found]
            if page.next is None:
                break
            after, before = (page.next, None) if forward else (None, page.next)
        return tuple(found[:limit])

    async def _page(self, room: str, *, before: int | None, after: int | None, limit: int) -> answers.History:
        query = queries.ReadHistory(
            room=room,
            before=None if before is None else MessageIndex(before),
            after=None if after is None else MessageIndex(after),
            limit=min(limit, queries.ROWS_MAX),
        )
        return await self.read(query, answers.History)

    async def thread(
        self, room: str, title: str, *, before: int | None = None, limit: int = 50
    ) -> answers.ThreadPage:
        """The last messages of a thread, at most 200, or those before position `before` in it."""
        query = queries.ReadThread(room=room_name(room), thread=title, before=before, limit=limit)
        return await self.read(query, answers.ThreadPage)

    async def threads(self, room: str) -> tuple[answers.Thread, ...]:
        """All threads of a room, in the order of their titles."""
        found: list[answers.Thread] = []
        after: str | None = None
        while True:
            query = queries.ListThreads(room=room_name(room), after=after)
            page = await self.read(query, answers.ThreadList)
            found += page.threads
            after = page.next
            if after is None:
                return tuple(found)

    async def index_at(self, room: str, time_ms: int) -> int:
        """The index of the first message ordered at this time or later, in milliseconds since 1970."""
        query = queries.FindMoment(room_name(room), Milliseconds(time_ms))
        return (await self.read(query, answers.MomentFound)).index

    async def versions(self, room: str, index: int) -> tuple[answers.Version, ...]:
        """What a message said before it was edited, oldest first, and what it says now."""
        query = queries.ListVersions(room_name(room), MessageIndex(index))
        return (await self.read(query, answers.VersionList)).versions

    async def reactions(self, room: str, index: int) -> tuple[answers.Reacted, ...]:
        """Who reacted to a message, and how."""
        found: list[answers.Reacted] = []
        after: str | None = None
        while True:
            query = queries.ListReactions(room=room_name(room), index=MessageIndex(index), after=after)
            page = await self.read(query, answers.ReactionList)
            found += page.reactions
            after = page.next
            if after is None:
                return tuple(found)

    async def pins(self, room: str) -> tuple[answers.Message, ...]:
        """The messages pinned to a room, in ascending order."""
        found: list[answers.Message] = []
        after: MessageIndex | None = None
        while True:
            page = await self.read(queries.ListPins(room=room_name(room), after=after), answers.PinList)
            found += page.messages
            after = page.next
            if after is None:
                return tuple(found)

    async def poll(self, room: str, index: int) -> answers.Poll:
        return await self.read(queries.ShowPoll(room_name(room), MessageIndex(index)), answers.Poll)

    async def search(self, text: str, *, limit: int = 20, before: int | None = None) -> tuple[answers.Message, ...]:
        """At most `limit` messages that `text` describes, newest first; only those of a serial below `before`."""
        found: list[answers.Message] = []
        serial = None if before is None else MessageSerial(before)
        while len(found) < limit:
            query = queries.SearchMessages(text=text, before=serial, limit=min(limit - len(found), queries.ROWS_MAX))
            page = await self.read(query, answers.Found)
            found.extend(page.messages)
            serial = page.next
            if serial is None:
                break
        return tuple(found)


def _salt(nonce: bytes | None) -> bytes:
    return new_nonce() if nonce is None else nonce


def _body(text: str) -> MessageText:
    """Raises ChatError before anything is sent."""
    try:
        return parse_body(text)
    except BadText as error:
        code = ErrorCode.BODY_TOO_LONG if isinstance(error, TextTooLong) else ErrorCode.BAD_BODY
        raise ChatError(code, str(error)) from error
