"""Commands about those who are in a room: letting them in, putting them out, and what they may do there."""

from __future__ import annotations

from chatsvc.application.bearer import Purpose
from chatsvc.application.schema import Role
from clients import times
from clients.addressing import link_of, room_of
from clients.codes import new_code
from clients.console import COMMON, Common, Limit, Output, Words, title, with_chat
from clients.sdk import Chat


def members(room: str, *, common: Common = COMMON) -> int:
    """List who is in a room, and who owns and moderates it.

    Example: quorate members ubuntu
    """

    async def body(chat: Chat, output: Output) -> None:
        async for member in chat.members(await room_of(chat, room)):
            record = {
                "name": member.name,
                "joined_ms": member.joined_ms,
                "role": member.role.value,
                "muted_until_ms": member.muted_until_ms,
            }
            role = "" if member.role is Role.MEMBER else f"{member.role.value}, "
            muted = member.muted_until_ms > times.now_ms()
            quiet = f", reads only until {output.minute(member.muted_until_ms)}" if muted else ""
            output.result(record, f"{member.name}  ({role}since {output.minute(member.joined_ms)}{quiet})")

    return with_chat(common, body)


def invite(room: str, name: str, *, common: Common = COMMON) -> int:
    """Let somebody join a room; they are told. For moderators and owners, in a public
    room for all members.

    Example: quorate invite plans bob
    """

    async def body(chat: Chat, output: Output) -> None:
        output.done(await chat.invite(room, name), f"{name} may join", room=room, name=name)

    return with_chat(common, body)


def uninvite(room: str, name: str | None = None, *, common: Common = COMMON) -> int:
    """Take an invitation back, or decline one's own.

    Example: quorate uninvite plans bob
    Example: quorate uninvite plans

    Parameters
    ----------
    name
        Whose; yours if nobody is named.
    """

    async def body(chat: Chat, output: Output) -> None:
        whose = name or (await chat.whoami()).name
        output.done(await chat.uninvite(room, whose), f"{whose} is not invited", room=room, name=whose)

    return with_chat(common, body)


def invitations(*, common: Common = COMMON) -> int:
    """List the rooms that you were invited to and have not joined.

    Example: quorate invitations
    """

    async def body(chat: Chat, output: Output) -> None:
        for found in await chat.invitations():
            record = {"room": found.room, "topic": found.topic, "by": found.by, "time_ms": found.time}
            about = f"  {found.topic}" if found.topic else ""
            output.result(record, f"{title(found.room)}{about}  (by {found.by}, {output.minute(found.time)})")

    return with_chat(common, body)


def link_new(room: str, *, valid: str = "7d", uses: Limit = 1, common: Common = COMMON) -> int:
    """Make a code with which whoever has it can join a room: `quorate join CODE`. For
    moderators and owners.

    Example: quorate link new plans --valid 2d --uses 5

    Parameters
    ----------
    valid
        How long the code is good for.
    uses
        How many may join with it.
    """

    async def body(chat: Chat, output: Output) -> None:
        code, expires_ms = new_code(Purpose.LINK), times.now_ms() + times.span_ms(valid)
        done = await chat.make_link(room, code, expires_ms, uses=uses)
        text = f"{code}, for {uses}, until {output.minute(expires_ms)}"
        output.done(done, text, room=room, code=code, uses=uses, expires_ms=expires_ms)

    return with_chat(common, body)


def link_list(room: str, *, common: Common = COMMON) -> int:
    """List a room's links, used up and expired ones too. Their codes are known to
    those who made them only.

    Example: quorate link list plans
    """

    async def body(chat: Chat, output: Output) -> None:
        for link in await chat.invitation_links(room):
            record = {
                "link": link.link.hex(),
                "by": link.by,
                "made_ms": link.made_ms,
                "expires_ms": link.expires_ms,
                "uses_left": link.uses_left,
            }
            until = output.minute(link.expires_ms)
            output.result(record, f"{link.link.hex()[:16]}  {link.uses_left} left, until {until}  (by {link.by})")

    return with_chat(common, body)


