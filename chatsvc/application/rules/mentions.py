"""Whom a message names, and who is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chatsvc.application.events import EventKind, NoticeKind
from chatsvc.application.names import (
    NAME_BYTES_MAX,
    AccountKey,
    BadName,
    DisplayName,
    is_name_character,
    is_word_character,
    parse_account,
)
from chatsvc.application.operations import DIRECT_MEMBERS_MAX
from chatsvc.application.schema import ACCOUNTS, EVENTS, AccountRow, EventRow, MessageIndex
from chatsvc.application.state import Account, Caller, Room, State, find_member
from pbft.core.application import Reader

_LOOKUPS_MAX = 64
"""Names looked for in one message."""
_PUNCTUATION_MAX = 3
"""Characters after a name that may be the sentence's."""


def find_mentions(state: State, room: Room, body: str) -> list[Account]:
    """Return the accounts that `body` names as `@name` and that may read the room, each once, the first ones."""
    if "@" not in body:
        return []
    found: dict[AccountKey, Account] = {}
    lookups = 0
    for run in _runs(body):
        for candidate in _candidates(run):
            lookups += 1
            account = _reader_of(state.rows, room, candidate)
            if account is not None:
                found[account.key] = account
                break
        if lookups >= _LOOKUPS_MAX or len(found) == state.limits.mentions_per_message:
            break
    return list(found.values())


def tell_of(
    state: State,
    room: Room,
    caller: Caller,
    index: MessageIndex,
    *,
    mentioned: Sequence[Account],
    replied_to: DisplayName | None,
) -> None:
    """Tell everybody whom a new message concerns, once each, and never the author: who is named in it, whose message
    it replies to, and in a direct conversation the others."""
    told: dict[AccountKey, NoticeKind] = {account.key: NoticeKind.MENTION for account in mentioned}
    if replied_to is not None:
        author = parse_account(replied_to).key
        if author not in told and author != caller.account and _may_read(state.rows, room, author):
            told[author] = NoticeKind.REPLY
    if room.row.direct:
        for key in _people(state.rows, room):
            told.setdefault(key, NoticeKind.DIRECT)
    told.pop(caller.account, None)
    for key, kind in told.items():
        state.tell(key, kind, room.name, caller, message=index)


def _runs(body: str) -> Iterator[str]:
    """Yield what stands after each `@` that does not stand within a word, up to a character that no name has."""
    end = body.find("@")
    while end >= 0:
        at, start = end, end + 1
        end = start
        while end < len(body) and end - start <= NAME_BYTES_MAX and is_name_character(body[end]):
            end += 1
        if end > start and not (at and is_word_character(body[at - 1])):
            yield body[start:end]
        end = body.find("@", end)


def _candidates(run: str) -> Iterator[str]:
    """Yield the names that may be meant: with what looks like punctuation, and without it."""
    yield run
    for _ in range(_PUNCTUATION_MAX):
        if is_word_character(run[-1]) or len(run) == 1:
            break
        run = run[:-1]
        yield run
    for position in range(len(run) - 1, 0, -1):  # bob's
        if not is_word_character(run[position]):
            yield run[:position]
            break


def _reader_of(reader: Reader, room: Room, name: str) -> Account | None:
    try:
        key = parse_account(name).key
    except BadName:
        return None
    row = reader.get(ACCOUNTS, (key,))
    if row is None or not _may_read(reader, room, key):
        return None
    return Account(key, AccountRow.from_row(row))


def _may_read(reader: Reader, room: Room, account: AccountKey) -> bool:
    return not room.row.private or find_member(reader, room.name, account) is not None


def _people(reader: Reader, room: Room) -> list[AccountKey]:
    """Return who is in a direct conversation: of those with whose joining it began, whoever has not left it.

    A scan of its members would miss them in the batch that opens it.
    """
    people: list[AccountKey] = []
    for index in range(min(room.row.event_count, DIRECT_MEMBERS_MAX)):
        row = reader.get(EVENTS, (room.name, index))
        if row is None or row[0] != EventKind.JOINED.value:
            break
        key = parse_account(EventRow.from_row(row).actor).key
        if find_member(reader, room.name, key) is not None:
            people.append(key)
    return people
