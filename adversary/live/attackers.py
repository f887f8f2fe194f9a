"""Attackers that are no replica, in a process of their own: they have what anybody has, the group file.

python -m adversary.live.attackers DIR NAME... [--seed N]

Says `begun` on a line of its own, once each has done what it is there for. Attacks until its standard input ends, and
says then, as one JSON object, what it has done.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import trio

from adversary.live.bombs import BOMBS
from adversary.live.wire import CLOSED, connected, dial, knock
from chatsvc.application.operations import Create, Join, Operation, Post, Register, encode_operation
from chatsvc.application.queries import ReadHistory, SearchMessages, encode_query
from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file
from crypto.signing import Ed25519Signer, SecretSeed
from pbft.core.errors import ProtocolViolation
from pbft.core.frames import sign_request, wire_of
from pbft.core.messages import Query, Request
from pbft.core.types import ClientSequence, SequenceNumber, SessionNumber

BEGUN: Final = "begun"
NICENESS = 19
"""An attacker has machines of its own: here it should not take the group's CPU by computing."""
PAUSE_SECONDS = 0.05
FLOOD_DEVICES = 2
FIRST_SESSION = 1
FLOOD_BUNDLE = 64
FLOOD_WINDOW_DIVISOR = 4
"""A bundle is at most this part of what a session may have under way: what is beyond that is refused as it stands."""
FLOOD_ROOM = "flood"
FIRST_WORDS: Final[tuple[Operation, ...]] = (Create(FLOOD_ROOM, ""), Join(FLOOD_ROOM))
"""What somebody says after registering."""
Place = tuple[int, int]
"""A session, and a client sequence in it."""
SLOW_CONNECTIONS = 40
SLOW_BYTE_SECONDS = 0.2
SLOW_FRAME_BYTES = 1_000_000
LITTER_BYTES = 4096


class Attackers:
    """What they share: the group they attack, dice, and a tally."""

    def __init__(self, file: GroupFile, seed: int) -> None:
        self.file = file
        self.random = Random(seed)  # noqa: S311 - to be repeated, not to be secret
        self.done: Counter[str] = Counter()

    def signer(self) -> Ed25519Signer:
        return Ed25519Signer(SecretSeed(self.random.randbytes(32)))

    def request(
        self, signer: Ed25519Signer, number: int, *operations: Operation | bytes, session: int = FIRST_SESSION
    ) -> bytes:
        """A signed request: operations from `number` on in one of the device's sessions."""
        encoded = tuple(each if isinstance(each, bytes) else encode_operation(each) for each in operations)
        request = Request(
            session=SessionNumber(session),
            first_client_sequence=ClientSequence(number),
            ack_below=ClientSequence(number),
            operations=encoded,
        )
        return sign_request(self.file.group, signer, request).wire

    async def again(self, name: str, once: Callable[[], Awaitable[None]]) -> None:
        """For ever: whoever is thrown out comes back."""
        while True:
            try:
                await once()
            except (*CLOSED, ProtocolViolation):
                self.done[f"{name}_thrown_out"] += 1
            self.done[f"{name}_rounds"] += 1
            await trio.sleep(PAUSE_SECONDS)


# -- floods ------------------------------------------------------------------------------------------------------


async def flood(all_: Attackers) -> None:
    """Signed messages of registered people, far more than fit; of strangers; forged ones; and questions."""
    async with trio.open_nursery() as nursery:
        for each in (babblers, strangers, forgers, askers):
            nursery.start_soon(each, all_)


async def babblers(all_: Attackers) -> None:
    """In one session each: what is beyond its window is refused for what it is."""
    async with trio.open_nursery() as nursery:
        for number in range(FLOOD_DEVICES):
            nursery.start_soon(_babble, all_, all_.signer(), f"babbler{number}", "flood_operations", _places)


async def renewers(all_: Attackers) -> None:
    """In a new session whenever the window of one is full, so that there must be room for all that they say."""
    async with trio.open_nursery() as nursery:
        for number in range(FLOOD_DEVICES):
            nursery.start_soon(_babble, all_, all_.signer(), f"renewer{number}", "renewed_operations", _new_places)


