"""What can be shown beside the messages: lists, searches, threads, receipts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chatsvc.application import queries
from chatsvc.application.answers import History, Message
from chatsvc.application.schema import MessageIndex
from clients.terminal.arguments import BadCommand, only_index
from clients.terminal.model import SIDE_ROWS_MAX, RoomState, Side, SideRow
from clients.terminal.session import Session
from clients.terminal.texts import clock, counted, day, one_line

JUMP_MAX = 2000
"""Messages that are loaded on the way to one further up; one further away is shown beside."""
AROUND = 20
LISTED_MAX = 500


def table(title: str, rows: Iterable[tuple[str, str]]) -> Side:
    """Names, and what each is, below it."""
    found: list[SideRow] = []
    for name, text in rows:
        found += [SideRow(name, "name"), SideRow(f"  {text}", "body")]
    return Side(title, found)


def _room(session: Session) -> RoomState:
    room = session.model.room
    if room is None:
        raise BadCommand("no room is open: /join one, or choose one in the list")
    return room


def _index(session: Session, rest: str) -> int:
    index = only_index(rest)
    if index is None:
        index = session.model.selected
    if index is None:
        last = _room(session).log.last()
        index = None if last is None else last.message.index
    if index is None:
        raise BadCommand("there is no message yet")
    return index


def _rows(session: Session, messages: Sequence[Message], *, with_room: bool) -> list[SideRow]:
    found: list[SideRow] = []
    for message in messages[:SIDE_ROWS_MAX]:
        when = f"{day(message.shown_ms, session.zone)} {clock(message.shown_ms, session.zone)}"
        if message.claimed_ms is not None:
            when += " (claimed)"
        where = f"#{message.room} {when}" if with_room else when
        body = "(deleted)" if message.deleted_by is not None else message.body
        found.append(SideRow(where, "dim", message.room, message.index))
        found.append(SideRow(f"{message.author}: {body}", "body", message.room, message.index))
    return found


async def rooms(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    found: list[SideRow] = []
    async for header in session.chat.rooms():
        mine = "* " if header.room in session.model.rooms else "  "
        found.append(SideRow(f"{mine}#{header.room}  {header.topic}", "name", header.room))
        if len(found) >= LISTED_MAX:
            break
    session.model.side = Side("Rooms (* yours; /join NAME)", found)


async def who(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    room, found = _room(session), list[SideRow]()
    async for member in session.chat.members(room.name):
        muted = " (muted)" if member.muted_until_ms > session.now_ms() else ""
        role = "" if member.role.rank == 0 else f" ({member.role.value})"
        found.append(SideRow(f"{member.name}{role}{muted}", "name"))
        if len(found) >= LISTED_MAX:
            break
    session.model.side = Side(f"Members of {room.title}", found)


async def pins(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    room = _room(session)
    found = await session.chat.pins(room.name)
    room.log.set_pins([message.index for message in found])
    session.model.side = Side(f"Pinned in {room.title}", _rows(session, found, with_room=False))


async def threads(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    room = _room(session)
    found = await session.chat.threads(room.name)
    newest = sorted(found, key=lambda one: -one.last_ms)[:LISTED_MAX]
    rows = [(one.title, f"{counted(one.count, 'message')}, last {day(one.last_ms, session.zone)}") for one in newest]
    session.model.side = table(f"Threads of {room.title} (/thread TITLE)", rows)


async def thread(session: Session, rest: str) -> None:
    """What is typed from now on belongs to the thread, until it is closed."""
    room, title = _room(session), rest
    if not title:
        entry = room.log.entry(_index(session, ""))
        title = "" if entry is None or entry.message.thread is None else entry.message.thread
    if not title:
        raise BadCommand("that message is in no thread: say /thread TITLE to begin one")
    known = {one.title.casefold() for one in await session.chat.threads(room.name)}
    messages: tuple[Message, ...] = ()
    if title.casefold() in known:
        messages = (await session.chat.thread(room.name, title)).messages
    room.thread = title
    rows = [SideRow(f"{one.author}: {one.body or '(deleted)'}", "body", room.name, one.index) for one in messages]
    session.model.side = Side(f"Thread: {title} (Esc closes)", rows, room=room.name, thread=title)


async def search(session: Session, rest: str) -> None:
    if not rest:
        raise BadCommand("say what for: /search WORDS, from:NAME, in:ROOM")
    found = await session.chat.search(rest, limit=50)
    session.model.side = Side(f"Found {len(found)} for {rest}", _rows(session, found, with_room=True))


async def mentions(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    rows = [
        SideRow(
            f"{clock(notice.time, session.zone)} {notice.by}: {notice.kind.value} in {_title(session, notice.room)}",
            "body",
            notice.room,
            notice.index,
        )
        for notice in session.model.notices
    ]
    rows += [SideRow(f"invited to #{one.room} by {one.by}: /join #{one.room}") for one in session.model.invitations]
    session.model.side = Side("Mentions and invitations", rows)


def _title(session: Session, room: str) -> str:
    known = session.model.rooms.get(room)
    return f"#{room}" if known is None else known.title


async def around(session: Session, room: str, index: int) -> None:
    """Show a message that is far from those in the log, among its neighbours."""
    found = await session.chat.history(room, before=index + AROUND, limit=2 * AROUND)
    if not any(message.index == index for message in found):
        raise BadCommand(f"there is no message {index} in #{room}")
    side = Side(f"#{one_line(room)} around {index}", _rows(session, found, with_room=False), room=room)
    side.selected = next(place for place, row in enumerate(side.rows) if row.index == index)
    session.model.side = side


async def receipt(session: Session, rest: str) -> None:
    """What makes a message true: its place in the order, and who signed that."""
    room, index = _room(session), _index(session, rest)
    query = queries.ReadHistory(room=room.name, before=MessageIndex(index + 1), limit=1)
    reading = await session.chat.ask(query)
    messages = reading.value.messages if isinstance(reading.value, History) else ()
    if not messages or messages[-1].index != index:
        raise BadCommand(f"there is no message {index} in {room.title}")
    message, entry = messages[-1], room.log.entry(index)
    rows = [
        ("Ordered", f"at {message.sequence}, place {message.batch_index} of its batch"),
        ("Time", f"{day(message.time, session.zone)} {clock(message.time, session.zone)}, agreed by the replicas"),
        ("Read now", f"as of {reading.sequence}, the same from replicas {_names(reading.vouchers)}"),
        ("Needed", f"{reading.needed} equal answers"),
        ("Digest", message.digest.hex()),
    ]
    if entry is not None and entry.vouchers:
        rows.insert(2, ("Came", f"vouched for by replicas {_names(entry.vouchers)}"))
    if entry is not None and entry.receipt is not None:
        rows.insert(2, ("Accepted", f"in signed replies of replicas {_names(entry.receipt.vouchers)}"))
    session.model.side = table(f"Receipt of message {index}", rows)


def _names(replicas: Iterable[int]) -> str:
    return " ".join(map(str, sorted(replicas)))


async def versions(session: Session, rest: str) -> None:
    room, index = _room(session), _index(session, rest)
    found = await session.chat.versions(room.name, index)
    rows = [(f"{day(one.time, session.zone)} {clock(one.time, session.zone)}", one.body) for one in found]
    session.model.side = table(f"Versions of message {index}", rows)


async def replicas(session: Session, rest: str) -> None:  # noqa: ARG001 - the table's signature
    rows: list[tuple[str, str]] = []
    links = {link.replica: link for link in session.chat.links()}
    for one in session.model.health:
        found = [str(links[one.replica]).partition(": ")[2]]
        if one.lies:
            found.append(f"contradicted the others {counted(one.lies, 'time')}")
        if one.view is not None:
            found.append(f"says it is in view {one.view}, at {one.executed}")
        if one.behind:
            found.append(f"{one.behind} behind")
        rows.append((f"replica {one.replica} {one.mark}", "; ".join(found)))
    session.model.side = table("Replicas", rows)
