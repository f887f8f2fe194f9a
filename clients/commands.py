"""The commands of those who use a group. Imported for every command: nothing heavy at the top.

After a change run `python -m clients.manual`: it writes what `quorate --help` shows, and the manual.
"""

from __future__ import annotations

from collections.abc import Callable

from cyclopts import App, Group

FIRST_STEPS = Group("First steps", sort_key=1)
YOU = Group("You", sort_key=2)
ROOMS = Group("Rooms", sort_key=3)
TALKING = Group("Talking", sort_key=4)
READING = Group("Reading", sort_key=5)
MODERATING = Group("Moderating a room", sort_key=6)
PROVING = Group("Proving it to others", sort_key=7)
OPERATING = "Running a group"

COMMANDS = (
    (FIRST_STEPS, "demo", "demo_command:demo", "See four replicas survive a liar and a crash."),
    (FIRST_STEPS, "completion", "completion_command:completion", "Print what makes your shell complete commands."),
    (YOU, "register", "account_commands:register", "Give your key a name."),
    (YOU, "whoami", "account_commands:whoami", "Show the name of your key in this group."),
    (YOU, "whois", "account_commands:whois", "Show somebody's account."),
    (YOU, "profile", "account_commands:profile", "Show your profile, or say how you are called."),
    (YOU, "recover", "account_commands:recover", "Get an account back with its recovery code."),
    (YOU, "limits", "account_commands:limits", "Show what the group allows, and what is left of it."),
    (ROOMS, "rooms", "room_commands:rooms", "List the rooms."),
    (ROOMS, "room", "room_commands:room", "Show what a room is about."),
    (ROOMS, "create", "room_commands:create", "Make a room, public or private."),
    (ROOMS, "dm", "room_commands:dm", "Open the conversation with one or several people."),
    (ROOMS, "join", "room_commands:join", "Join a room, by its name or the code of a link."),
    (ROOMS, "leave", "room_commands:leave", "Leave a room."),
    (ROOMS, "members", "member_commands:members", "List who is in a room."),
    (ROOMS, "invite", "member_commands:invite", "Let somebody join a room."),
    (ROOMS, "uninvite", "member_commands:uninvite", "Take an invitation back, or decline one's own."),
    (ROOMS, "invitations", "member_commands:invitations", "List the rooms that you were invited to."),
    (TALKING, "chat", "terminal.command:chat", "Chat on the whole screen."),
    (TALKING, "send", "chat_commands:send", "Say something in a room."),
    (TALKING, "edit", "chat_commands:edit", "Replace what your message says."),
    (TALKING, "delete", "chat_commands:delete", "Take away what a message says."),
    (TALKING, "react", "chat_commands:react", "React to a message, with an emoji or a word."),
    (TALKING, "pin", "chat_commands:pin", "Pin a message to its room."),
    (TALKING, "poll", "poll_commands:poll", "Ask a room a question with options."),
    (TALKING, "poll-show", "poll_commands:poll_show", "Show how a poll stands."),
    (TALKING, "vote", "poll_commands:vote", "Choose an option of a poll."),
    (TALKING, "poll-close", "poll_commands:poll_close", "End a poll."),
    (TALKING, "import-irc", "import_command:import_irc", "Import an IRC log, one user per nick."),
    (TALKING, "import-slack", "slack_command:import_slack", "Import a Slack export, one user per person."),
    (TALKING, "outbox", "outbox_command:outbox", "Show or deliver what was queued with send --queue."),
    (READING, "unread", "following_commands:unread", "List where there is something new."),
    (READING, "read", "following_commands:read", "Mark messages as read, on all your devices."),
    (READING, "mentions", "following_commands:mentions", "Show who mentioned you or replied to you (-f)."),
    (READING, "notices", "following_commands:notices", "Show all that you were told (-f)."),
    (READING, "history", "reading_commands:history", "Show a page of a room's history."),
    (READING, "thread", "reading_commands:thread", "Show a thread, or list a room's threads."),
    (READING, "search", "reading_commands:search", "Search the messages of all rooms."),
    (READING, "show", "reading_commands:show", "Show a message, its versions and reactions."),
    (READING, "pins", "reading_commands:pins", "Show what is pinned to a room."),
    (READING, "tail", "following_commands:tail", "Show the last messages, and go on (-f)."),
    (MODERATING, "topic", "room_commands:topic", "Say what a room is about."),
    (MODERATING, "describe", "room_commands:describe", "Say what a room is for."),
    (MODERATING, "slow", "room_commands:slow", "Make members wait between two messages."),
    (MODERATING, "retention", "room_commands:retention", "Forget a room's messages after a while."),
    (MODERATING, "archive", "room_commands:archive", "Close a room for all but reading."),
    (MODERATING, "kick", "member_commands:kick", "Put somebody out of a room."),
    (MODERATING, "ban", "member_commands:ban", "Put somebody out, and do not let them in again."),
    (MODERATING, "unban", "member_commands:unban", "Let somebody in again."),
    (MODERATING, "bans", "member_commands:bans", "List who is banned."),
    (MODERATING, "mute", "member_commands:mute", "Let somebody only read for a while."),
    (MODERATING, "unmute", "member_commands:unmute", "Let somebody speak again."),
    (MODERATING, "role", "member_commands:role", "Make somebody owner, moderator or member."),
    (PROVING, "receipt", "transcripts.commands:receipt", "Make a receipt of a message, for anybody to verify."),
    (PROVING, "export", "transcripts.commands:export", "Write a room to a file, with what proves it."),
    (PROVING, "verify", "transcripts.commands:verify", "Verify a receipt or an exported room, offline."),
    (OPERATING, "status", "status_command:status", "Show how each replica is doing."),
    (OPERATING, "bench", "bench_command:bench", "Measure a running group under load."),
)
"""Group, name, where it is in this package, and its line in listings."""

