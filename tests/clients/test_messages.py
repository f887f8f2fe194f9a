"""Saying, changing and reading messages from the command line."""

from __future__ import annotations

import pytest

from tests.clients.command_line import CommandLine


@pytest.fixture
def garden(quorate: CommandLine) -> CommandLine:
    for user in ("alice", "bob"):
        quorate.did(user, "register", user.capitalize(), "--no-recovery")
    quorate.did("alice", "create", "garden")
    quorate.did("bob", "join", "garden")
    for number in range(6):
        quorate.did("alice", "send", "garden", f"message {number}")
    return quorate


def indices(line: CommandLine, *arguments: object) -> list[int]:
    said = line.run("bob", *arguments)
    assert said.code == 0, said.err
    return [record["index"] for record in said.records]


def test_a_message_is_edited_reacted_to_pinned_and_deleted(garden: CommandLine) -> None:
    garden.did("alice", "edit", "garden", 1, "message one")
    garden.did("bob", "react", "garden", 1, "👍")
    garden.did("alice", "react", "garden", 1, "👍")
    garden.did("alice", "pin", "garden", 1)
    shown = garden.shown("bob", "show", "garden", 1)
    assert "#garden 1 <Alice> message one (edited) (pinned) [👍 2]\n" in shown
    assert "until then, from 2016-12-19 12:00:" in shown
    assert "message 1\n" in shown
    assert "👍 by Bob" in shown
    record = garden.did("bob", "show", "garden", 1)
    assert [version["body"] for version in record["versions"]] == ["message 1", "message one"]
    assert [pin["index"] for pin in garden.run("bob", "pins", "garden").records] == [1]
    garden.did("alice", "react", "garden", 1, "👍", "--off")
    garden.did("alice", "pin", "garden", 1, "--off")
    record = garden.did("bob", "show", "garden", 1)
    assert (record["reactions"], record["pinned"]) == ({"👍": 1}, False)
    garden.refused("bob", "delete", "garden", 1)
    garden.did("alice", "delete", "garden", 1)
    assert "<Alice> (deleted by Alice)" in garden.shown("bob", "history", "garden", "--around", 1, "--limit", 1)


def test_history_is_read_around_a_message_and_from_a_moment_on(garden: CommandLine) -> None:
    assert indices(garden, "history", "garden", "--around", 3, "--limit", 3) == [2, 3, 4]
    assert indices(garden, "history", "garden", "--after", 3) == [4, 5]
    assert indices(garden, "history", "garden", "--before", 2) == [0, 1]
    times = [record["time_ms"] for record in garden.run("bob", "history", "garden").records]
    assert indices(garden, "history", "garden", "--at", f"2016-12-19 12:00:{(times[4] // 1000) % 60:02}") == [4, 5]
    assert indices(garden, "history", "garden", "--at", "1h") == [0, 1, 2, 3, 4, 5]
    assert indices(garden, "history", "garden", "--at", "2030-01-01") == []
    assert "give one of them" in garden.refused("bob", "history", "garden", "--at", "1h", "--after", 3)
    assert "is no moment" in garden.refused("bob", "history", "garden", "--at", "lately")


def test_threads_and_replies(garden: CommandLine) -> None:
    garden.did("bob", "send", "garden", "@alice how deep?", "--thread", "Planting bulbs")
    garden.did("alice", "send", "garden", "twice their height", "--reply-to", 6)
    assert [thread["count"] for thread in garden.run("bob", "thread", "garden").records] == [2]
    assert indices(garden, "thread", "garden", "planting BULBS") == [6, 7]
    page = garden.run("bob", "thread", "garden", "planting bulbs", "--limit", 1)
    assert "--before 1" in page.err
    assert "[Planting bulbs] [to 6] twice" in garden.shown("bob", "tail", "garden", "-n", 1)
    assert garden.run("alice", "mentions").record["kind"] == "mention"
    assert "Alice replied to you in #garden 7\n" in garden.shown("bob", "notices")


def test_what_is_unread_is_told_until_it_is_read(garden: CommandLine) -> None:
    garden.did("alice", "send", "garden", "@bob look")
    record = garden.run("bob", "unread").record
    assert (record["unread"], record["mentions"]) == (7, 1)
    assert "#garden  7 unread, you are mentioned, from 0 on\n" in garden.shown("bob", "unread")
    garden.did("bob", "read", "garden", 2)
    assert garden.run("bob", "unread").record["unread"] == 4
    garden.did("bob", "read", "garden")
    assert garden.run("bob", "unread").records == []


def test_a_poll_is_opened_voted_in_and_closed(garden: CommandLine) -> None:
    index = garden.did("alice", "poll", "garden", "Which editor?", "vim", "emacs", "ed")["index"]
    garden.did("bob", "vote", "garden", index, 2)
    garden.did("alice", "vote", "garden", index, "emacs")
    record = garden.did("bob", "poll-show", "garden", index)
    assert [option["votes"] for option in record["options"]] == [0, 2, 0]
    assert record["mine"] == 2
    garden.did("bob", "vote", "garden", index, "none")
    assert "there are 1 to 3" in garden.refused("bob", "vote", "garden", index, 4)
    garden.did("alice", "poll-close", "garden", index)
    assert garden.shown("alice", "poll-show", "garden", index) == (
        "Which editor? (closed)\n   1. vim  0\n * 2. emacs  1\n   3. ed  0\n"
    )
    assert "<Alice> poll: Which editor?\n    1. vim\n    2. emacs\n    3. ed\n" in (
        garden.shown("bob", "tail", "garden", "-n", 1)
    )


def test_a_search_shows_what_stands_around_and_where_to_go_on(garden: CommandLine) -> None:
    said = garden.run("bob", "search", '"message 3"', "-C", 1)
    assert [(record["index"], record["match"]) for record in said.records] == [(2, False), (3, True), (4, False)]
    page = garden.run("bob", "search", "message", "in:garden", "--limit", 2)
    assert [record["index"] for record in page.records] == [5, 4]
    serial = page.err.split("--before ")[1].strip()
    assert indices(garden, "search", "message", "--limit", 2, "--before", serial) == [3, 2]


def test_every_line_of_stdin_is_said(garden: CommandLine) -> None:
    said = garden.run("bob", "send", "garden", "-", stdin="one\n\n-- two\n")
    assert [record["index"] for record in said.records] == [6, 7]
    assert "#garden 7 <Bob> -- two\n" in garden.shown("bob", "tail", "garden", "-n", 1)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("edit", "garden", -1, "x"), "INDEX"),
        (("edit", "garden", 2**63, "x"), "INDEX"),
        (("send", "garden", "x", "--reply-to", -1), "--reply-to"),
        (("history", "garden", "--limit", 0), "--limit"),
        (("thread", "garden", "bulbs", "--limit", 201), "200"),
        (("link", "new", "garden", "--uses", 0), "--uses"),
    ],
)
def test_numbers_that_no_group_has_are_refused_before_anything_is_sent(
    quorate: CommandLine, arguments: tuple[object, ...], word: str
) -> None:
    said = quorate.run("alice", *arguments)
    assert (said.code, said.out) == (2, "")
    assert word in said.err
    assert all(replica.dials == 0 for replica in quorate.world.replicas)