def _places(_window: int, bundle: int) -> Iterator[Place]:
    return ((FIRST_SESSION, start) for start in itertools.count(1 + len(FIRST_WORDS), bundle))


def _new_places(window: int, bundle: int) -> Iterator[Place]:
    sessions = itertools.count(FIRST_SESSION + 1)
    return ((session, start) for session in sessions for start in range(0, window - bundle + 1, bundle))


async def strangers(all_: Attackers) -> None:
    await _at_each(all_, _strangers)


async def forgers(all_: Attackers) -> None:
    await _at_each(all_, _forgers)


async def askers(all_: Attackers) -> None:
    await _at_each(all_, _askers)


async def _at_each(all_: Attackers, attack: Callable[[Attackers, int], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        for replica in all_.file.group.replicas:
            nursery.start_soon(attack, all_, replica)


async def _babble(
    all_: Attackers, signer: Ed25519Signer, name: str, deed: str, places: Callable[[int, int], Iterator[Place]]
) -> None:
    """Says everything that it can say, to everybody, and waits for no answer.

    `places`: where each bundle stands, for a window and the size of a bundle.
    """
    window = all_.file.group.parameters.client_window
    bundle = min(FLOOD_BUNDLE, max(1, window // FLOOD_WINDOW_DIVISOR))

    async def to(replica: int) -> None:
        async with await connected(all_.file, replica, signer) as wire, trio.open_nursery() as nursery:
            nursery.start_soon(wire.swallow)
            await wire.send(all_.request(signer, 0, Register(name), *FIRST_WORDS))
            for session, start in places(window, bundle):
                # In step, so that all replicas hear the same requests: a pool that is full of different ones would
                # hold back more than it admits.
                posts = [Post(room=FLOOD_ROOM, body=f"{name} {session} {start + each}") for each in range(bundle)]
                await wire.send(all_.request(signer, start, *posts, session=session))
                all_.done[deed] += bundle

    async with trio.open_nursery() as nursery:
        for replica in all_.file.group.replicas:
            nursery.start_soon(all_.again, "babble", lambda replica=replica: to(replica))


async def _strangers(all_: Attackers, replica: int) -> None:
    """Devices without an account; each is another one."""

    async def once() -> None:
        signer = all_.signer()
        async with await connected(all_.file, replica, signer) as wire, trio.open_nursery() as nursery:
            nursery.start_soon(wire.swallow)
            for number in range(200):
                await wire.send(all_.request(signer, number, Post(room=FLOOD_ROOM, body="let me in")))
                all_.done["stranger_operations"] += 1
            nursery.cancel_scope.cancel()

    await all_.again("strangers", once)


async def _forgers(all_: Attackers, replica: int) -> None:
    """Requests that nobody signed: each costs a check, and the connection."""

    async def once() -> None:
        signer = all_.signer()
        async with await connected(all_.file, replica, signer) as wire:
            good = all_.request(signer, 0, Register("nobody"))
            await wire.send(good[:-1] + bytes([good[-1] ^ 1]))
            all_.done["forged_requests"] += 1
            await wire.swallow()

    await all_.again("forgers", once)


async def _askers(all_: Attackers, replica: int) -> None:
    """Questions, one after the other, the answers to which are long."""

    async def once() -> None:
        async with await connected(all_.file, replica, all_.signer()) as wire, trio.open_nursery() as nursery:
            nursery.start_soon(wire.swallow)
            number = 0
            while True:
                number += 1
                what = ReadHistory(room=FLOOD_ROOM) if number % 2 else SearchMessages(text="babbler -nothing")
                query = Query(query_id=number, minimum_sequence=SequenceNumber(0), query=encode_query(what))
                await wire.send(wire_of(all_.file.group.epoch, query))
                all_.done["queries"] += 1

    await all_.again("askers", once)


# -- bytes -------------------------------------------------------------------------------------------------------


async def bombs(all_: Attackers) -> None:
    """Frames that are built to burst a decoder, before and after saying who one is."""

    async def throw(replica: int, *, known: bool) -> None:
        for bomb in BOMBS.values():
            try:
                async with await dial(all_.file, replica) as wire:
                    if known:
                        await wire.hello(all_.signer())
                    all_.done["bombs"] += 1
                    await wire.send(bomb)
                    with trio.move_on_after(PAUSE_SECONDS):
                        await wire.swallow()
            except (*CLOSED, ProtocolViolation):
                all_.done["bombs_thrown_out"] += 1

    async with trio.open_nursery() as nursery:
        for replica in all_.file.group.replicas:
            for known in (True, False):
                nursery.start_soon(
                    all_.again, "bombers", lambda replica=replica, known=known: throw(replica, known=known)
                )


async def slowloris(all_: Attackers) -> None:
    """Connections that are held open by one byte now and then: within TLS, and before it."""

    async def drip(replica: int, number: int) -> None:
        member = all_.file.members[replica]
        if number % 2:
            async with await dial(all_.file, replica) as wire:
                await wire.hello(all_.signer())
                await wire.stream.send_all(SLOW_FRAME_BYTES.to_bytes(4, "big"))
                await _drip(all_, wire.stream)
        else:
            endpoint = (member.client_endpoint, member.replica_endpoint)[number // 2 % 2]
            raw = await knock(endpoint)
            async with raw:
                await _drip(all_, raw)

    async with trio.open_nursery() as nursery:
        for replica in all_.file.group.replicas:
            for number in range(SLOW_CONNECTIONS):
                nursery.start_soon(all_.again, "slow", lambda replica=replica, number=number: drip(replica, number))


async def _drip(all_: Attackers, stream: trio.abc.SendStream) -> None:
    while True:
        await stream.send_all(b"\x16")
        all_.done["slow_bytes"] += 1
        await trio.sleep(SLOW_BYTE_SECONDS * (1 + all_.random.random()))


async def litter(all_: Attackers) -> None:
    """Bytes that mean nothing, at every port."""

    async def once(replica: int) -> None:
        member = all_.file.members[replica]
        for endpoint in (member.replica_endpoint, member.client_endpoint):
            raw = await knock(endpoint)
            async with raw:
                await raw.send_all(all_.random.randbytes(all_.random.randrange(1, LITTER_BYTES)))
                all_.done["litter"] += 1
                with trio.move_on_after(PAUSE_SECONDS):
                    await raw.receive_some()

    async with trio.open_nursery() as nursery:
        for replica in all_.file.group.replicas:
            nursery.start_soon(all_.again, "litterers", lambda replica=replica: once(replica))


ATTACKERS: Final[Mapping[str, Callable[[Attackers], Awaitable[None]]]] = {
    "flood": flood,
    "babblers": babblers,
    "renewers": renewers,
    "strangers": strangers,
    "forgers": forgers,
    "askers": askers,
    "bombs": bombs,
    "slowloris": slowloris,
    "litter": litter,
}


DEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "flood": ("flood_operations", "stranger_operations", "forged_requests", "queries"),
    "babblers": ("flood_operations",),
    "renewers": ("renewed_operations",),
    "strangers": ("stranger_operations",),
    "forgers": ("forged_requests",),
    "askers": ("queries",),
    "bombs": ("bombs",),
    "slowloris": ("slow_bytes",),
    "litter": ("litter",),
}
"""What each must have done, by its tally's words, or it did not attack. Knocking and being thrown out is nothing."""


async def _tell_when_begun(all_: Attackers, deeds: Sequence[str]) -> None:
    """On a busy machine it takes them a while to get a word in."""
    while not all(all_.done[deed] for deed in deeds):  # noqa: ASYNC110 - of many tasks
        await trio.sleep(PAUSE_SECONDS)
    sys.stdout.write(BEGUN + "\n")
    sys.stdout.flush()


async def _run(file: GroupFile, names: list[str], seed: int) -> Counter[str]:
    all_ = Attackers(file, seed)
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(ATTACKERS[name], all_)
        nursery.start_soon(_tell_when_begun, all_, [deed for name in names for deed in DEEDS[name]])
        while await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), 4096, abandon_on_cancel=True):
            pass
        nursery.cancel_scope.cancel()
    return all_.done


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m adversary.live.attackers", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("names", nargs="+", choices=sorted(ATTACKERS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    os.nice(NICENESS)
    try:
        done = trio.run(_run, read_group_file(given.directory), given.names, given.seed)
    except GroupFileError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(msgspec.json.encode(dict(sorted(done.items()))).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
