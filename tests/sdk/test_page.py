"""What the SDK's page says is so."""

from __future__ import annotations

import re
from inspect import getmembers, isfunction

import pytest

from clients.sdk import Chat
from tests.client.fake_replicas import World
from tests.sdk.page import PAGE, program
from tests.sdk.test_chat import chat_of


async def test_the_pages_program_does_what_it_says(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    page = program()
    async with chat_of(world) as chat:
        for part in ("set_up", "write", "read", "follow", "get_notices", "live_with_errors"):
            await getattr(page, part)(chat)
        said = [(message.body, message.reply_to, message.thread) for message in await chat.history("orchard")]
    assert said == [
        ("The apples are ripe. The pears are not.", None, None),
        ("Who picks them?", 0, "harvest"),
        ("When?\nSaturday\nSunday", None, None),
        ("Saturday it is.", None, None),
    ]
    printed = capsys.readouterr().out
    assert re.search(r"message 0, ordered at \d+, vouched for by \(\d, \d", printed)
    assert "(1, 0)" in printed
    assert "there is a room of this name already" in printed


def test_the_page_names_everything_that_a_program_may_call() -> None:
    named = set(re.findall(r"`(?:chat\.)?(\w+)[`(]", PAGE.read_text()))
    inner = {"read", "write", "done", "ask_to_keep"}
    callable_ = {name for name, _ in getmembers(Chat, isfunction) if not name.startswith("_")} - inner
    assert len(callable_) > 50
    assert callable_ - named == set()
