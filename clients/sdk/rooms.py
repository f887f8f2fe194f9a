"""What a user does about rooms and those who are in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from chatsvc.application import answers, bearer, operations, queries
from chatsvc.application.bearer import Purpose
from chatsvc.application.results import Applied, Created, Joined, Left
from chatsvc.application.schema import Role
from clients.sdk.accounts import key_of
from clients.sdk.port import Port, room_name
from clients.sdk.values import Done
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds


class RoomCalls(Port):
    """A room's name may begin with `#`. Raises as said at `Chat`."""

    async def create(
        self, room: str, topic: str = "", *, private: bool = False, description: str = ""
    ) -> Done[Created]:
        """Make a room, join it and own it."""
        return await self.write(operations.Create(room_name(room), topic, private, description), Created)

    async def open_direct(self, names: Sequence[str]) -> Done[Created]:
        """Open the conversation with these people, or find it."""
        return await self.write(operations.OpenDirect(tuple(names)), Created)

    async def join(self, room: str) -> Done[Joined]:
        return await self.write(operations.Join(room_name(room)), Joined)

    async def join_by_link(self, code: str) -> Done[Joined]:
        """Join the room that the code of an invitation link leads to."""
        link = key_of(code, Purpose.LINK)
        proof = bearer.prove(link, Purpose.LINK, self.signer.public_key)
        return await self.write(operations.JoinByLink(link.public_key, proof), Joined)

    async def leave(self, room: str) -> Done[Left]:
        return await self.write(operations.Leave(room_name(room)), Left)

    async def set_topic(self, room: str, topic: str) -> Done[Applied]:
        return await self.write(operations.SetTopic(room_name(room), topic), Applied)

    async def describe(self, room: str, description: str) -> Done[Applied]:
        return await self.write(operations.Describe(room_name(room), description), Applied)

    async def set_slow_mode(self, room: str, seconds: int) -> Done[Applied]:
        """Make members wait so long between two messages; 0 ends it."""
        return await self.write(operations.SetSlowMode(room_name(room), seconds), Applied)

    async def set_retention(self, room: str, seconds: int) -> Done[Applied]:
        """Forget messages so long after they were ordered; 0 keeps them for ever."""
        return await self.write(operations.SetRetention(room_name(room), seconds), Applied)

    async def archive(self, room: str, *, archived: bool = True) -> Done[Applied]:
        return await self.write(operations.Archive(room_name(room), archived), Applied)

    async def invite(self, room: str, name: str) -> Done[Applied]:
        return await self.write(operations.Invite(room_name(room), name), Applied)

    async def uninvite(self, room: str, name: str) -> Done[Applied]:
        """Take an invitation back, or decline one's own."""
        return await self.write(operations.Uninvite(room_name(room), name), Applied)

    async def make_link(self, room: str, code: str, expires_ms: int, *, uses: int = 1) -> Done[Applied]:
        """Let whoever has the code join, so many accounts and until then."""
        link = key_of(code, Purpose.LINK).public_key
        return await self.write(operations.MakeLink(room_name(room), link, Milliseconds(expires_ms), uses), Applied)

    async def drop_link(self, room: str, link: PublicKey) -> Done[Applied]:
        return await self.write(operations.DropLink(room_name(room), link), Applied)

    async def kick(self, room: str, name: str, reason: str = "") -> Done[Applied]:
        return await self.write(operations.Kick(room_name(room), name, reason), Applied)

    async def ban(self, room: str, name: str, reason: str = "") -> Done[Applied]:
        return await self.write(operations.Ban(room_name(room), name, reason), Applied)

    async def unban(self, room: str, name: str) -> Done[Applied]:
        return await self.write(operations.Unban(room_name(room), name), Applied)

    async def mute(self, room: str, name: str, until_ms: int) -> Done[Applied]:
        """Let a member only read until then, in milliseconds since 1970; 0 lets it speak again."""
        return await self.write(operations.Mute(room_name(room), name, Milliseconds(until_ms)), Applied)

    async def set_role(self, room: str, name: str, role: Role) -> Done[Applied]:
        return await self.write(operations.SetRole(room_name(room), name, role), Applied)

    # -- reading

    async def room(self, room: str) -> answers.RoomDetails:
        return await self.read(queries.ShowRoom(room_name(room)), answers.RoomDetails)

    async def message_count(self, room: str) -> int:
        return (await self.room(room)).message_count

    async def rooms(self) -> AsyncIterator[answers.RoomHeader]:
        """All rooms that this user may see, but direct conversations, in the order of their names."""
        after: str | None = None
        while True:
            page = await self.read(queries.ListRooms(after=after), answers.RoomList)
            for room in page.rooms:
                yield room
            after = page.next
            if after is None:
                return

    async def members(self, room: str) -> AsyncIterator[answers.Member]:
        """All members of a room, in the order of their names."""
        name, after = room_name(room), None
        while True:
            page = await self.read(queries.ListMembers(room=name, after=after), answers.MemberList)
            for member in page.members:
                yield member
            after = page.next
            if after is None:
                return

    async def bans(self, room: str) -> AsyncIterator[answers.Banned]:
        """Who is banned, for moderators."""
        name, after = room_name(room), None
        while True:
            page = await self.read(queries.ListBans(room=name, after=after), answers.BanList)
            for ban in page.bans:
                yield ban
            after = page.next
            if after is None:
                return

    async def unread(self) -> AsyncIterator[answers.Unread]:
        """This user's rooms, direct conversations too, and how much in each is unread."""
        after: str | None = None
        while True:
            page = await self.read(queries.ListUnread(after=after), answers.UnreadList)
            for room in page.rooms:
                yield room
            after = page.next
            if after is None:
                return

    async def invitation_links(self, room: str) -> tuple[answers.Link, ...]:
        """Invitation links, for moderators."""
        return (await self.read(queries.ListLinks(room_name(room)), answers.LinkList)).links

    async def invitations(self) -> tuple[answers.Invitation, ...]:
        """Rooms that this user was invited to and has not joined."""
        return (await self.read(queries.ListInvitations(), answers.InvitationList)).invitations
