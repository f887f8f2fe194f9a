"""Nothing that can be asked for is left without an answer."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from chatsvc.application import chat, reading
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import Operation, Read
from chatsvc.application.queries import Query
from chatsvc.application.results import Result
from chatsvc.application.rules import accounts, links, members, messages, polls, rooms

OPERATIONS: tuple[Any, ...] = get_args(Operation)
QUERIES: tuple[Any, ...] = get_args(Query)


def test_every_operation_has_a_rule() -> None:
    assert set(chat._RULES) == set(OPERATIONS) - {Read}


def test_no_operation_has_two_rules() -> None:
    modules = (accounts, rooms, members, links, messages, polls)
    assert sum(len(module.RULES) for module in modules) == len(chat._RULES)


def test_every_query_has_an_answer() -> None:
    assert set(reading._ANSWERING) == set(QUERIES)


@pytest.mark.parametrize("kinds", [OPERATIONS, QUERIES, get_args(Result)])
def test_what_travels_is_told_apart_by_its_tag(kinds: tuple[Any, ...]) -> None:
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(set(tags)) == len(tags)
    assert all(type(tag) is str and tag for tag in tags)


@pytest.mark.parametrize(
    ("name", "most"), [("reactions_per_message", 50), ("edits_per_message", 60), ("members_per_direct", 8)]
)
def test_limits_are_no_higher_than_answers_allow(name: str, most: int) -> None:
    assert getattr(ChatLimits.from_mapping({name: most}), name) == most
    with pytest.raises(ValueError, match=f"^{name} is a whole number from 1 to {most}, not {most + 1}$"):
        ChatLimits.from_mapping({name: most + 1})
