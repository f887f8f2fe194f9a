"""Rooms and those who are in them from the command line."""

from __future__ import annotations

import pytest

from tests.clients.command_line import CommandLine


@pytest.fixture
def garden(quorate: CommandLine) -> CommandLine:
    for user in ("alice", "bob"):
        quorate.did(user, "register", user.capitalize(), "--no-recovery")
    quorate.did("alice", "create", "#Garden", "--topic", "plants", "--description", "All that grows.\nAnd weeds.")
    quorate.did("bob", "join", "garden")
    return quorate


def test_a_room_is_made_described_and_left(garden: CommandLine) -> None:
    garden.did("alice", "slow", "garden", "1m30s")
    garden.did("alice", "retention", "garden", "90d")
    garden.did("alice", "topic", "garden", "-- plants --")
    assert (
        "#garden  -- plants --  (by Alice, 2016-12-19 12:00; one message in 1m 30s; messages are kept for 90d)"
        in (garden.shown("bob", "rooms"))
    )
    shown = garden.shown("bob", "room", "garden")
    assert "you: member" in shown
    assert "\n  All that grows.\n  And weeds.\n" in shown
    garden.did("alice", "describe", "garden", "")
    assert garden.did("bob", "room", "#garden")["description"] == ""
    garden.did("alice", "archive", "garden")
    assert "archived" in garden.refused("bob", "send", "garden", "hello?")
    garden.did("alice", "archive", "garden", "--undo")
    garden.did("bob", "leave", "garden")
    assert [member["name"] for member in garden.run("bob", "members", "garden").records] == ["Alice"]
    assert "no span of time" in garden.refused("alice", "slow", "garden", "5 parsecs")


def test_private_rooms_are_joined_by_invitation_or_link(garden: CommandLine) -> None:
    garden.did("alice", "create", "plans", "--private")
    assert [room["room"] for room in garden.run("bob", "rooms").records] == ["garden"]
    garden.refused("bob", "join", "plans")
    garden.did("alice", "invite", "plans", "bob")
    assert garden.run("bob", "invitations").record["by"] == "Alice"
    garden.did("bob", "uninvite", "plans")
    garden.refused("bob", "join", "plans")
    code = garden.did("alice", "link", "new", "plans", "--uses", 3, "--valid", "2d")["code"]
    assert "mistyped" in garden.refused("bob", "join", "-", stdin="0000-0000-0000-0000-0\n")
    assert garden.did("bob", "join", "-", stdin=f"{code}\n")["room"] == "plans"
    garden.did("bob", "leave", "plans")
    seen = garden.run("bob", "join", code)
    assert (seen.record["room"], "quorate join -" in seen.err) == ("plans", True)
    link = garden.run("alice", "link", "list", "plans").record
    assert (link["uses_left"], link["by"]) == (1, "Alice")
    assert garden.did("alice", "link", "drop", "plans", code)["link"] == link["link"]
    assert garden.run("alice", "link", "list", "plans").records == []


def test_members_are_muted_kicked_banned_and_promoted(garden: CommandLine) -> None:
    assert garden.did("alice", "mute", "garden", "bob", "30m")["until_ms"] > 0
    assert "reads only until 2016-12-19 12:3" in garden.shown("alice", "members", "garden")
    error = garden.refused("bob", "send", "garden", "let me speak")
    assert "from 2016-12-19 12:3" in error
    assert error.endswith("on it can be tried again\n")
    garden.did("alice", "unmute", "garden", "bob")
    garden.did("bob", "send", "garden", "thanks")
    garden.did("alice", "kick", "garden", "bob", "--reason", "a test")
    garden.did("bob", "join", "garden")
    garden.did("alice", "ban", "garden", "bob", "--reason", "spam")
    garden.refused("bob", "join", "garden")
    assert garden.run("alice", "bans", "garden").record["reason"] == "spam"
    garden.did("alice", "unban", "garden", "bob")
    garden.did("bob", "join", "garden")
    garden.did("alice", "role", "garden", "bob", "moderator")
    assert "Bob  (moderator, since" in garden.shown("alice", "members", "garden")
    garden.did("bob", "topic", "garden", "mine now")


def test_a_direct_conversation_is_called_by_the_others_names(garden: CommandLine) -> None:
    garden.did("carol", "register", "Carol", "--no-recovery")
    first = garden.did("alice", "dm", "bob", "-m", "lunch?")
    assert garden.did("bob", "send", "@alice", "yes")["room"] == first["room"]
    assert [message["body"] for message in garden.run("alice", "history", "@BOB").records] == ["lunch?", "yes"]
    garden.did("alice", "dm", "bob", "carol")
    assert garden.did("carol", "send", "@alice,bob", "both of you")["room"] != first["room"]
    assert "quorate dm carol" in garden.refused("alice", "history", "@carol")
    assert "@Alice,Bob" in garden.shown("carol", "unread", "--all")
