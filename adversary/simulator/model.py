"""A chat in a few dictionaries, written without looking at the real one: what the replicas' states must amount to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, assert_never

from chatsvc.application.operations import Create, Join, Leave, Post, Register, decode_operation
from crypto.canonical import decode
from crypto.errors import MalformedEncoding
from crypto.signing import PublicKey

ANSWER_BYTES_MAX = 2 * 1024 * 1024


class Model(Protocol):
    """What is told of every batch, once and in order, and says what must have come of it."""

    @property
    def messages(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Author and text of those that everybody may read, by room."""
        ...

    def begin(self, sequence: int, timestamp_ms: int) -> None:
        """A batch begins. `timestamp_ms`: of the batch; agreed time is the highest of all so far."""
        ...

    def apply(self, device: PublicKey, operation: bytes, index: int) -> list[Any] | None:
        """Return what the operation, the batch's number `index`, must give, without the details of errors; None: not
        for this model to say."""
        ...

    def checkpoint(self) -> None:
        """The batch that ends was one at whose end there is a checkpoint."""
        ...


class ChatModel:
    """Knows only plain names: lower-case letters and digits, each its own normal form; and only public rooms."""

    def __init__(self) -> None:
        self.accounts: dict[str, PublicKey] = {}
        self.devices: dict[PublicKey, str] = {}
        self.members: dict[str, dict[str, bool]] = {}
        """Who is in a room, and whether as its owner."""
        self.messages: dict[str, list[tuple[str, str]]] = {}
        """Author and text, by room."""

    def begin(self, sequence: int, timestamp_ms: int) -> None:
        """Neither order nor time matters to it."""

    def checkpoint(self) -> None:
        """Nothing is forgotten."""

    def apply(self, device: PublicKey, operation: bytes, index: int) -> list[Any] | None:  # noqa: ARG002 - see begin
        """See Model."""
        try:
            decoded = decode_operation(operation)
        except MalformedEncoding:
            return ["error", "MALFORMED"]
        if not isinstance(decoded, Register | Create | Join | Leave | Post):
            return None
        name = self.devices.get(device)
        if is_bad(decoded):
            return ["error"]
        if isinstance(decoded, Register):
            return self._register(device, name, decoded.name)
        return ["error", "NOT_REGISTERED"] if name is None else self._in_rooms(name, decoded)

    def _in_rooms(self, name: str, operation: Create | Join | Leave | Post) -> list[Any]:
        members = self.members.get(operation.room)
        if members is None:
            return self._without_room(name, operation)
        match operation:
            case Create():
                return ["error", "ROOM_EXISTS"]
            case Join(room):
                if name in members:
                    return ["error", "ALREADY_A_MEMBER"]
                members[name] = not members
                return ["joined", room]
            case Leave() | Post() if name not in members:
                return ["error", "NOT_A_MEMBER"]
            case Leave(room):
                if members[name] and len(members) > 1:
                    return ["error", "LAST_OWNER"]
                del members[name]
                return ["left", room]
            case Post(room=room, body=body):
                self.messages[room].append((name, body))
                return ["posted", room, len(self.messages[room]) - 1]
            case _:
                assert_never(operation)

    def _without_room(self, name: str, operation: Create | Join | Leave | Post) -> list[Any]:
        if not isinstance(operation, Create):
            return ["error", "NO_SUCH_ROOM"]
        self.members[operation.room], self.messages[operation.room] = {name: True}, []
        return ["created", operation.room]

    def _register(self, device: PublicKey, name: str | None, wanted: str) -> list[Any]:
        if name is not None:
            return ["registered", name] if name == wanted else ["error", "ALREADY_REGISTERED"]
        if wanted in self.accounts:
            return ["error", "NAME_TAKEN"]
        self.accounts[wanted], self.devices[device] = device, wanted
        return ["registered", wanted]


BODY_BYTES_MAX = 4096
_PLAIN = re.compile(r"[a-z0-9]{1,32}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def is_bad(operation: Register | Create | Join | Leave | Post) -> bool:
    """Whether it must be refused, for one reason or another: a name that is not plain, a text that is none."""
    match operation:
        case Register(name):
            return _PLAIN.fullmatch(name) is None
        case Create(room, topic) if _CONTROL.search(topic) or len(topic.encode()) > BODY_BYTES_MAX // 16:
            return True
        case Post(body=body, reply_to=reply_to) if (
            not body or _CONTROL.search(body) or len(body.encode()) > BODY_BYTES_MAX or reply_to is not None
        ):
            return True
        case Create(room) | Join(room) | Leave(room) | Post(room=room):
            return _PLAIN.fullmatch(room) is None


def same_result(expected: list[Any] | None, result: bytes) -> bool:
    """Whether a result is the expected one, whatever it says in words about an error."""
    if expected is None:
        return True
    found = decode(result, bytes_max=ANSWER_BYTES_MAX)
    if expected == ["error"]:
        return isinstance(found, list) and found[:1] == expected
    if not isinstance(found, list) or found[: len(expected)] != expected:
        return False
    return expected[0] == "error" or len(found) == len(expected)
