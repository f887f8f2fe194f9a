"""What a room holds in the end, against what people said in it and were told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from adversary.live.people import POST, Said
from chatsvc.application.answers import Message

Broken = tuple[str, str]
"""An invariant by its name, and how it broke."""


def what_is_wrong(said: Sequence[Said], room: str, messages: Sequence[Message]) -> list[Broken]:
    """`said`: everything that anybody said in whatever room, the room's strangers included.

    A message is known by its author and nonce. One whose outcome nobody knows may be there or not; if it is, it is as
    it was said, and behind everything that was accepted before it was asked for.
    """
    posts = {(each.author, each.nonce): each for each in said if each.what == POST and each.room == room}
    return [
        *_strange(posts, room, messages),
        *_missing(posts, room, messages),
        *_out_of_order(posts, room, messages),
    ]


Posts = dict[tuple[str, bytes], Said]


def _strange(posts: Posts, room: str, messages: Sequence[Message]) -> Iterator[Broken]:
    """What stands there and should not, or not so."""
    for (author, nonce), count in Counter((each.author, each.nonce) for each in messages).items():
        if count > 1:
            yield "exactly once", f"#{room} holds {nonce.hex()} of {author} {count} times"
    for message in messages:
        what = f"#{room} {message.index}, {message.body!r} by {message.author},"
        said = posts.get((message.author, message.nonce))
        if said is None:
            yield "replies", f"{what} was never said"
        elif said.body != message.body:
            yield "replies", f"{what} was said as {said.body!r}"
        elif said.is_refused:
            yield "replies", f"{what} had been refused: {said.refusal}"
        elif said.index is not None and said.index != message.index:
            yield "replies", f"{what} was promised place {said.index}"


def _missing(posts: Posts, room: str, messages: Sequence[Message]) -> Iterator[Broken]:
    there = {(each.author, each.nonce) for each in messages}
    for name, said in posts.items():
        if said.must_be_there and name not in there:
            yield "replies", f"{said.body!r} by {said.author} was accepted, and #{room} does not hold it"
    indices = [message.index for message in messages]
    if indices != list(range(len(indices))):
        yield "order", f"#{room} has gaps, or its messages are not in the order of their places"


def _out_of_order(posts: Posts, room: str, messages: Sequence[Message]) -> Iterator[Broken]:
    """Nothing stands before what had been accepted when it was asked for."""
    first: Said | None = None
    for message in reversed(messages):
        said = posts.get((message.author, message.nonce))
        if said is None:
            continue
        if first is not None and first.accepted_at is not None and first.accepted_at < said.asked_at:
            what = f"{said.body!r} by {said.author} stands before {first.body!r} by {first.author}"
            yield "order", f"#{room}: {what}, which had been accepted before it was asked for"
        if _accepted(said) < _accepted(first):
            first = said


def _accepted(said: Said | None) -> float:
    return math.inf if said is None or said.accepted_at is None else said.accepted_at