def link_drop(room: str, link: str, *, common: Common = COMMON) -> int:
    """Make a link worth nothing.

    Example: quorate link drop plans 3f2a91

    Parameters
    ----------
    link
        Its code, or the first characters of its key as `quorate link list` shows them: four or more.
    """

    async def body(chat: Chat, output: Output) -> None:
        key = link_of(await chat.invitation_links(room), link)
        output.done(await chat.drop_link(room, key), f"{key.hex()[:16]} is dropped", room=room, link=key.hex())

    return with_chat(common, body)


def kick(room: str, name: str, *, reason: Words = "", common: Common = COMMON) -> int:
    """Put somebody out of a room; they may join again. For moderators and owners,
    with those of lower rank.

    Example: quorate kick ubuntu mallory --reason "please calm down"

    Parameters
    ----------
    reason
        Why; everybody in the room sees it.
    """

    async def body(chat: Chat, output: Output) -> None:
        output.done(await chat.kick(room, name, reason), f"{name} is out", room=room, name=name, reason=reason)

    return with_chat(common, body)


def ban(room: str, name: str, *, reason: Words = "", common: Common = COMMON) -> int:
    """Put somebody out of a room and do not let them in again. For moderators and
    owners, with those of lower rank.

    Example: quorate ban ubuntu mallory --reason spam

    Parameters
    ----------
    name
        Also of one who is not in the room.
    reason
        Why; everybody in the room sees it.
    """

    async def body(chat: Chat, output: Output) -> None:
        output.done(await chat.ban(room, name, reason), f"{name} is banned", room=room, name=name, reason=reason)

    return with_chat(common, body)


def unban(room: str, name: str, *, common: Common = COMMON) -> int:
    """Let somebody in again who was banned.

    Example: quorate unban ubuntu mallory
    """

    async def body(chat: Chat, output: Output) -> None:
        output.done(await chat.unban(room, name), f"{name} may join again", room=room, name=name)

    return with_chat(common, body)


def bans(room: str, *, common: Common = COMMON) -> int:
    """List who is banned from a room, by whom and why. For moderators and owners.

    Example: quorate bans ubuntu
    """

    async def body(chat: Chat, output: Output) -> None:
        async for found in chat.bans(room):
            record = {"name": found.name, "by": found.by, "time_ms": found.time, "reason": found.reason}
            why = f": {found.reason}" if found.reason else ""
            output.result(record, f"{found.name}  (by {found.by}, {output.minute(found.time)}{why})")

    return with_chat(common, body)


def mute(room: str, name: str, span: str = "1h", *, common: Common = COMMON) -> int:
    """Let somebody only read for a while. For moderators and owners, with those of
    lower rank.

    Example: quorate mute ubuntu mallory 30m

    Parameters
    ----------
    span
        For how long.
    """

    async def body(chat: Chat, output: Output) -> None:
        until_ms = times.now_ms() + times.span_ms(span)
        done = await chat.mute(room, name, until_ms)
        text = f"{name} only reads until {output.minute(until_ms)}"
        output.done(done, text, room=room, name=name, until_ms=until_ms)

    return with_chat(common, body)


def unmute(room: str, name: str, *, common: Common = COMMON) -> int:
    """Let somebody speak again.

    Example: quorate unmute ubuntu mallory
    """

    async def body(chat: Chat, output: Output) -> None:
        output.done(await chat.mute(room, name, 0), f"{name} may speak", room=room, name=name)

    return with_chat(common, body)


def role(room: str, name: str, role: Role, *, common: Common = COMMON) -> int:
    """Make somebody owner, moderator or plain member of a room. For owners.

    Example: quorate role ubuntu bob moderator

    Parameters
    ----------
    role
        Moderators put others out, take messages away, pin, and say what the room is about; owners may do everything.
    """

    async def body(chat: Chat, output: Output) -> None:
        done = await chat.set_role(room, name, role)
        output.done(done, f"{name}: {role.value}", room=room, name=name, role=role.value)

    return with_chat(common, body)
