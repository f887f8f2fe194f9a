"""Whom a message names, and who is told of it."""

from __future__ import annotations

import pytest

from chatsvc.application.events import NoticeKind, notices_topic
from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import AccountKey
from chatsvc.application.operations import Post, Register, encode_operation
from chatsvc.application.schema import Role
from crypto.signing import PublicKey
from tests.chatsvc.fakes import ALICE, BOB, CAROL
from tests.chatsvc.scenes import garden, message, notices, put_room
from tests.chatsvc.test_messages import post, with_message


@pytest.mark.parametrize(
    ("body", "mentions"),
    [
        ("hi @Bob", ["Bob"]),
        ("@bob, @ALICE: look", ["Bob", "Alice"]),
        ("(@bob) and @bob's @Alice...", ["Bob", "Alice"]),
        ("@bob@alice", ["Bob"]),
        ("mail bob@alice.example or x@bob", []),
        ("@nobody @ @@ @!", []),
        ("@\uff42ob", ["Bob"]),
        ("@Dave who is in no room", ["Dave"]),
        ("@o.k. @o.k", ["o.k."]),
        ("@Carol me", ["Carol"]),
        ("@" * 4096, []),
        ("@bobx @" + "b" * 100, []),
        ("\n@alice\t@bob\n", ["Alice", "Bob"]),
    ],
)
def test_mentions(body: str, mentions: list[str]) -> None:
    service = garden()
    service.do(PublicKey(b"O" * 32), Register("o.k."))
    service.say(CAROL, body)
    assert message(service, 0).mentions == mentions


def test_in_a_private_room_only_members_are_named() -> None:
    service = garden(private=True)
    service.say(CAROL, "@bob @dave")
    assert message(service, 0).mentions == ["Bob"]
    assert notices(service, "dave") == []


def test_so_many_are_named_and_so_many_names_looked_for() -> None:
    service = garden(ChatLimits(mentions_per_message=2))
    service.say(CAROL, "@alice @bob @dave")
    assert message(service, 0).mentions == ["Alice", "Bob"]
    service.say(CAROL, "@x " * 70 + "@alice")
    assert message(service, 1).mentions == []


def test_who_is_concerned_is_told_once_and_nobody_of_itself() -> None:
    service = with_message()
    outcome = service.execute(BOB, encode_operation(post("@carol @alice @bob, yes", reply_to=0)))
    assert outcome.topics == (b"garden", notices_topic(AccountKey("carol")), notices_topic(AccountKey("alice")))
    service.do(BOB, post("indeed", reply_to=0))
    service.do(CAROL, post("to myself", reply_to=0))
    assert notices(service, "carol") == [
        (NoticeKind.MENTION, "garden", 1, "Bob"),
        (NoticeKind.REPLY, "garden", 2, "Bob"),
    ]
    assert notices(service, "alice") == [(NoticeKind.MENTION, "garden", 1, "Bob")]
    assert notices(service, "bob") == []


def test_an_author_who_cannot_read_the_room_any_more_is_not_told_of_a_reply() -> None:
    service = with_message()
    put_room(service, "garden", {BOB: Role.OWNER}, private=True, message_count=1)
    service.rows.delete("members", ("garden", "carol"))
    service.commit()
    service.do(BOB, post("too late", reply_to=0))
    assert notices(service, "carol") == []


@pytest.mark.parametrize("in_one_batch", [False, True])
def test_in_a_direct_conversation_the_others_are_told(in_one_batch: bool) -> None:
    service = garden()
    name = "@" + "0" * 20
    if in_one_batch:
        commit, service.commit = service.commit, lambda: None  # type: ignore[method-assign]
    put_room(service, name, dict.fromkeys((ALICE, BOB, CAROL), Role.MEMBER), private=True, direct=True)
    service.do(ALICE, Post(room=name, body="hello @bob"))
    if in_one_batch:
        commit()
    assert notices(service, "alice") == []
    assert notices(service, "bob") == [(NoticeKind.MENTION, name, 0, "Alice")]
    assert notices(service, "carol") == [(NoticeKind.DIRECT, name, 0, "Alice")]
