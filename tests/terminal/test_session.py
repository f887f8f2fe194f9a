"""A session against four replicas that run the real chat: what comes in, what goes out, and what commands do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from chatsvc.application.bearer import Purpose, code_of
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import MessageKind, Role
from clients.sdk import Chat, ChatError
from clients.terminal import commands
from clients.terminal.arguments import BadCommand, split_command
from clients.terminal.lines import Entry, Fate, Happening
from clients.terminal.model import Model, RoomState
from clients.terminal.screen import Screen
from clients.terminal.session import PAGE, Session
from tests.chatsvc.fakes import NOON
from tests.client.fake_replicas import World
from tests.harness.waiting import until
from tests.sdk.test_chat import BOB, chat_of
from tests.terminal.clocks import in_time


class Desk:
    """Alice at her terminal, in the room `garden`, and Bob somewhere else."""

    def __init__(self, world: World, session: Session, alice: Chat, bob: Chat) -> None:
        self.world, self.session, self.alice, self.bob = world, session, alice, bob
        self.model = session.model
        self.rings = 0
        self.over = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        await self.session.run(task_status=task_status)
        self.over.set()

    @property
    def room(self) -> RoomState:
        room = self.model.room
        assert room is not None
        return room

    def bodies(self) -> list[str]:
        return [entry.message.body for entry in self.room.log.entries()]

    def happened(self) -> list[str]:
        return [line.text for line in self.room.log.lines if isinstance(line, Happening)]

    async def do(self, line: str) -> None:
        typed = split_command(line)
        assert typed is not None
        await commands.find(typed.name).run(self.session, typed.rest)

    async def settled(self) -> None:
        """Until no own line waits."""
        await until(lambda: not self.room.log.pending)

    def side(self) -> str:
        assert self.model.side is not None
        return "\n".join([self.model.side.title, *(row.text for row in self.model.side.rows)])


@asynccontextmanager
async def desk_in(world: World) -> AsyncIterator[Desk]:
    async with chat_of(world) as alice, chat_of(world, BOB) as bob, trio.open_nursery() as nursery:
        await alice.register("Alice")
        await alice.create("garden", "plants")
        await bob.register("Bob")
        await bob.join("garden")
        await bob.post("garden", "before")
        session = Session(alice, Model(), now_ms=lambda: NOON + 1000 * world.sequence)
        desk = Desk(world, session, alice, bob)

        def ring() -> None:
            desk.rings += 1

        session._ring = ring
        await nursery.start(desk.run)
        await session.enter("garden")
        yield desk
        session.leave()


async def test_history_and_what_happens_then_stand_in_one_log(world: World) -> None:
    async with desk_in(world) as desk:
        assert (desk.model.me, desk.model.group, desk.room.topic) == ("Alice", "test", "plants")
        assert desk.room.unread_from == 0
        await desk.bob.post("garden", "hello")
        await desk.bob.edit("garden", 1, "hello there")
        await desk.bob.react("garden", 0, "👍")
        await desk.bob.open_poll("garden", "Tea?", ["yes", "no"])
        await desk.bob.vote("garden", 2, 1)
        await until(lambda: [e.votes for e in desk.room.log.entries()] == [None, None, (0, 1)])
        assert desk.bodies() == ["before", "hello there", "Tea?\nyes\nno"]
        assert [r.count for r in desk.room.log.entries()[0].message.reactions] == [1]
        assert len(desk.room.log.entries()[1].vouchers) >= 2
        assert desk.room.unread == 0


async def test_lines_are_accepted_in_the_order_in_which_they_were_typed(world: World) -> None:
    async with desk_in(world) as desk:
        for number in range(10):
            assert desk.session.say(desk.room, f"line {number}", reply_to=0)
        await desk.settled()
        assert desk.bodies() == ["before", *(f"line {number}" for number in range(10))]
        entry = desk.room.log.entries()[-1]
        await until(lambda: entry.receipt is not None)
        assert entry.receipt is not None
        assert entry.receipt.needed == 2


async def test_an_unknown_outcome_is_asked_for_again_and_the_line_is_never_posted_twice(
    world: World, autojump_clock: MockClock
) -> None:
    async with desk_in(world) as desk:
        for replica in world.replicas:
            replica.silent = True
        desk.session.say(desk.room, "once")
        desk.session.say(desk.room, "then")
        await in_time(lambda: desk.room.log.pending[0].fate is Fate.UNKNOWN)
        await trio.sleep(30)  # of the mock clock: it is asked for several times
        assert [line.fate for line in desk.room.log.pending] == [Fate.UNKNOWN, Fate.PENDING]
        for replica in world.replicas:
            replica.silent = False
        await in_time(lambda: not desk.room.log.pending)
        assert desk.bodies() == ["before", "once", "then"]
        assert [message.body for message in await desk.alice.history("garden")] == ["before", "once", "then"]


async def test_links_that_break_leave_neither_gap_nor_double(world: World, autojump_clock: MockClock) -> None:
    async with desk_in(world) as desk:
        await desk.bob.post("garden", "one")
        for replica in world.replicas:
            await replica.break_links()
        for number in range(5):
            await desk.bob.post("garden", f"after {number}")
        await in_time(lambda: len(desk.bodies()) == 7)
        assert desk.bodies() == ["before", "one", *(f"after {number}" for number in range(5))]


async def test_a_refused_line_says_why_and_is_sent_again_or_forgotten(world: World) -> None:
    async with desk_in(world) as desk:
        await desk.alice.archive("garden")
        desk.session.say(desk.room, "hello")
        line = desk.room.log.pending[0]
        await until(lambda: line.fate is Fate.FAILED)
        assert "archived" in line.why
        await desk.alice.archive("garden", archived=False)
        await desk.do("/retry")
        await desk.settled()
        assert desk.bodies() == ["before", "hello"]
        assert not desk.session.say(desk.room, "x" * 5000)
        assert desk.model.says_error
        with pytest.raises(BadCommand, match="nothing was refused"):
            await desk.do("/retry")


async def test_what_is_meant_for_this_user_rings_and_is_listed(world: World) -> None:
    async with desk_in(world) as desk:
        await desk.bob.post("garden", "nothing special")
        await desk.bob.post("garden", "look, @Alice")
        done = await desk.bob.open_direct(["Alice"])
        await desk.bob.post(done.value.room, "psst")
        await until(lambda: desk.rings == 2 and done.value.room in desk.model.rooms)
        await until(lambda: desk.model.rooms[done.value.room].unread == 1)
        assert desk.model.rooms[done.value.room].title == "@Bob"
        await desk.do("/mentions")
        assert "Bob: mention in #garden" in desk.side()
        assert "Bob: direct in @Bob" in desk.side()


async def test_whoever_is_removed_sees_the_room_go(world: World) -> None:
    async with desk_in(world) as desk:
        for name in ("cellar", "attic"):
            await desk.bob.create(name, private=name == "attic")
            await desk.bob.invite(name, "Alice")
            await desk.do(f"/join {name}")
            assert desk.room.name == name
            await desk.bob.kick(name, "Alice", "noise")
            await until(lambda name=name: name not in desk.model.rooms)  # type: ignore[misc]
            assert desk.model.open is None
            assert desk.model.says_error


async def test_a_room_that_is_left_and_entered_again_goes_on(world: World) -> None:
    async with desk_in(world) as desk:
        await desk.alice.set_role("garden", "Bob", Role.OWNER)
        await desk.do("/part")
        assert "garden" not in desk.model.rooms
        await desk.bob.post("garden", "meanwhile")
        for name in ("garden", "#Garden"):  # the second time Alice is there, and only goes there
            await desk.do(f"/join {name}")
        await desk.bob.post("garden", "then")
        await until(lambda: desk.bodies() == ["before", "meanwhile", "then"])


async def test_after_leaving_nothing_is_started(world: World) -> None:
    async with desk_in(world) as desk:
        session = desk.session
    session.start(session.enter, "attic")
    assert desk.room.name == "garden"


async def test_more_history_comes_when_it_is_asked_for(world: World) -> None:
    async with chat_of(world) as alice:
        await alice.register("Alice")
        await alice.create("garden")
        for number in range(PAGE + 20):
            await alice.post("garden", f"line {number}")
        async with trio.open_nursery() as nursery:
            session = Session(alice, Model())
            await nursery.start(session.run)
            await session.enter("garden")
            room = session.model.rooms["garden"]
            assert (room.log.first_index, room.log.complete) == (20, False)
            assert await session.load_older(room)
            assert (room.log.first_index, room.log.complete) == (0, True)
            assert not await session.load_older(room)
            session.leave()


async def test_what_was_read_is_told_before_leaving(world: World) -> None:
    async with desk_in(world) as desk:
        for number in range(3):
            await desk.bob.post("garden", f"line {number}")
        await until(lambda: len(desk.bodies()) == 4)
        desk.session.leave()
        await desk.over.wait()
        (unread,) = [room async for room in desk.alice.unread()]
        assert (unread.read, unread.message_count) == (4, 4)


# -- commands


async def test_messages_are_answered_changed_and_reacted_to(world: World) -> None:
    async with desk_in(world) as desk:
        await desk.do("/reply #0 yes")
        await desk.settled()
        await desk.do("/me waves")
        await desk.settled()
        await desk.do("/edit #1 yes, of course :rocket:")
        await desk.do("/react #0 :+1:")
        await desk.do("/pin 0")
        await until(lambda: desk.room.log.entries()[0].pinned)
        first, second, third = (entry.message for entry in desk.room.log.entries())
        assert (second.reply_to, second.body) == (0, "yes, of course 🚀")
        assert third.kind is MessageKind.ACTION
        assert [(r.reaction, r.count) for r in first.reactions] == [("👍", 1)]
        await desk.do("/pins")
        assert "before" in desk.side()
        await desk.do("/versions 1")
        assert "yes" in desk.side()
        await desk.do("/react #0 :+1: off")
        await desk.do("/pin 0")
        await desk.do("/delete")
        await until(lambda: desk.room.log.entries()[2].message.deleted_by == "Alice")
        assert not desk.room.log.entries()[0].pinned
        assert desk.room.log.entries()[0].message.reactions == ()


async def test_polls(world: World) -> None:
    async with desk_in(world) as desk:
        with pytest.raises(BadCommand, match="there is no poll"):
            await desk.do("/vote 1")
        await desk.do("/poll Tea? | yes | no")
        await until(lambda: len(desk.bodies()) == 2)
        await desk.do("/vote 2")
        await until(lambda: desk.room.log.entries()[1].votes == (0, 1))
        await desk.do("/vote #1 none")
        await until(lambda: desk.room.log.entries()[1].votes == (0, 0))
        with pytest.raises(BadCommand, match="1 to 2"):
            await desk.do("/vote 3")
        await desk.do("/close")
        await until(lambda: desk.room.log.entries()[1].closed)


async def test_threads(world: World) -> None:
    async with desk_in(world) as desk:
        await desk.bob.post("garden", "red", thread="Roses")
        await until(lambda: len(desk.bodies()) == 2)
        await desk.do("/threads")
        assert "Roses" in desk.side()
        await desk.do("/thread")
        assert desk.room.thread == "Roses"
        assert "Bob: red" in desk.side()
        desk.session.say(desk.room, "white", thread=desk.room.thread)
        await desk.settled()
        assert desk.side().endswith("Alice: white")
        await desk.do("/thread Tulips")
        assert desk.side() == "Thread: Tulips (Esc closes)"


async def test_rooms_and_people(world: World) -> None:
    async with desk_in(world) as desk:
        await desk.do("/topic roses only")
        await until(lambda: desk.room.topic == "roses only")
        await desk.do("/who")
        assert "Alice (owner)" in desk.side()
        await desk.do("/mute @Bob 10m")
        with pytest.raises(ChatError):
            await desk.bob.post("garden", "mmm")
        await desk.do("/mute Bob off")
        await desk.do("/ban Bob spam")
        with pytest.raises(ChatError):
            await desk.bob.join("garden")
        await desk.do("/unban Bob")
        await desk.bob.join("garden")
        await desk.do("/role Bob moderator")
        await until(lambda: "Alice made Bob moderator" in desk.happened())
        assert "Alice banned Bob: spam" in desk.happened()
        await desk.do("/create -p cellar wine")
        assert desk.model.open == "cellar"
        await desk.do("/invite Bob")
        assert [one.room for one in await desk.bob.invitations()] == ["cellar"]
        await desk.do("/link 3 2d")
        code = desk.model.says.split()[3]
        assert (await desk.bob.join_by_link(code)).value.room == "cellar"
        await desk.do("/kick Bob noise")
        await until(lambda: "Alice removed Bob: noise" in desk.happened())
        await desk.do("/part")
        assert desk.model.open == "garden"
        assert "cellar" not in desk.model.rooms
        await desk.do("/rooms")
        assert "* #garden" in desk.side()
        await desk.do("/msg Bob hello you")
        await desk.settled()
        assert (desk.room.title, desk.bodies()) == ("@Bob", ["hello you"])
        with pytest.raises(ChatError) as caught:
            await desk.do("/join nowhere")
        assert caught.value.code is ErrorCode.NO_SUCH_ROOM


async def test_a_code_joins_the_room_that_it_leads_to(world: World) -> None:
    async with desk_in(world) as desk:
        await desk.bob.create("attic", private=True)
        code = code_of(b"0123456789", Purpose.LINK)
        await desk.bob.make_link("attic", code, desk.session.now_ms() + 10_000)
        await desk.do(f"/join {code}")
        assert desk.room.name == "attic"


async def test_searches_and_receipts_stand_beside(world: World) -> None:
    async with desk_in(world) as desk:
        await desk.do("/search before")
        assert "Found 1 for before" in desk.side()
        await desk.do("/receipt 0")
        assert "Ordered\n  at 5, place 0 of its batch" in desk.side()
        assert "the same from replicas" in desk.side()
        await desk.do("/replicas")
        assert "replica 3 +\n  connected" in desk.side()
        await desk.do("/help")
        assert "/join ROOM | CODE" in desk.side()
        await desk.do("/jump 0")
        assert desk.model.selected == 0
        with pytest.raises(BadCommand, match="there is no message 99"):
            await desk.do("/jump 99")


async def test_the_screen_sends_what_is_typed_and_says_what_went_wrong(world: World) -> None:
    async with desk_in(world) as desk:
        screen = Screen(desk.model)
        screen.session = desk.session
        size = (80, 24)

        def type_(text: str) -> None:
            for key in text:
                screen.keypress(size, key)
            screen.keypress(size, "enter")

        type_("hello :wave:")
        await until(lambda: len(desk.bodies()) == 2 and not desk.room.log.pending)
        assert isinstance(desk.room.log.lines[-1], Entry)
        assert "<Alice> hello 👋" in "\n".join(row.decode() for row in screen.render(size, True).text)
        type_("/dance")
        assert "there is no command /dance" in desk.model.says
        type_("/join nowhere")
        await until(lambda: "there is no room of this name" in desk.model.says)
        assert desk.model.says_error
        screen.keypress(size, "meta e")
        assert screen.input.edit.edit_text == "hello 👋"
        type_("!")
        await until(lambda: desk.bodies()[-1] == "hello 👋!")
        screen.keypress(size, "up")
        assert screen.input.edit.edit_text == "hello 👋!"
        screen.keypress(size, "esc")
        await desk.alice.create("attic")
        await desk.session.load_rooms()
        screen.render((120, 24), True)
        screen.mouse_event((120, 24), "mouse press", 1, 3, 1, True)
        await until(lambda: desk.model.open == "attic")
        screen.render(size, True)
        type_("/quit")
        await until(desk.session.leaving.is_set)
