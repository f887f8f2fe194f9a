"""What a client may ask the group to do: requests of canonical CBOR lists that begin with the operation's name."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias, cast

from msgspec import Meta

from chatsvc.application.schema import MessageIndex, MessageKind, Role
from chatsvc.application.wire import Wire, decode_exact, encode_wire
from crypto.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, PublicKey, Signature
from pbft.core.types import Milliseconds

OPERATION_BYTES_MAX = 8192
"""Twice the longest body, so that one a little too long can be told so."""
NONCE_BYTES_MAX = 16
TIME_MS_MAX = 253_402_300_799_999
"""The end of the year 9999."""
DIRECT_MEMBERS_MAX = 8
POLL_OPTIONS_MAX = 10

Index = Annotated[MessageIndex, Meta(ge=0, le=2**63 - 1)]
Moment = Annotated[Milliseconds, Meta(ge=0, le=TIME_MS_MAX)]
"""Milliseconds since 1970-01-01 UTC."""
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Nonce = Annotated[bytes, Meta(max_length=NONCE_BYTES_MAX)]
Key = Annotated[PublicKey, Meta(min_length=PUBLIC_KEY_BYTES, max_length=PUBLIC_KEY_BYTES)]
Proof = Annotated[Signature, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
"""That whoever sends the operation holds a secret: see `bearer`."""


# -- accounts and their devices


class Register(Wire, frozen=True, tag="register"):
    """Give the calling device a name. Again with the same name: nothing changes."""

    name: str
    recovery: Key | None = None
    """Whoever can sign with this key may add a device when all are lost."""
    label: str = ""
    """What the device is called, for its owner to tell it from the others."""


class SetDisplay(Wire, frozen=True, tag="display"):
    """Say how the account wishes to be called beside its name; empty for nothing."""

    display: str


class SetRecovery(Wire, frozen=True, tag="recovery"):
    """Replace the recovery key, or give none."""

    recovery: Key | None


class InviteDevice(Wire, frozen=True, tag="invite-device"):
    """Let whoever can sign with `invitation` add a device to the account, once. Replaces the invitation before."""

    invitation: Key
    expires_ms: Moment


class AddDevice(Wire, frozen=True, tag="add-device"):
    """Add the calling device to the account that invited it."""

    invitation: Key
    proof: Proof
    label: str = ""


class RotateDevice(Wire, frozen=True, tag="rotate"):
    """Put the calling device's key, a new one, in the place of `device`, which is revoked and signs `proof`."""

    device: Key
    proof: Proof


class RevokeDevice(Wire, frozen=True, tag="revoke"):
    """Refuse everything that this device of the caller's account signs from here on."""

    device: Key


class Recover(Wire, frozen=True, tag="recover"):
    """Add the calling device to an account, all of whose other devices are revoked. `proof`: by the recovery key."""

    name: str
    proof: Proof
    label: str = ""


# -- rooms


class Create(Wire, frozen=True, tag="create"):
    """Make a room, join it and own it. A private one is seen by its members only."""

    room: str
    topic: str
    private: bool = False
    description: str = ""


class OpenDirect(Wire, frozen=True, tag="direct"):
    """Open the conversation of the caller and these accounts, or find it: there is one for each set of people."""

    names: Annotated[tuple[str, ...], Meta(min_length=1, max_length=DIRECT_MEMBERS_MAX - 1)]


class SetTopic(Wire, frozen=True, tag="topic"):
    room: str
    topic: str


class Describe(Wire, frozen=True, tag="describe"):
    room: str
    description: str


class SetSlowMode(Wire, frozen=True, tag="slow"):
    """Members wait so long between two messages; 0 ends it. Moderators do not wait."""

    room: str
    seconds: Count


class SetRetention(Wire, frozen=True, tag="retention"):
    """Forget messages this long after they were ordered; 0 keeps them for ever."""

    room: str
    seconds: Count


class Archive(Wire, frozen=True, tag="archive"):
    """Close a room for all but reading, or open it again."""

    room: str
    archived: bool


class Join(Wire, frozen=True, tag="join"):
    room: str


class Leave(Wire, frozen=True, tag="leave"):
    room: str


class Invite(Wire, frozen=True, tag="invite"):
    """Let an account join; it is told."""

    room: str
    name: str


class Uninvite(Wire, frozen=True, tag="uninvite"):
    room: str
    name: str


