"""Which room, device or link a person means."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatsvc.application.answers import Device, Link
from chatsvc.application.bearer import Purpose, key_of_code
from chatsvc.application.names import BadName, parse_account
from clients.codes import is_code
from clients.sdk import Chat, ClientFailure, ExitCode
from crypto.signing import PublicKey

_DIRECT_ROOM = re.compile(r"@[0-9a-f]{20}")
PREFIX_CHARACTERS_MIN = 4


async def room_of(chat: Chat, text: str) -> str:
    """Return the room that a person calls `text`: `garden` or `#garden`; `@bob` or `@bob,carol` for the conversation
    with them. Raises ClientFailure when there is none."""
    if not text.startswith("@") or is_direct_room(text):
        return text
    names = text[1:].split(",")
    wanted = {_key(name) for name in names}
    conversations = [room async for room in chat.unread() if room.direct]
    for room in conversations:
        if {_key(name) for name in room.with_} == wanted:
            return room.room
    msg = f"you have no conversation with {', '.join(names)}: open it with `quorate dm {' '.join(names)}`"
    raise ClientFailure(msg, exit_code=ExitCode.REJECTED)


def is_direct_room(text: str) -> bool:
    """Whether it is the name that the group itself has for a direct conversation."""
    return _DIRECT_ROOM.fullmatch(text) is not None


def _key(name: str) -> str:
    try:
        return parse_account(name).key
    except BadName as error:
        raise ClientFailure(f"{name[:40]!r}: {error}", exit_code=ExitCode.REJECTED) from error


def device_of(devices: Sequence[Device], text: str) -> Device:
    """Return the one device of this label, or whose key begins so, that is not revoked. Raises ClientFailure."""
    active = [device for device in devices if device.revoked_ms is None]
    found = [device for device in active if device.label and device.label == text]
    if not found:
        found = [device for device in active if _begins(device.device, text)]
    if len(found) == 1:
        return found[0]
    problem = "no device of yours" if not found else f"{len(found)} devices of yours"
    msg = f"{problem} of label or key {text[:70]!r}: `quorate device list` shows them; give more of the key"
    raise ClientFailure(msg, exit_code=ExitCode.USAGE)


def link_of(links: Sequence[Link], text: str) -> PublicKey:
    """Return the one link of this code, or whose key begins so. Raises ClientFailure."""
    if is_code(text, Purpose.LINK):
        return key_of_code(text, Purpose.LINK).public_key
    found = [link.link for link in links if _begins(link.link, text)]
    if len(found) == 1:
        return found[0]
    problem = "no link" if not found else f"{len(found)} links"
    msg = f"{problem} of code or key {text[:70]!r}: `quorate link list` shows them; give more of the key"
    raise ClientFailure(msg, exit_code=ExitCode.USAGE)


def _begins(key: PublicKey, text: str) -> bool:
    return len(text) >= PREFIX_CHARACTERS_MIN and key.hex().startswith(text.casefold())
