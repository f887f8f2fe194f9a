"""The commands of those who use a group. Imported for every `quorate --help`: nothing heavy at the top."""

from __future__ import annotations

from collections.abc import Callable

from cyclopts import App

TALKING = "Talking"
READING = "Reading"
OPERATING = "Running a group"


def add_commands(app: App, add: Callable[..., None]) -> None:
    """`add(app, path, name=, help=, group=)` registers a command by import path."""
    identity = App(name="identity", help="Make and show the key that signs for you.", group="You")

    add(identity, "clients.identity_commands:new", name="new", help="Make a new identity: a key in a file of yours.")
    add(identity, "clients.identity_commands:show", name="show", help="Show your identity's file and public key.")
    app.command(identity)
    add(app, "clients.chat_commands:register", name="register", group="You", help="Give your key a name.")
    add(
        app,
        "clients.chat_commands:whoami",
        name="whoami",
        group="You",
        help="Show the name of your key in this group.",
    )
    add(app, "clients.terminal.command:chat", name="chat", group=TALKING, help="Chat on the whole screen.")
    add(app, "clients.chat_commands:create", name="create", group=TALKING, help="Create a room and join it.")
    add(app, "clients.chat_commands:join", name="join", group=TALKING, help="Join a room.")
    add(app, "clients.chat_commands:leave", name="leave", group=TALKING, help="Leave a room.")
    add(app, "clients.chat_commands:send", name="send", group=TALKING, help="Say something in a room.")
    add(
        app,
        "clients.import_command:import_irc",
        name="import-irc",
        group=TALKING,
        help="Import an IRC log, one user per nick.",
    )
    add(app, "clients.reading_commands:rooms", name="rooms", group=READING, help="List the rooms.")
    add(app, "clients.reading_commands:members", name="members", group=READING, help="List who is in a room.")
    add(
        app,
        "clients.reading_commands:history",
        name="history",
        group=READING,
        help="Show a page of a room's history.",
    )
    add(
        app, "clients.reading_commands:search", name="search", group=READING, help="Search the messages of all rooms."
    )
    add(
        app,
        "clients.reading_commands:tail",
        name="tail",
        group=READING,
        help="Show the last messages, and go on (-f).",
    )
    add(app, "clients.status_command:status", name="status", group=OPERATING, help="Show how each replica is doing.")
    add(app, "clients.bench_command:bench", name="bench", group=OPERATING, help="Measure a running group under load.")
    add(
        app,
        "clients.demo_command:demo",
        name="demo",
        group="First steps",
        help="See four replicas survive a liar and a crash.",
    )
