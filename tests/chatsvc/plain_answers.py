"""What the plain chat says of itself: answers, events and notices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from chatsvc.application import answers, queries
from chatsvc.application.answers import Answer
from chatsvc.application.events import Content, NoticeHead, NoticeKind
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.results import Rejected
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial, Role
from crypto.signing import PublicKey
from pbft.core.types import EventIndex, Milliseconds, SequenceNumber
from tests.chatsvc.plain_accounts import Account, E, Message, Refused, Room, check
from tests.chatsvc.plain_chat import PlainChat

K = TypeVar("K")
T = TypeVar("T")


def answer(chat: PlainChat, device: PublicKey, query: queries.Query) -> Answer:
    """Return what the chat answers, without an error's words."""
    tag = str(query.__struct_config__.tag).replace("-", "_")
    try:
        asking = Asking(chat, device)
        found: Answer = getattr(asking, f"ask_{tag}")(query)
    except Refused as refused:
        return Rejected(refused.code, "")
    return found


def page(rows: Sequence[tuple[str, T]], after: str | None, limit: int) -> tuple[list[tuple[str, T]], str | None]:
    """The rows after the one named `after`, and the name of the last if the page is full."""
    found = [(name, row) for name, row in sorted(rows, key=lambda row: row[0]) if after is None or name > after]
    found = found[:limit]
    return found, found[-1][0] if len(found) == limit else None


