"""What answering a query takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import AccountKey, RoomName
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MEMBERSHIPS, MessageIndex, MessageSerial, Role
from chatsvc.application.search_language import SearchPlan
from chatsvc.application.state import Caller, Refusal, Room, find_room
from crypto.signing import PublicKey
from pbft.core.application import Key, Reader, Row

DIRECT_MARK: Final = "@"
"""What the names of direct conversations begin with, and no others."""
_AFTER_DIRECT: Final = chr(ord(DIRECT_MARK) + 1)


class SearchPort(Protocol):
    """Whoever knows which messages match."""

    def find(
        self, plan: SearchPlan, own_rooms: Sequence[str], before_serial: MessageSerial | None, limit: int
    ) -> Sequence[tuple[RoomName, MessageIndex]]:
        """Return at most `limit` matches, those of the highest serials below `before_serial`, highest first.

        Of private rooms only of those among `own_rooms`.
        """
        ...


class Question(NamedTuple):
    """Who asks, and what there is to answer from."""

    reader: Reader
    messages: SearchPort
    limits: ChatLimits
    device: PublicKey
    caller: Caller | None
    """None for a stranger, who may read what is public."""

    def the_caller(self) -> Caller:
        """Raise Refusal for a stranger."""
        if self.caller is None:
            raise Refusal(ErrorCode.NOT_REGISTERED, "this device has no account: register a name first")
        return self.caller

    def room(self, name: str) -> Room:
        """Raise Refusal for a room that is not there for the caller."""
        return find_room(self.reader, name, self.caller)

    def moderated_room(self, name: str) -> Room:
        """Raise Refusal for a room that the caller does not moderate."""
        room = self.room(name)
        if room.role is None or room.role.rank < Role.MODERATOR.rank:
            raise Refusal(ErrorCode.NOT_ALLOWED, f"in {room.title} only a moderator may see this")
        return room

    def page(
        self, table: str, prefix: tuple[str | int, ...], after: str | int | None, limit: int
    ) -> list[tuple[Key, Row]]:
        """Return keys and rows of at most `limit` rows whose key begins with `prefix`, from the one after `after` on,
        which is the last part of a key."""
        return list(islice(self._after(table, prefix, after, limit), limit))

    def _after(
        self, table: str, prefix: tuple[str | int, ...], after: str | int | None, limit: int
    ) -> Iterator[tuple[Key, Row]]:
        start = None if after is None else (*prefix, after)
        scanned = self.reader.scan(table, prefix=prefix, start=start, limit=limit + 1)
        return (item for item in scanned if item[0] != start)


Answering: TypeAlias = Callable[[Question, Any], bytes]
"""Answers one kind of query: the encoding of an answer. Raises Refusal."""


def last_of(found: Sequence[tuple[Key, Row]], limit: int) -> str | None:
    """Return where the page after this one begins; None for the last."""
    return str(found[-1][0][-1]) if len(found) == limit else None


def joined_rooms(question: Question, account: AccountKey, after: str = "") -> list[str]:
    """Return the rooms beyond `after` that the account is in, in order, but no direct conversations: of those others
    open as many as they like. They stand together in the order, and are skipped."""
    limit = question.limits.memberships_per_account + 1
    found: list[str] = []
    for first in (after, max(after, _AFTER_DIRECT)):
        scanned = question.reader.scan(MEMBERSHIPS, prefix=(account,), start=(account, first), limit=limit)
        names = takewhile(lambda name: not name.startswith(DIRECT_MARK), (str(key[1]) for key, _ in scanned))
        found += [name for name in names if name != after]
        if found and found[-1] > DIRECT_MARK:
            break
    return found


def account_key(key: Key) -> AccountKey:
    return AccountKey(str(key[-1]))
