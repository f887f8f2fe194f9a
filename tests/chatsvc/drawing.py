"""Operations as people might send them, drawn by dice: mostly sensible ones, as far as the plain chat can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from chatsvc.application import operations as ops
from chatsvc.application import queries
from chatsvc.application.bearer import Purpose, prove
from chatsvc.application.queries import Query
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial, Role
from crypto.signing import Ed25519Signer, PublicKey, SecretSeed, Signature, Signer
from pbft.core.types import EventIndex, Milliseconds
from tests.chatsvc.plain_chat import PlainChat

T = TypeVar("T")

NAMES = ("Alice", "Bob", "carol", "Dave", "eve", "ALICE")
ROOMS = ("garden", "club", "cellar")
WORDS = ("plants", "hello", "word", "@bob", "@Alice,", "(@carol)", "x@dave", "@nobody", "see")
BAD_TEXTS = ("", "a\x00b", "two\nlines", "x" * 300, "x" * 4097, " ")
REACTIONS = (":+1:", "\U0001f44d", "ok", "ok", "two words", "")
THREADS = ("Roses", "roses", "weeds", "", "x" * 65)
CODES = 3
DAY_MS = 86_400_000


def signer_of(what: str, number: int) -> Ed25519Signer:
    return Ed25519Signer(SecretSeed(f"{what} {number}".encode().ljust(32, b".")))


CODE_SIGNERS: dict[Purpose, list[Ed25519Signer]] = {
    purpose: [signer_of(purpose.value, number) for number in range(CODES)]
    for purpose in (Purpose.DEVICE, Purpose.LINK, Purpose.RECOVERY)
}


def all_signers(devices: Sequence[Signer]) -> dict[PublicKey, Signer]:
    """Everything with which something can be proven."""
    known: list[Signer] = [*devices]
    for signers in CODE_SIGNERS.values():
        known += signers
    return {signer.public_key: signer for signer in known}


def opening() -> list[tuple[int, ops.Operation]]:
    """What the first five devices do at the beginning of a session: rooms of all kinds."""
    return [
        *((number, ops.Register(name)) for number, name in enumerate(NAMES[:5])),
        (0, ops.Create("garden", "plants")),
        (1, ops.Create("club", "secret", private=True)),
        (1, ops.Join("garden")),
        (2, ops.Join("garden")),
        (1, ops.Invite("club", "Alice")),
        (0, ops.Join("club")),
        (2, ops.OpenDirect(("Alice",))),
        (3, ops.OpenDirect(("Alice", "Bob"))),
    ]


def somebody(dice: Random, devices: Sequence[Signer]) -> PublicKey:
    """Mostly one of those that have names from the beginning."""
    known = devices[: len(NAMES) - 1]
    return dice.choice(devices if dice.randrange(5) == 0 else known).public_key


class Drawing:
    """What `device`, one of `devices`, might do or ask next."""

    def __init__(self, dice: Random, chat: PlainChat, devices: Sequence[Signer], device: PublicKey) -> None:
        self.dice = dice
        self.chat = chat
        self.devices = devices
        self.device = device

    def operation(self) -> ops.Operation:
        draw: Callable[[Drawing], ops.Operation] = self.dice.choices(_DRAWS, _WEIGHTS)[0]
        is_new = self.device not in self.chat.owner_of and self.dice.randrange(4)
        return _account(self) if is_new and not self.rarely() else draw(self)

    def query(self) -> Query:
        draw: Callable[[Drawing], Query] = self.dice.choice(_QUERIES)
        return draw(self)

    def one(self, values: Sequence[T]) -> T:
        return self.dice.choice(values)

    def rarely(self) -> bool:
        return self.dice.randrange(8) == 0

    def name(self) -> str:
        return self.one(("nobody", "a b")) if self.rarely() else self.one(NAMES)

    def moderates(self) -> bool:
        """Whether the caller may do more than others anywhere; now and then said of others too."""
        who = self.chat.owner_of.get(self.device) or ""
        rooms = [room for room in self.chat.rooms.values() if who in room.members]
        return self.rarely() or any(room.members[who].role is not Role.MEMBER for room in rooms)

    def room(self, *, moderated: bool = False) -> str:
        """Mostly one that the caller is in, or moderates; the one most is said in more often."""
        who = self.chat.owner_of.get(self.device) or ""
        mine = [room for _, room in sorted(self.chat.rooms.items()) if who in room.members]
        if moderated:
            mine = [room for room in mine if room.members[who].role is not Role.MEMBER] or mine
        if mine and not self.rarely():
            return max((self.one(mine) for _ in range(3)), key=lambda room: room.count).name
        return self.one([*ROOMS, "Garden", *sorted(self.chat.rooms)])

    def index(self, room: str) -> MessageIndex:
        """Mostly of one of the last messages."""
        kept = list(self.chat.rooms[room].messages) if room in self.chat.rooms else []
        if kept and not self.rarely():
            return MessageIndex(self.one(kept[-5:]))
        return MessageIndex(self.dice.randrange(3) if self.rarely() else (kept[-1] + 1 if kept else 0))

    def poll(self, room: str) -> MessageIndex:
        known = (
            [at for at, each in self.chat.rooms[room].messages.items() if each.options]
            if room in self.chat.rooms
            else []
        )
        return MessageIndex(self.one(known)) if known and not self.rarely() else self.index(room)

    def text(self, good: str) -> str:
        return self.one(BAD_TEXTS) if self.rarely() and self.rarely() else good

    def body(self) -> str:
        return self.text(" ".join(self.one(WORDS) for _ in range(self.dice.randrange(1, 4))))

    def nonce(self) -> bytes:
        return self.dice.randbytes(self.one((0, 4)))

    def code(self, purpose: Purpose) -> Ed25519Signer:
        """Mostly one that is open, if there is any."""
        signers = CODE_SIGNERS[purpose]
        accounts, rooms = self.chat.accounts.values(), self.chat.rooms.values()
        known = {account.invitation[0] for account in accounts if account.invitation}
        known |= {link for room in rooms for link in room.links}
        known |= {account.recovery for account in accounts if account.recovery}
        fitting = [signer for signer in signers if signer.public_key in known]
        return self.one(fitting or signers) if not self.rarely() else self.one(signers)

    def proof(self, signer: Signer, purpose: Purpose) -> Signature:
        device = self.one(self.devices).public_key if self.rarely() else self.device
        return prove(signer, purpose, device)

    def soon(self) -> Milliseconds:
        later = self.one((-1000, 2_000, 60_000, *[80_000_000] * 3, 40 * DAY_MS))
        return Milliseconds(max(0, self.chat.time + later))

    def limit(self) -> int:
        return self.one((1, 2, 3, 200))

    def after(self) -> str | None:
        return self.one((None, None, "bob", "club", ":+1: bob"))


def _message(d: Drawing) -> ops.Operation:
    room = d.room()
    return ops.Post(
        room=room,
        body=d.body(),
        kind=MessageKind.POLL if d.rarely() and d.rarely() else d.one((MessageKind.TEXT, MessageKind.ACTION)),
        reply_to=d.index(room) if d.dice.randrange(3) == 0 else None,
        thread=d.one(THREADS) if d.dice.randrange(4) == 0 else None,
        nonce=d.nonce(),
        claimed_ms=Milliseconds(d.dice.randrange(10**12)) if d.rarely() else None,
    )


def _poll(d: Drawing) -> ops.Operation:
    options = tuple(d.text(d.one(("yes", "no", "perhaps"))) for _ in range(d.one((2, 2, 3))))
    return ops.OpenPoll(room=d.room(), question=d.text("well?"), options=options, thread=d.one((None, *THREADS)))


def _to_message(d: Drawing) -> ops.Operation:
    room = d.room()
    index, poll = d.index(room), d.poll(room)
    made: tuple[ops.Operation, ...] = (
        ops.Edit(room, index, d.body(), d.nonce()),
        ops.Edit(room, index, d.body(), d.nonce()),
        ops.Delete(room, index),
        ops.React(room, index, d.one(REACTIONS), not d.rarely()),
        ops.React(room, index, d.one(REACTIONS), d.rarely()),
        ops.Pin(room, index, not d.rarely()),
        ops.Pin(room, index, d.rarely()),
        ops.Vote(room, poll, d.one((None, 0, 1, 2, 9))),
        ops.Vote(room, poll, d.one((0, 1))),
        ops.ClosePoll(room, poll),
        ops.MarkRead(room, index),
    )
    return d.one(made)


def _to_person(d: Drawing) -> ops.Operation:
    if not d.moderates():
        return _coming(d)
    room, name = d.room(moderated=True), d.name()
    made: tuple[ops.Operation, ...] = (
        ops.Invite(room, name),
        ops.Invite(room, name),
        ops.Uninvite(room, name),
        ops.Kick(room, name, d.text("rude")),
        ops.Ban(room, name, d.text("")),
        ops.Unban(room, name),
        ops.Mute(room, name, d.one((Milliseconds(0), d.soon()))),
        ops.SetRole(room, name, d.one(tuple(Role))),
        ops.SetRole(room, name, d.one(tuple(Role))),
    )
    return d.one(made)


def _to_room(d: Drawing) -> ops.Operation:
    if not d.moderates():
        return _message(d)
    room = d.room(moderated=True)
    made: tuple[ops.Operation, ...] = (
        ops.SetTopic(room, d.text(d.one(WORDS))),
        ops.Describe(room, d.text(d.one(WORDS))),
        ops.SetSlowMode(room, d.one((0, 2, 86_000, 90_000))),
        ops.SetRetention(room, d.one((0, 30, 60, 60, 100, 86_400 * 365))),
        ops.Archive(room, d.rarely()),
        ops.MakeLink(room, d.one(CODE_SIGNERS[Purpose.LINK]).public_key, d.soon(), d.one((1, 2))),
        ops.MakeLink(room, d.one(CODE_SIGNERS[Purpose.LINK]).public_key, d.soon(), d.one((1, 2))),
        ops.DropLink(room, d.code(Purpose.LINK).public_key),
    )
    return d.one(made)


def _coming(d: Drawing) -> ops.Operation:
    link = d.code(Purpose.LINK)
    is_known = any(link.public_key in room.links for room in d.chat.rooms.values())
    made: tuple[ops.Operation, ...] = (
        ops.Create(d.one((*ROOMS, "Garden")), d.text("topic"), not d.dice.randrange(3), d.text("")),
        ops.OpenDirect(tuple(d.name() for _ in range(d.one((1, 1, 2))))),
        ops.Join(d.one((*ROOMS, "nowhere"))),
        ops.Join(d.one(ROOMS)),
        ops.Leave(d.room()),
        ops.JoinByLink(link.public_key, d.proof(link, Purpose.LINK)) if is_known or d.rarely() else ops.Join("club"),
    )
    return d.one(made)


def _account(d: Drawing) -> ops.Operation:
    invitation, recovery, device = d.code(Purpose.DEVICE), d.code(Purpose.RECOVERY), d.one(d.devices)
    if d.device not in d.chat.owner_of:
        lost = [account.name for account in d.chat.accounts.values() if account.recovery == recovery.public_key]
        new: tuple[ops.Operation, ...] = (
            ops.AddDevice(invitation.public_key, d.proof(invitation, Purpose.DEVICE), d.text("tablet")),
            ops.Recover(d.one(lost or NAMES), d.proof(recovery, Purpose.RECOVERY)),
            ops.RotateDevice(device.public_key, d.proof(device, Purpose.ROTATION)),
        )
        return d.one(new)
    who = d.chat.owner_of.get(d.device)
    own = [] if who is None else list(d.chat.accounts[who].devices)
    made: tuple[ops.Operation, ...] = (
        ops.Register(d.name(), d.one((None, recovery.public_key)), d.text("phone")),
        ops.Register(d.name()),
        ops.SetDisplay(d.text("somebody")),
        ops.SetRecovery(d.one((None, recovery.public_key))),
        *[ops.InviteDevice(d.one(CODE_SIGNERS[Purpose.DEVICE]).public_key, d.soon())] * 2,
        ops.InviteDevice(d.one(CODE_SIGNERS[Purpose.DEVICE]).public_key, d.soon()),
        ops.AddDevice(invitation.public_key, d.proof(invitation, Purpose.DEVICE), d.text("tablet")),
        ops.RotateDevice(device.public_key, d.proof(device, Purpose.ROTATION)),
        ops.RevokeDevice(d.one(own or [device.public_key])),
        ops.Recover(d.name(), d.proof(recovery, Purpose.RECOVERY)),
    )
    return d.one(made)


_DRAWS = [_message, _poll, _to_message, _to_person, _to_room, _coming, _account]
_WEIGHTS = [30, 4, 40, 14, 10, 10, 6]


def _about_messages(d: Drawing) -> Query:
    room = d.room()
    index = d.index(room)
    made: tuple[Query, ...] = (
        queries.ReadHistory(room=room, limit=d.limit()),
        queries.ReadHistory(room=room, before=index, limit=d.limit()),
        queries.ReadHistory(room=room, after=index, limit=d.limit()),
        queries.ReadThread(room=room, thread=d.one(THREADS[:3]), before=d.one((None, 1, 2)), limit=d.limit()),
        queries.ListThreads(room=room, limit=d.limit()),
        _moment(d, room),
        queries.ListVersions(room, index),
        queries.ListReactions(room=room, index=index, after=d.after(), limit=d.limit()),
        queries.ListPins(room=room, after=d.one((None, index))),
        queries.ShowPoll(room, d.poll(room)),
        queries.DigestMessages(room=room, first=index, limit=d.limit()),
    )
    return d.one(made)


def _moment(d: Drawing, room: str) -> Query:
    """Not where imported messages claim times that go back."""
    messages = d.chat.rooms[room].messages.values() if room in d.chat.rooms else []
    if any(message.claimed_ms is not None for message in messages):
        return queries.ShowRoom(room)
    return queries.FindMoment(room, Milliseconds(max(0, d.chat.time - d.dice.randrange(60_000))))


def _about_people(d: Drawing) -> Query:
    room = d.room()
    made: tuple[Query, ...] = (
        queries.ListRooms(after=d.after(), limit=d.limit()),
        queries.ShowRoom(room),
        queries.ListMembers(room=room, after=d.after(), limit=d.limit()),
        queries.ListBans(room=room, limit=d.limit()),
        queries.ListLinks(room),
        queries.ShowAccount(d.one(NAMES)),
        queries.WhoAmI(),
        queries.ListDevices(),
        queries.ListMemberships(name=d.one(NAMES), after=d.after(), limit=d.limit()),
        queries.ListUnread(after=d.after(), limit=d.limit()),
        queries.ListInvitations(),
        queries.ListNotices(before=d.one((None, None, EventIndex(3))), limit=d.limit()),
        queries.SearchMessages(
            text=d.one(("plants", "hello")), before=d.one((None, MessageSerial(5))), limit=d.limit()
        ),
    )
    return d.one(made)


_QUERIES = [_about_messages, _about_people]
