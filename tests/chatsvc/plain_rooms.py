"""The plain chat's rooms, and who is in them: see `plain_chat`."""

from __future__ import annotations

from hashlib import sha256

from chatsvc.application import operations as ops
from chatsvc.application.bearer import Purpose
from chatsvc.application.names import RoomName
from chatsvc.application.results import Applied, Created, Joined, Left, Result
from crypto.canonical import encode
from tests.chatsvc.plain_accounts import (
    MEMBER,
    MODERATOR,
    OWNER,
    RANK,
    E,
    Member,
    PlainAccounts,
    Refused,
    Room,
    check,
    is_line,
    is_name,
)

TOPIC_BYTES_MAX = 256


class PlainRooms(PlainAccounts):
    """See `plain_chat`."""

    def do_create(self, op: ops.Create) -> Result:
        who = self.who()
        check(is_name(op.room) and op.room == op.room.lower(), E.BAD_NAME)
        check(is_line(op.topic, TOPIC_BYTES_MAX), E.BAD_TOPIC)
        check(is_line(op.description.replace("\n", " "), 1024), E.BAD_TEXT)
        check(op.room not in self.rooms, E.ROOM_EXISTS)
        check(self.accounts[who].rooms_created < self.limits.rooms_created_per_account, E.TOO_MANY)
        room = Room(op.room, self.accounts[who].name, self.time, op.topic, op.description, op.private)
        self.check_may_enter(room, who)
        self.accounts[who].rooms_created += 1
        self.rooms[op.room] = room
        self.enter(room, who)
        return Created(RoomName(room.name))

    def do_direct(self, op: ops.OpenDirect) -> Result:
        who = self.who()
        people = sorted({who, *(self.find(name) for name in op.names)})
        check(len(people) > 1, E.NO_SUCH_ACCOUNT)
        check(len(people) <= self.limits.members_per_direct, E.TOO_MANY)
        name = "@" + sha256(encode([*people])).hexdigest()[:20]
        room = self.rooms.get(name)
        if room is None:
            room = Room(name, self.accounts[who].name, self.time, private=True, direct=True, opened_for=len(people))
            coming = people
        else:
            coming = [] if who in room.members else [who]
        for each in coming:
            self.check_may_enter(room, each)
        self.rooms[name] = room
        for each in coming:
            self.enter(room, each)
        return Created(RoomName(name))

    def do_topic(self, op: ops.SetTopic) -> Result:
        who = self.who()
        room = self.open(op.room, who, MODERATOR)
        self.check_voice(room, who)
        check(is_line(op.topic, TOPIC_BYTES_MAX), E.BAD_TOPIC)
        if room.topic != op.topic:
            room.topic = op.topic
            self.happened(room, "topic", who, None, op.topic)
        return Applied()

    def do_describe(self, op: ops.Describe) -> Result:
        who = self.who()
        room = self.open(op.room, who, MODERATOR)
        self.check_voice(room, who)
        check(is_line(op.description.replace("\n", " "), 1024), E.BAD_TEXT)
        if room.description != op.description:
            room.description = op.description
            self.happened(room, "description", who, None, op.description)
        return Applied()

    def do_slow(self, op: ops.SetSlowMode) -> Result:
        who = self.who()
        room = self.open(op.room, who, MODERATOR)
        check(op.seconds <= 86_400, E.BAD_TIME)
        if room.slow_s != op.seconds:
            room.slow_s = op.seconds
            self.happened(room, "slow-mode", who, None, op.seconds)
        return Applied()

    def do_retention(self, op: ops.SetRetention) -> Result:
        who = self.who()
        room = self.open(op.room, who, OWNER)
        check(op.seconds == 0 or op.seconds >= 60, E.BAD_TIME)
        if room.retention_s != op.seconds:
            room.retention_s = op.seconds
            self.happened(room, "retention", who, None, op.seconds)
        return Applied()

    def do_archive(self, op: ops.Archive) -> Result:
        who = self.who()
        room = self.inside(op.room, who, OWNER)
        if room.archived != op.archived:
            room.archived = op.archived
            self.happened(room, "archived", who, None, int(op.archived))
        return Applied()

    def check_voice(self, room: Room, who: str) -> None:
        if room.members[who].muted_ms > self.time:
            raise Refused(E.MUTED, room.members[who].muted_ms)

    # -- members

    def do_join(self, op: ops.Join) -> Result:
        who = self.who()
        room = self.rooms.get(op.room)
        if room is None or (room.private and who not in room.invited and who not in room.members):
            raise Refused(E.NO_SUCH_ROOM)
        check(who not in room.members, E.ALREADY_A_MEMBER)
        self.check_may_enter(room, who)
        self.enter(room, who)
        return Joined(RoomName(room.name))

    def do_leave(self, op: ops.Leave) -> Result:
        who = self.who()
        room = self.inside(op.room, who)
        check(room.opened_for != 2, E.DIRECT_ROOM)
        last = room.members[who].role is OWNER and room.owners() == 1
        check(not (last and len(room.members) > 1), E.LAST_OWNER)
        self.remove(room, who)
        self.happened(room, "left", who, None)
        return Left(RoomName(room.name))

    def do_invite(self, op: ops.Invite) -> Result:
        who = self.who()
        room = self.open(op.room, who)
        check(not room.direct, E.DIRECT_ROOM)
        check(not (room.private and room.members[who].role is MEMBER), E.NOT_ALLOWED)
        self.check_voice(room, who)
        guest = self.find(op.name)
        check(guest not in room.bans, E.BANNED)
        check(guest not in room.members, E.ALREADY_A_MEMBER)
        if guest in room.invited:
            return Applied()
        count = sum(guest in each.invited for each in self.rooms.values())
        check(count < self.limits.invitations_per_account, E.TOO_MANY)
        room.invited[guest] = (self.accounts[who].name, self.time)
        self.happened(room, "invited", who, None, self.accounts[guest].name)
        self.tell(guest, "invitation", room, who)
        return Applied()

    def do_uninvite(self, op: ops.Uninvite) -> Result:
        who = self.who()
        guest = self.find(op.name)
        if guest != who:
            self.inside(op.room, who, MODERATOR)
        check(op.room in self.rooms and guest in self.rooms[op.room].invited, E.NO_SUCH_INVITATION)
        del self.rooms[op.room].invited[guest]
        return Applied()

    def do_kick(self, op: ops.Kick) -> Result:
        who = self.who()
        room = self.inside(op.room, who, MODERATOR)
        check(is_line(op.reason, TOPIC_BYTES_MAX), E.BAD_TEXT)
        target = self.find(op.name)
        self._lower(room, who, target)
        self.remove(room, target)
        self.happened(room, "kicked", who, None, self.accounts[target].name, op.reason)
        return Applied()

    def _lower(self, room: Room, who: str, target: str) -> Member:
        check(target in room.members, E.NOT_A_MEMBER)
        check(RANK[room.members[target].role] < RANK[room.members[who].role], E.NOT_ALLOWED)
        return room.members[target]

    def do_ban(self, op: ops.Ban) -> Result:
        who = self.who()
        room = self.inside(op.room, who, MODERATOR)
        check(is_line(op.reason, TOPIC_BYTES_MAX), E.BAD_TEXT)
        target = self.find(op.name)
        if target in room.members:
            self._lower(room, who, target)
        if target in room.bans:
            return Applied()
        check(len(room.bans) < self.limits.bans_per_room, E.TOO_MANY)
        if target in room.members:
            self.remove(room, target)
        room.invited.pop(target, None)
        room.bans[target] = (self.accounts[who].name, self.time, op.reason)
        self.happened(room, "banned", who, None, self.accounts[target].name, op.reason)
        return Applied()

    def do_unban(self, op: ops.Unban) -> Result:
        who = self.who()
        room = self.inside(op.room, who, MODERATOR)
        target = self.find(op.name)
        if room.bans.pop(target, None):
            self.happened(room, "unbanned", who, None, self.accounts[target].name)
        return Applied()

    def do_mute(self, op: ops.Mute) -> Result:
        who = self.who()
        room = self.inside(op.room, who, MODERATOR)
        target = self.find(op.name)
        member = self._lower(room, who, target)
        check(op.until_ms == 0 or op.until_ms > self.time, E.BAD_TIME)
        if member.muted_ms != op.until_ms:
            member.muted_ms = op.until_ms
            self.happened(room, "muted", who, None, self.accounts[target].name, op.until_ms)
        return Applied()

    def do_role(self, op: ops.SetRole) -> Result:
        who = self.who()
        room = self.inside(op.room, who, OWNER)
        target = self.find(op.name)
        check(target in room.members, E.NOT_A_MEMBER)
        member = room.members[target]
        if member.role is op.role:
            return Applied()
        check(member.role is not OWNER or room.owners() > 1, E.LAST_OWNER)
        member.role = op.role
        self.happened(room, "role", who, None, self.accounts[target].name, op.role.value)
        return Applied()

    # -- links

    def do_make_link(self, op: ops.MakeLink) -> Result:
        who = self.who()
        room = self.open(op.room, who, MODERATOR)
        self.check_soon(op.expires_ms)
        check(not any(op.link in each.links for each in self.rooms.values()), E.BAD_PROOF)
        check(len(room.links) < self.limits.links_per_room, E.TOO_MANY)
        room.links[op.link] = [self.accounts[who].name, self.time, op.expires_ms, op.uses]
        return Applied()

    def do_drop_link(self, op: ops.DropLink) -> Result:
        room = self.inside(op.room, self.who(), MODERATOR)
        check(op.link in room.links, E.NO_SUCH_INVITATION)
        del room.links[op.link]
        return Applied()

    def do_join_link(self, op: ops.JoinByLink) -> Result:
        who = self.who()
        room = next((each for each in self.rooms.values() if op.link in each.links), None)
        if room is None or not room.links[op.link][3] or room.links[op.link][2] <= self.time:
            raise Refused(E.NO_SUCH_INVITATION)
        self.check_proof(op.link, Purpose.LINK, op.proof)
        if who not in room.members:
            self.check_may_enter(room, who)
            room.links[op.link][3] -= 1
            self.enter(room, who)
        return Joined(RoomName(room.name))
