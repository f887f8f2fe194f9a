"""Searches over private rooms, whether one is in few of them or in many."""

from __future__ import annotations

import pytest

from chatsvc.application.answers import Found
from chatsvc.application.operations import Create, Post
from chatsvc.application.queries import SearchMessages
from chatsvc.application.results import Created, Posted
from chatsvc.application.schema import Role
from chatsvc.search_index import _OWN_ROOMS_NAMED_MAX
from crypto.signing import PublicKey
from tests.chatsvc.fakes import ALICE, BOB, CAROL, Service
from tests.chatsvc.scenes import DAVE, garden, put_room

STRANGER = PublicKey(b"S" * 32)


def bodies(service: Service, device: PublicKey, text: str) -> list[str]:
    answer = service.ask(SearchMessages(text=text), device)
    assert isinstance(answer, Found), answer
    return [message.body for message in answer.messages]


@pytest.mark.parametrize("rooms", [0, 1, _OWN_ROOMS_NAMED_MAX, _OWN_ROOMS_NAMED_MAX + 1])
def test_what_is_found_does_not_depend_on_how_many_rooms_one_is_in(rooms: int) -> None:
    service = garden()
    put_room(service, "hidden", {CAROL: Role.OWNER}, private=True)
    for number in range(rooms):
        assert isinstance(service.do(DAVE, Create(f"own{number:03}", "", private=True)), Created)
        assert isinstance(service.do(DAVE, Post(room=f"own{number:03}", body=f"red own {number}")), Posted)
    service.say(ALICE, "red in public")
    service.say(CAROL, "red and hidden", room="hidden")
    own = [f"red own {number}" for number in reversed(range(rooms))]
    assert bodies(service, DAVE, "red") == ["red in public", *own]
    assert bodies(service, DAVE, "red -in:garden") == own
    assert bodies(service, DAVE, "in:hidden") == []
    for device in (ALICE, BOB, STRANGER):
        assert bodies(service, device, "red") == ["red in public"]
    assert bodies(service, CAROL, "red") == ["red and hidden", "red in public"]
    assert bodies(service, STRANGER, "public") == ["red in public"], "a word like any other"
    assert bodies(service, STRANGER, "hidden") == []