SUBCOMMANDS = (
    (
        YOU,
        "identity",
        "Make, show and copy the key that signs for you.",
        (
            ("new", "identity_commands:new", "Make a new identity: a key in a file of yours."),
            ("show", "identity_commands:show", "Show your identity's file and public key."),
            ("export", "identity_commands:export", "Write a copy of your key, with a passphrase."),
            ("import", "identity_commands:import_file", "Make an identity file of such a copy."),
            ("passphrase", "identity_commands:passphrase", "Protect your identity with a new passphrase."),
        ),
    ),
    (
        YOU,
        "device",
        "Use an account from several machines.",
        (
            ("invite", "device_commands:invite", "Show a code that adds another device."),
            ("add", "device_commands:add", "Make this key a device, with such a code."),
            ("list", "device_commands:list_devices", "List your devices."),
            ("revoke", "device_commands:revoke", "Refuse a device of yours from now on."),
            ("rotate", "device_commands:rotate", "Put a new key in the place of this device's."),
        ),
    ),
    (
        YOU,
        "recovery",
        "Make or drop the code that brings a lost account back.",
        (
            ("new", "account_commands:recovery_new", "Make a new recovery code."),
            ("drop", "account_commands:recovery_drop", "Have no recovery code any more."),
        ),
    ),
    (
        ROOMS,
        "link",
        "Let people join a room with a code.",
        (
            ("new", "member_commands:link_new", "Make a code with which one can join a room."),
            ("list", "member_commands:link_list", "List a room's links."),
            ("drop", "member_commands:link_drop", "Make a link worth nothing."),
        ),
    ),
)
"""Group, name and help of commands with commands of their own: name, place, line."""


def add_commands(app: App, add: Callable[..., None]) -> None:
    """`add(app, path, name=, help=, group=)` registers a command by import path."""
    for group, name, place, line in COMMANDS:
        add(app, f"clients.{place}", name=name, group=group, help=line)
    for group, name, line, commands in SUBCOMMANDS:
        below = App(name=name, help=line, group=group)
        for below_name, place, below_line in commands:
            add(below, f"clients.{place}", name=below_name, help=below_line)
        app.command(below)
