"""Rooms, and who is in them."""

from __future__ import annotations

from typing import Final, cast

from chatsvc.application.answers import (
    BanList,
    Banned,
    Invitation,
    InvitationList,
    Link,
    LinkList,
    Member,
    MemberList,
    Membership,
    MembershipList,
    RoomDetails,
    RoomHeader,
    RoomList,
    Unread,
    UnreadList,
)
from chatsvc.application.events import NoticeKind
from chatsvc.application.names import AccountKey, RoomName
from chatsvc.application.queries import (
    ListBans,
    ListInvitations,
    ListLinks,
    ListMembers,
    ListMemberships,
    ListRooms,
    ListUnread,
    ShowRoom,
)
from chatsvc.application.reading.question import Answering, Question, joined_rooms, last_of
from chatsvc.application.schema import (
    BANS,
    INVITATIONS,
    LINKS,
    MEMBERS,
    MEMBERSHIPS,
    NOTICE_RANGES,
    NOTICES,
    PUBLIC_ROOMS,
    ROOM_LINKS,
    ROOMS,
    BanRow,
    InvitationRow,
    LinkRow,
    MemberRow,
    MembershipRow,
    MessageIndex,
    NoticeRange,
    NoticeRow,
    Role,
    RoomRow,
)
from chatsvc.application.state import Caller, find_account
from chatsvc.application.wire import Wire, encode_wire
from crypto.signing import PublicKey
from pbft.core.application import Reader
from pbft.core.types import EventIndex, Milliseconds

MENTIONS_COUNTED = 100
ROOMS_ON_PAGE_MAX = 150
"""With their descriptions; more might not fit into an answer."""
_MENTIONING = (NoticeKind.MENTION.value, NoticeKind.REPLY.value)


def _header(name: str, room: RoomRow) -> RoomHeader:
    return RoomHeader(
        room=RoomName(name),
        topic=room.topic,
        description=room.description,
        creator=room.creator,
        created_ms=room.created_ms,
        private=room.private,
        direct=room.direct,
        archived=room.archived,
        slow_s=room.slow_s,
        retention_s=room.retention_s,
    )


def _sees(reader: Reader, caller: Caller | None, name: str, room: RoomRow) -> bool:
    if not room.private:
        return True
    return caller is not None and reader.get(MEMBERS, (name, caller.account)) is not None


def _rooms(question: Question, query: ListRooms) -> bytes:
    """Only of what the caller sees: a cursor, too, would otherwise name a private room."""
    limit = min(query.limit, ROOMS_ON_PAGE_MAX)
    public = [str(key[0]) for key, _ in question.page(PUBLIC_ROOMS, (), query.after, limit)]
    own = [] if question.caller is None else joined_rooms(question, question.caller.account, query.after or "")
    seen: list[RoomHeader] = []
    for name in sorted({*public, *own}):
        row = question.reader.get(ROOMS, (name,))
        if row is not None and _sees(question.reader, question.caller, name, RoomRow.from_row(row)):
            seen.append(_header(name, RoomRow.from_row(row)))
        if len(seen) == limit:
            return encode_wire(RoomList(tuple(seen), seen[-1].room))
    return encode_wire(RoomList(tuple(seen), None))


def _room(question: Question, query: ShowRoom) -> bytes:
    room = question.room(query.room)
    row, member = room.row, room.member
    details = RoomDetails(
        header=_header(room.name, row),
        message_count=row.message_count,
        member_count=row.member_count,
        first_message=MessageIndex(row.first_message),
        event_count=EventIndex(row.event_count),
        first_event=EventIndex(row.first_event),
        role=room.role,
        muted_until_ms=Milliseconds(0) if member is None else member.muted_until_ms,
    )
    return encode_wire(details)


def _members(question: Question, query: ListMembers) -> bytes:
    room = question.room(query.room)
    found = question.page(MEMBERS, (room.name,), query.after, query.limit)
    rows = [MemberRow.from_row(row) for _, row in found]
    members = tuple(Member(row.name, row.joined_ms, Role(row.role), row.muted_until_ms) for row in rows)
    return encode_wire(MemberList(members, last_of(found, query.limit)))


def _bans(question: Question, query: ListBans) -> bytes:
    room = question.moderated_room(query.room)
    found = question.page(BANS, (room.name,), query.after, query.limit)
    rows = [BanRow.from_row(row) for _, row in found]
    bans = tuple(Banned(row.name, row.by, row.time, row.reason) for row in rows)
    return encode_wire(BanList(bans, last_of(found, query.limit)))