class Asking:
    """One device's question."""

    def __init__(self, chat: PlainChat, device: PublicKey) -> None:
        self.chat = chat
        self.who = chat.owner_of.get(device)
        if self.who is not None:
            check(device in chat.accounts[self.who].active(), E.DEVICE_REVOKED)

    def me(self) -> str:
        if self.who is None:
            raise Refused(E.NOT_REGISTERED)
        return self.who

    def room(self, name: str, least: Role | None = None) -> Room:
        room = self.chat.seen(name, self.who)
        if least is not None:
            check(self.who in room.members and room.members[self.who].role is not Role.MEMBER, E.NOT_ALLOWED)
        return room

    def sees(self, room: Room) -> bool:
        return not room.private or self.who in room.members

    def message(self, room: Room, index: int) -> Message:
        check(index in room.messages, E.NO_SUCH_MESSAGE)
        return room.messages[index]

    # -- rooms and people

    def ask_rooms(self, query: queries.ListRooms) -> Answer:
        rooms = [(name, room) for name, room in self.chat.rooms.items() if not room.direct and self.sees(room)]
        found, after = page(rooms, query.after, query.limit)
        return answers.RoomList(tuple(header(room) for _, room in found), after)

    def ask_room(self, query: queries.ShowRoom) -> Answer:
        room = self.room(query.room)
        member = room.members.get(self.who or "")
        return answers.RoomDetails(
            header=header(room),
            message_count=room.count,
            member_count=len(room.members),
            first_message=MessageIndex(room.first),
            event_count=EventIndex(room.event_count),
            first_event=EventIndex(room.first_event),
            role=None if member is None else member.role,
            muted_until_ms=Milliseconds(0 if member is None else member.muted_ms),
        )

    def ask_members(self, query: queries.ListMembers) -> Answer:
        found, after = page(list(self.room(query.room).members.items()), query.after, query.limit)
        members = [
            answers.Member(self.name(key), Milliseconds(each.joined_ms), each.role, Milliseconds(each.muted_ms))
            for key, each in found
        ]
        return answers.MemberList(tuple(members), after)

    def name(self, key: str) -> DisplayName:
        return DisplayName(self.chat.accounts[key].name)

    def ask_bans(self, query: queries.ListBans) -> Answer:
        found, after = page(list(self.room(query.room, Role.MODERATOR).bans.items()), query.after, query.limit)
        bans = [
            answers.Banned(self.name(key), DisplayName(by), Milliseconds(time), reason)
            for key, (by, time, reason) in found
        ]
        return answers.BanList(tuple(bans), after)

    def ask_links(self, query: queries.ListLinks) -> Answer:
        links = sorted(self.room(query.room, Role.MODERATOR).links.items())
        return answers.LinkList(tuple(answers.Link(link, *facts) for link, facts in links))

    def ask_account(self, query: queries.ShowAccount) -> Answer:
        return details(self.chat.accounts[self.chat.find(query.name)])

    def ask_whoami(self, _query: queries.WhoAmI) -> Answer:
        return details(self.chat.accounts[self.me()])

    def ask_devices(self, _query: queries.ListDevices) -> Answer:
        devices = [
            answers.Device(
                key,
                device.label,
                Milliseconds(device.added_ms),
                None if device.revoked_ms is None else Milliseconds(device.revoked_ms),
            )
            for key, device in self.chat.accounts[self.me()].devices.items()
        ]
        return answers.DeviceList(tuple(devices))

    def ask_memberships(self, query: queries.ListMemberships) -> Answer:
        account = self.chat.find(query.name)
        rooms = [(room.name, room) for room in self.chat.rooms.values() if account in room.members]
        rooms = [(name, room) for name, room in rooms if self.sees(room) and (not room.direct or account == self.who)]
        found, after = page(rooms, query.after, query.limit)
        seen = [
            answers.Membership(RoomName(name), Milliseconds(room.members[account].joined_ms)) for name, room in found
        ]
        return answers.MembershipList(tuple(seen), after)

    def ask_unread(self, query: queries.ListUnread) -> Answer:
        who = self.me()
        rooms = [(room.name, room) for room in self.chat.rooms.values() if who in room.members]
        found, after = page(rooms, query.after, query.limit)
        return answers.UnreadList(tuple(self._unread(who, room) for _, room in found), after)

    def _unread(self, who: str, room: Room) -> answers.Unread:
        read = room.members[who].read
        kept = self.chat.accounts[who].notices[-self.chat.limits.notices_per_account :]
        since = max(read, room.first)
        about_me = [about for kind, name, about, _, _ in kept if kind in ("mention", "reply") and name == room.name]
        told = [about for about in about_me if about >= since]
        others = tuple(self.name(key) for key in sorted(room.members) if key != who) if room.direct else ()
        return answers.Unread(
            room=RoomName(room.name),
            topic=room.topic,
            direct=room.direct,
            with_=others,
            read=MessageIndex(read),
            message_count=room.count,
            mentions=min(100, len(told)),
        )

    def ask_invitations(self, _query: queries.ListInvitations) -> Answer:
        who = self.me()
        invitations = [
            answers.Invitation(
                RoomName(name), room.topic, DisplayName(room.invited[who][0]), Milliseconds(room.invited[who][1])
            )
            for name, room in sorted(self.chat.rooms.items())
            if who in room.invited
        ]
        return answers.InvitationList(tuple(invitations))

    def ask_notices(self, query: queries.ListNotices) -> Answer:
        notices = self.chat.accounts[self.me()].notices
        kept = range(max(0, len(notices) - self.chat.limits.notices_per_account), len(notices))
        wanted = [index for index in kept if query.before is None or index < query.before][-query.limit :]
        more = bool(wanted) and wanted[0] > kept.start
        heads = tuple(notice(index, notices[index]) for index in reversed(wanted))
        return answers.NoticeList(heads, EventIndex(wanted[0]) if more else None, EventIndex(len(notices)))

    # -- messages

    def ask_history(self, query: queries.ReadHistory) -> Answer:
        room = self.room(query.room)
        if query.after is not None:
            indexes = [index for index in room.messages if index > query.after][: query.limit]
            cursor = indexes[-1] if len(indexes) == query.limit else None
        else:
            indexes = [index for index in room.messages if query.before is None or index < query.before]
            indexes = indexes[-query.limit :]
            cursor = indexes[0] if indexes and indexes[0] > room.first else None
        found = tuple(shown(room, index) for index in indexes)
        return answers.History(found, None if cursor is None else MessageIndex(cursor))

    def ask_thread(self, query: queries.ReadThread) -> Answer:
        room = self.room(query.room)
        thread = room.threads.get(query.thread.lower())
        if thread is None:
            raise Refused(E.NO_SUCH_MESSAGE)
        end = thread.count if query.before is None else min(query.before, thread.count)
        first = max(0, end - query.limit)
        kept = [at for at in thread.entries if first <= at < end]
        messages = tuple(shown(room, thread.entries[at]) for at in kept)
        return answers.ThreadPage(thread.title, messages, kept[0] if kept and kept[0] - 1 in thread.entries else None)

    def ask_threads(self, query: queries.ListThreads) -> Answer:
        found, after = page(list(self.room(query.room).threads.items()), query.after, query.limit)
        threads = [answers.Thread(each.title, each.count, Milliseconds(each.last_ms)) for _, each in found]
        return answers.ThreadList(tuple(threads), after)

    def ask_moment(self, query: queries.FindMoment) -> Answer:
        room = self.room(query.room)
        found = [index for index, message in room.messages.items() if shown_ms(message) >= query.time]
        return answers.MomentFound(MessageIndex(found[0] if found else room.count))

    def ask_versions(self, query: queries.ListVersions) -> Answer:
        message = self.message(self.room(query.room), query.index)
        check(message.deleted_by is None, E.MESSAGE_DELETED)
        said = [*message.versions, (message.body, message.nonce, message.since_ms)]
        return answers.VersionList(tuple(answers.Version(body, time) for body, _, time in said))  # type: ignore[arg-type]

    def ask_reactions(self, query: queries.ListReactions) -> Answer:
        message = self.message(self.room(query.room), query.index)
        given = [
            (f"{reaction} {key}", answers.Reacted(reaction, self.name(key), Milliseconds(time)))
            for reaction, people in message.reactions.items()
            for key, time in people.items()
        ]
        found, after = page(given, query.after, query.limit)
        return answers.ReactionList(tuple(row for _, row in found), after)

    def ask_pins(self, query: queries.ListPins) -> Answer:
        room = self.room(query.room)
        pinned = [at for at, message in room.messages.items() if message.pinned]
        return answers.PinList(
            tuple(shown(room, at) for at in pinned if query.after is None or at > query.after), None
        )

    def ask_show_poll(self, query: queries.ShowPoll) -> Answer:
        message = self.message(self.room(query.room), query.index)
        check(bool(message.options), E.NO_SUCH_POLL)
        return answers.Poll(
            question=message.body.split("\n")[0],
            options=tuple(message.options),
            votes=tuple(message.counts()),
            closed_ms=None if message.closed_ms is None else Milliseconds(message.closed_ms),
            mine=message.votes.get(self.who or ""),
        )

    def ask_search(self, query: queries.SearchMessages) -> Answer:
        """One word only, which stands in the bodies between spaces or line ends."""
        found = [
            (message.serial, shown(room, index))
            for room in self.chat.rooms.values()
            if self.sees(room)
            for index, message in room.messages.items()
            if query.text in message.body.lower().split() and (query.before is None or message.serial < query.before)
        ]
        found = sorted(found, key=lambda pair: -pair[0])[: query.limit]
        full = len(found) == query.limit
        return answers.Found(tuple(row for _, row in found), MessageSerial(found[-1][0]) if full else None)

    def ask_digests(self, query: queries.DigestMessages) -> Answer:
        room = self.room(query.room)
        first = max(room.first, min(query.first, room.count))
        wanted = [index for index in room.messages if first <= index < first + query.limit]
        return answers.Digests(
            room=RoomName(room.name),
            first=MessageIndex(first),
            digests=b"".join(shown(room, index).digest for index in wanted),
            message_count=room.count,
            first_message=MessageIndex(room.first),
        )


