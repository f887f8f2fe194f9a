"""What is typed: commands and their arguments, completion, history of lines, and the tables of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatsvc.application.answers import Unread
from chatsvc.application.names import RoomName
from chatsvc.application.schema import MessageIndex
from clients.terminal import commands, keys
from clients.terminal.arguments import (
    BadCommand,
    Typed,
    only_index,
    poll_parts,
    reaction_of,
    said,
    split_command,
    take_index,
    take_number,
    take_word,
)
from clients.terminal.completion import Cycle, InputHistory, complete
from clients.terminal.emoji import EMOJI, with_emoji
from clients.terminal.model import Model
from tests.terminal.saying import Garden

NAMES = [command.name for command in commands.COMMANDS]


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("hello", None),
        ("//usr is a directory", None),
        ("/join #garden", Typed("join", "#garden")),
        ("/JOIN   garden ", Typed("join", "garden")),
        ("/quit", Typed("quit", "")),
        ("/", Typed("", "")),
    ],
)
def test_a_line_is_a_command_or_is_said(line: str, typed: Typed | None) -> None:
    assert split_command(line) == typed


def test_two_slashes_say_one() -> None:
    assert said("//usr") == "/usr"
    assert said("hello") == "hello"


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("#12 yes", (12, "yes")),
        ("#12", (12, "")),
        ("12 apples", (None, "12 apples")),
        ("#12th of May", (None, "#12th of May")),
        ("", (None, "")),
        (f"#{'9' * 30} x", (None, f"#{'9' * 30} x")),
    ],
)
def test_a_message_is_named_by_its_number(rest: str, found: tuple[int | None, str]) -> None:
    assert take_index(rest) == found


@pytest.mark.parametrize(
    ("rest", "found"),
    [
        ("0 :+1:", (0, ":+1:")),
        ("#0 :+1:", (0, ":+1:")),
        (":+1:", (None, ":+1:")),
        ("2", (None, "2")),
        ("7 2", (7, "2")),
        ("#7", (7, "")),
        ("12th of May", (None, "12th of May")),
        ("", (None, "")),
    ],
)
def test_where_more_must_follow_a_number_needs_no_sign(rest: str, found: tuple[int | None, str]) -> None:
    assert take_number(rest) == found


@pytest.mark.parametrize(
    ("rest", "question", "options"),
    [
        ("pizza | burgers", "pizza | burgers?", ("pizza", "burgers")),
        ("pizza | burgers?", "pizza | burgers?", ("pizza", "burgers")),
        ("What to eat? | pizza | burgers", "What to eat?", ("pizza", "burgers")),
        ("Lunch | pizza | burgers", "Lunch", ("pizza", "burgers")),
    ],
)
def test_a_poll_of_two_parts_asks_which(rest: str, question: str, options: tuple[str, ...]) -> None:
    assert poll_parts(rest) == (question, options)


@pytest.mark.parametrize(
    ("word", "reaction"), [(":+1:", "👍"), ("+1", "👍"), ("🦄", "🦄"), ("lol", "lol"), ("rocket", "🚀")]
)
def test_reactions_are_emoji_or_what_somebody_else_gave(word: str, reaction: str) -> None:
    assert reaction_of(word, ["lol"]) == reaction


def test_arguments() -> None:
    assert [only_index(rest) for rest in ("", "7", "#7")] == [None, 7, 7]
    assert take_word("Bob for spam", "whom") == ("Bob", "for spam")
    assert poll_parts("Tea? | yes | no ") == ("Tea?", ("yes", "no"))


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (only_index, "seven", "is no message"),
        (lambda rest: take_word(rest, "whom"), "", "say whom"),
        (poll_parts, "Tea? | yes", "/poll question"),
        (poll_parts, " | yes | no", "/poll question"),
        (poll_parts, "pizza", "/poll question"),
        (poll_parts, "pizza | ", "/poll question"),
        (lambda word: reaction_of(word, []), "0", "is no emoji"),
        (lambda word: reaction_of(word, []), ":nothing:", "is no emoji"),
        (commands.find, "dance", "there is no command /dance"),
        (commands.find, "", "there is no command"),
        (commands.find, "p", "/part or /pin"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_to_type(parse: object, text: str, says: str) -> None:
    with pytest.raises(BadCommand, match=says):
        parse(text)  # type: ignore[operator]


@pytest.mark.parametrize(("typed", "name"), [("join", "join"), ("dm", "msg"), ("se", "search"), ("exit", "quit")])
def test_commands_have_other_names_and_beginnings(typed: str, name: str) -> None:
    assert commands.find(typed).name == name


def test_the_tables_say_everything_once() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(command.help.endswith(".") for command in commands.COMMANDS)
    bound = [name for key in keys.KEYS for name in key.names]
    assert len(set(bound)) == len(bound)
    assert all(len(name) > 1 for name in bound), "a letter is typed, it does nothing else"


def test_every_key_and_command_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text().replace("\\|", "|")
    for key in keys.KEYS:
        assert f"| {key.shown} | {key.help} |" in page
    for command in commands.COMMANDS:
        assert f"| `{f'/{command.name} {command.usage}'.strip()}` | {command.help} |" in page


# -- completion


def garden_model() -> Model:
    model, garden = Model(me="Alice"), Garden()
    model.update_rooms(
        Unread(
            room=RoomName(name),
            topic="",
            direct=name.startswith("@"),
            with_=(),
            read=MessageIndex(0),
            message_count=0,
            mentions=0,
        )
        for name in ("garden", "gallery", "@abc")
    )
    model.enter("garden")
    for actor in ("Bob", "bert", "Alice"):
        model.apply("garden", garden.says("hello", actor=actor))
    model.rooms["garden"].members = ["Alice", "Bob", "Berta"]
    return model


@pytest.mark.parametrize(
    ("text", "offers"),
    [
        ("/jo", ("/join ",)),
        ("/p", ("/part ", "/pin ", "/pins ", "/poll ")),
        ("join #ga", ("#gallery ", "#garden ")),
        ("b", ("bert: ", "Bob: ", "Berta: ")),
        ("hello b", ("bert ", "Bob ", "Berta ")),
        ("hello @BO", ("@Bob ",)),
        ("al", ()),
        (":rock", (EMOJI["rocket"],)),
        (":", ()),
        ("hello ", ()),
        ("say /jo", ()),
        ("one\nBo", ("Bob ",)),
    ],
)
def test_tab_offers(text: str, offers: tuple[str, ...]) -> None:
    assert complete(text, len(text), garden_model(), NAMES).offers == offers


def test_tab_again_gives_the_next_offer_and_typing_begins_anew() -> None:
    cycle, model = Cycle(), garden_model()
    text, cursor = "b and more", 1
    found = []
    for _ in range(4):
        text, cursor = cycle.press(text, cursor, model, NAMES)
        found.append(text)
    assert found == ["bert:  and more", "Bob:  and more", "Berta:  and more", "bert:  and more"]
    assert cycle.press("/qu", 3, model, NAMES) == ("/quit ", 6)
    assert cycle.press("xyz", 3, model, NAMES) == ("xyz", 3)


def test_lines_that_were_sent_come_back_and_the_draft_too() -> None:
    history = InputHistory()
    assert history.up("draft") == "draft"
    for line in ("one", "two", "two"):
        history.add(line)
    assert [history.up("draft"), history.up("two"), history.up("one")] == ["two", "one", "one"]
    assert [history.down("one"), history.down("two"), history.down("draft")] == ["two", "draft", "draft"]


def test_named_emoji_are_replaced_and_others_left() -> None:
    assert with_emoji("go :rocket: 12:30:45 :nothing:") == f"go {EMOJI['rocket']} 12:30:45 :nothing:"