def _links(question: Question, query: ListLinks) -> bytes:
    room = question.moderated_room(query.room)
    found = question.reader.scan(ROOM_LINKS, prefix=(room.name,), limit=question.limits.links_per_room)
    links: list[Link] = []
    for key, _ in found:
        row = question.reader.get(LINKS, (key[1],))
        if row is not None:
            link = LinkRow.from_row(row)
            public_key = PublicKey(cast("bytes", key[1]))
            links.append(Link(public_key, link.by, link.made_ms, link.expires_ms, link.uses_left))
    return encode_wire(LinkList(tuple(links)))


def _memberships(question: Question, query: ListMemberships) -> bytes:
    """Of one's own, conversations too. What the caller may not see is left out before pages are made of the rest."""
    account = find_account(question.reader, query.name)
    is_own = question.caller is not None and question.caller.account == account.key
    if is_own:
        names = [str(key[1]) for key, _ in question.page(MEMBERSHIPS, (account.key,), query.after, query.limit)]
    else:
        names = joined_rooms(question, account.key, query.after or "")
    seen: list[Membership] = []
    last = names[-1] if is_own and len(names) == query.limit else None
    for name in names:
        room = question.reader.get(ROOMS, (name,))
        row = question.reader.get(MEMBERSHIPS, (account.key, name))
        if room is None or row is None:
            continue
        if _sees(question.reader, question.caller, name, RoomRow.from_row(room)):
            seen.append(Membership(RoomName(name), MembershipRow.from_row(row).joined_ms))
        if len(seen) == query.limit:
            last = name
            break
    return encode_wire(MembershipList(tuple(seen), last))


def _unread(question: Question, query: ListUnread) -> bytes:
    caller = question.the_caller()
    mentions = _mentions(question, caller.account)
    found = question.page(MEMBERSHIPS, (caller.account,), query.after, query.limit)
    unread: list[Unread] = []
    for key, row in found:
        name, membership = RoomName(str(key[1])), MembershipRow.from_row(row)
        stored = question.reader.get(ROOMS, (name,))
        if stored is None:
            continue
        room = RoomRow.from_row(stored)
        news_from = max(membership.read, room.first_message)
        since = [index for index in mentions.get(name, []) if index >= news_from]
        unread.append(
            Unread(
                room=name,
                topic=room.topic,
                direct=room.direct,
                with_=_others(question, name, caller) if room.direct else (),
                read=MessageIndex(membership.read),
                message_count=room.message_count,
                mentions=min(len(since), MENTIONS_COUNTED),
            )
        )
    return encode_wire(UnreadList(tuple(unread), last_of(found, query.limit)))


def _mentions(question: Question, account: AccountKey) -> dict[str, list[int]]:
    """Messages that mention the account or reply to it, by room, as far as its notices are kept."""
    row = question.reader.get(NOTICE_RANGES, (account,))
    if row is None:
        return {}
    kept = NoticeRange.from_row(row)
    found: dict[str, list[int]] = {}
    scanned = question.reader.scan(
        NOTICES, prefix=(account,), start=(account, kept.first), limit=question.limits.notices_per_account
    )
    for _, stored in scanned:
        notice = NoticeRow.from_row(stored)
        if notice.kind in _MENTIONING and notice.message is not None:
            found.setdefault(notice.room, []).append(notice.message)
    return found


def _others(question: Question, room: RoomName, caller: Caller) -> tuple[str, ...]:
    members = question.reader.scan(MEMBERS, prefix=(room,), limit=question.limits.members_per_direct)
    return tuple(MemberRow.from_row(row).name for key, row in members if key[1] != caller.account)


def _invitations(question: Question, _query: ListInvitations) -> bytes:
    caller = question.the_caller()
    limit = question.limits.invitations_per_account
    found: list[Invitation] = []
    for key, row in question.reader.scan(INVITATIONS, prefix=(caller.account,), limit=limit):
        name, invitation = RoomName(str(key[1])), InvitationRow.from_row(row)
        room = question.reader.get(ROOMS, (name,))
        if room is not None:
            found.append(Invitation(name, RoomRow.from_row(room).topic, invitation.by, invitation.time))
    return encode_wire(InvitationList(tuple(found)))


ANSWERING: Final[dict[type[Wire], Answering]] = {
    ListRooms: _rooms,
    ShowRoom: _room,
    ListMembers: _members,
    ListBans: _bans,
    ListLinks: _links,
    ListMemberships: _memberships,
    ListUnread: _unread,
    ListInvitations: _invitations,
}