class MakeLink(Wire, frozen=True, tag="make-link"):
    """Let whoever can sign with `link` join, `uses` accounts at most."""

    room: str
    link: Key
    expires_ms: Moment
    uses: Annotated[int, Meta(ge=1, le=1_000_000)]


class DropLink(Wire, frozen=True, tag="drop-link"):
    room: str
    link: Key


class JoinByLink(Wire, frozen=True, tag="join-link"):
    link: Key
    proof: Proof


class Kick(Wire, frozen=True, tag="kick"):
    room: str
    name: str
    reason: str = ""


class Ban(Wire, frozen=True, tag="ban"):
    """Kick, and refuse to let in again. Also for one who is no member."""

    room: str
    name: str
    reason: str = ""


class Unban(Wire, frozen=True, tag="unban"):
    room: str
    name: str


class Mute(Wire, frozen=True, tag="mute"):
    """Let a member only read until then; 0 lets it speak again."""

    room: str
    name: str
    until_ms: Moment


class SetRole(Wire, frozen=True, tag="role"):
    room: str
    name: str
    role: Role


# -- messages


class Post(Wire, frozen=True, kw_only=True, tag="post"):
    """Say something in a room one is a member of."""

    room: str
    body: str
    kind: MessageKind = MessageKind.TEXT
    reply_to: Index | None = None
    thread: str | None = None
    """The topic within the room; a reply without one belongs where the message replied to does."""
    nonce: Nonce = b""
    claimed_ms: Moment | None = None
    """When it was said originally, for imports."""


class Edit(Wire, frozen=True, tag="edit"):
    """Replace the body of one's own message; what it said before can still be read."""

    room: str
    index: Index
    body: str
    nonce: Nonce = b""


class Delete(Wire, frozen=True, tag="delete"):
    """Take the body of one's own message away, or as moderator of anybody's: all versions of it."""

    room: str
    index: Index


class React(Wire, frozen=True, tag="react"):
    """Add a reaction to a message, or take it back."""

    room: str
    index: Index
    reaction: str
    on: bool = True


class Pin(Wire, frozen=True, tag="pin"):
    """Pin a message to its room, or take the pin out."""

    room: str
    index: Index
    on: bool = True


class OpenPoll(Wire, frozen=True, kw_only=True, tag="poll"):
    """Post a question with options to choose from."""

    room: str
    question: str
    options: Annotated[tuple[str, ...], Meta(min_length=2, max_length=POLL_OPTIONS_MAX)]
    thread: str | None = None
    nonce: Nonce = b""


class Vote(Wire, frozen=True, tag="vote"):
    """Choose an option of a poll, another one than before, or none. One vote for each account."""

    room: str
    index: Index
    option: Annotated[int, Meta(ge=0, lt=POLL_OPTIONS_MAX)] | None


class ClosePoll(Wire, frozen=True, tag="close-poll"):
    room: str
    index: Index


class MarkRead(Wire, frozen=True, tag="mark-read"):
    """Everything before message `index` has been read. Never goes back."""

    room: str
    index: Index


class Read(Wire, frozen=True, tag="read"):
    """Answer a query in its place in the order: linearizable."""

    query: bytes


AccountOperation: TypeAlias = (
    Register | SetDisplay | SetRecovery | InviteDevice | AddDevice | RotateDevice | RevokeDevice | Recover
)
RoomOperation: TypeAlias = (
    Create | OpenDirect | SetTopic | Describe | SetSlowMode | SetRetention | Archive
)  # fmt: skip
MemberOperation: TypeAlias = (
    Join | Leave | Invite | Uninvite | MakeLink | DropLink | JoinByLink | Kick | Ban | Unban | Mute | SetRole
)
MessageOperation: TypeAlias = Post | Edit | Delete | React | Pin | OpenPoll | Vote | ClosePoll | MarkRead
Operation: TypeAlias = AccountOperation | RoomOperation | MemberOperation | MessageOperation | Read

_OPERATION: Final = Operation
_DEPTH_MAX = 2


def encode_operation(operation: Operation) -> bytes:
    """Return the one encoding of `operation`. Raises MalformedEncoding for text that is no Unicode."""
    return encode_wire(operation)


def decode_operation(data: bytes) -> Operation:
    """Return the operation that `data` encodes; names and texts may still be bad ones.

    Total: raises MalformedEncoding, and nothing else, for any other bytes.
    """
    return cast("Operation", decode_exact(data, _OPERATION, bytes_max=OPERATION_BYTES_MAX, depth_max=_DEPTH_MAX))
