"""The application from start to end, without a terminal: first steps, waiting for replicas, leaving."""

from __future__ import annotations

from pathlib import Path

import trio
from trio.testing import MockClock

from clients.terminal.app import App, Options
from crypto.signing import Ed25519Signer
from tests.client.fake_replicas import World
from tests.harness.waiting import until
from tests.sdk.test_chat import ALICE, BOB, chat_of
from tests.terminal.clocks import in_time

SIZE = (80, 24)


def app_of(world: World, tmp_path: Path, *, signer: Ed25519Signer | None = ALICE, room: str | None = None) -> App:
    options = Options(identity=tmp_path / "identity.toml", room=room, dial=world.dial, timeout_s=3)
    return App(world.directory, signer, options)


def text(app: App) -> str:
    return "\n".join(row.decode() for row in app.screen.render(SIZE, True).text)


async def test_it_begins_in_the_room_that_was_asked_for_and_leaves_when_told(
    world: World, nursery: trio.Nursery, tmp_path: Path
) -> None:
    async with chat_of(world, BOB) as bob, chat_of(world) as alice:
        await alice.register("Alice")
        await bob.register("Bob")
        await bob.create("garden")
        await alice.create("attic")
    app = app_of(world, tmp_path, room="#Garden")
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await until(lambda: app.model.open == "garden" and app.model.rooms["garden"].is_loaded)
        assert "Alice connected 0+1+2+3+" in text(app)
        app.quit()
    assert app.screen.session is None


async def test_it_begins_where_somebody_waits_for_an_answer(
    world: World, nursery: trio.Nursery, tmp_path: Path
) -> None:
    async with chat_of(world, BOB) as bob, chat_of(world) as alice:
        await alice.register("Alice")
        await bob.register("Bob")
        await alice.create("attic")
        room = (await bob.open_direct(["Alice"])).value.room
        await bob.post(room, "are you there?")
    app = app_of(world, tmp_path)
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await until(lambda: app.model.open == room and app.model.rooms[room].is_loaded)
        assert "<Bob> are you there?" in text(app)
        app.quit()


async def test_it_waits_for_replicas_and_says_so(
    world: World, nursery: trio.Nursery, tmp_path: Path, autojump_clock: MockClock
) -> None:
    for replica in world.replicas:
        replica.down = True
    app = app_of(world, tmp_path)
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await in_time(lambda: app.model.says.startswith("0 of 4 replicas can be reached, 2 are needed"))
        assert "not connected" in text(app)
        for replica in world.replicas:
            replica.down = False
        await in_time(lambda: app.screen.dialog is not None)
        assert "Choose a name" in text(app)
        app.screen.keypress(SIZE, "esc")


async def test_whoever_makes_no_identity_leaves_without_one(
    world: World, nursery: trio.Nursery, tmp_path: Path
) -> None:
    app = app_of(world, tmp_path, signer=None)
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await until(lambda: app.screen.dialog is not None)
        assert "You need an identity" in text(app)
        app.screen.keypress(SIZE, "tab")
        app.screen.keypress(SIZE, "enter")
    assert not (tmp_path / "identity.toml").exists()
    assert all(not replica.dials for replica in world.replicas)


async def test_an_existing_identity_is_not_overwritten(world: World, nursery: trio.Nursery, tmp_path: Path) -> None:
    app = app_of(world, tmp_path, signer=None)
    (tmp_path / "identity.toml").write_text("precious")
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await until(lambda: app.screen.dialog is not None)
        first = app.screen.dialog
        app.screen.render(SIZE, True)
        app.screen.keypress(SIZE, "enter")
        await until(lambda: app.screen.dialog is not first and app.screen.dialog is not None)
        assert "exists already" in text(app)
        app.quit()
    assert (tmp_path / "identity.toml").read_text() == "precious"


async def test_a_room_can_be_picked_and_what_is_wrong_with_a_new_one_is_said(
    world: World, nursery: trio.Nursery, tmp_path: Path
) -> None:
    async with chat_of(world, BOB) as bob, chat_of(world) as alice:
        await alice.register("Alice")
        await bob.register("Bob")
        await bob.create("garden")
    app = app_of(world, tmp_path)
    async with trio.open_nursery() as inner:
        inner.start_soon(app.live)
        await until(lambda: app.screen.dialog is not None)
        first = app.screen.dialog
        assert "#garden" in text(app)
        for key in "a b":
            app.screen.keypress(SIZE, key)
        app.screen.keypress(SIZE, "enter")
        await until(lambda: app.screen.dialog is not first and app.screen.dialog is not None)
        assert "U+0020" in text(app)
        app.screen.keypress(SIZE, "tab")
        app.screen.keypress(SIZE, "tab")
        app.screen.keypress(SIZE, "enter")
        await until(lambda: app.model.open == "garden")
        app.quit()