def shown_ms(message: Message) -> int:
    return message.time if message.claimed_ms is None else message.claimed_ms


def header(room: Room) -> answers.RoomHeader:
    return answers.RoomHeader(
        room=RoomName(room.name),
        topic=room.topic,
        description=room.description,
        creator=DisplayName(room.creator),
        created_ms=Milliseconds(room.created_ms),
        private=room.private,
        direct=room.direct,
        archived=room.archived,
        slow_s=room.slow_s,
        retention_s=room.retention_s,
    )


def details(account: Account) -> answers.AccountDetails:
    return answers.AccountDetails(
        name=DisplayName(account.name),
        display=account.display,
        registered_ms=Milliseconds(account.registered_ms),
        devices=tuple(account.active()),
        has_recovery=account.recovery is not None,
    )


def notice(index: int, told: tuple[Any, ...]) -> NoticeHead:
    kind, room, about, by, time = told
    return NoticeHead(notice=EventIndex(index), kind=NoticeKind(kind), room=room, index=about, by=by, time=time)


def shown(room: Room, index: int) -> answers.Message:
    message: Any = room.messages[index]
    sequence, batch_index = message.place
    return answers.Message(
        room=RoomName(room.name),
        index=MessageIndex(index),
        kind=MessageKind(message.kind),
        author=message.author,
        body=message.body,
        reply_to=message.reply_to,
        thread=message.thread,
        mentions=tuple(message.mentions),
        nonce=message.nonce,
        time=message.time,
        claimed_ms=message.claimed_ms,
        sequence=SequenceNumber(sequence),
        batch_index=batch_index,
        serial=MessageSerial(message.serial),
        event=EventIndex(message.event),
        edits=len(message.versions),
        edited_ms=message.since_ms if message.versions else None,
        deleted_by=message.deleted_by,
        reactions=tuple(answers.Reaction(each, len(people)) for each, people in message.reactions.items()),
    )


Told = tuple[str, str, int | None, list[Any], int, Content | None]
"""Kind, actor, message, what the kind says, when, and what was said then if that is still kept."""


def room_events(room: Room, start: int) -> list[Told]:
    """What subscribers are told from event `start` on."""
    return [
        (kind, actor, about, data, time, None if of is None else _said(room, *of))
        for event, (kind, actor, about, data, time, of) in room.events.items()
        if event >= start
    ]


def _said(room: Room, message: Message, version: int) -> Content | None:
    if message.deleted_by is not None or all(each is not message for each in room.messages.values()):
        return None
    said = [*message.versions, (message.body, message.nonce, 0)][version]
    return Content(said[0], said[1])
