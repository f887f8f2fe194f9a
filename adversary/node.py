"""A Byzantine replica: the same core and node, with behaviours that twist what it hears and does.

python -m adversary.node DIR --replica I --behaviour reply_lie
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol, cast

from adversary.behaviours.base import Behaviour, Means
from adversary.behaviours.catalogue import BEHAVIOURS, UnknownBehaviour, make_behaviour
from adversary.behaviours.playing import Played
from adversary.craft import Craft
from adversary.keys import Members
from chatsvc.founding import SIGNING_KEY_NAME
from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file
from chatsvc.process import NodeError, configure_logs, run_node
from crypto.errors import CryptoError
from crypto.keyfiles import read_key_file
from crypto.signing import Ed25519Signer, Ed25519Verifier, Signer
from pbft.core.effects import Effects, Input, Send, SetTimer, Timer, TimerExpired, merge_effects
from pbft.core.messages import PeerMessage
from pbft.core.replica import Replica
from pbft.core.state_messages import FetchState, StateAnswer
from pbft.core.types import Milliseconds, Now, ReplicaId

LATER: Final = cast("Timer", "said later")
"""A timer that the core knows nothing of. A node keeps timers by their name, whatever that is."""


@dataclass(frozen=True, slots=True)
class Said:
    """Bytes that stand where a message would: `wire_of` gives them as they are."""

    wire: bytes = field(repr=False)


class ServesState(Protocol):
    """The executed state of a node, as far as peers may ask for it."""

    def serve_state(self, fetch: FetchState) -> StateAnswer: ...


class ByzantineReplica:
    """Steps like the replica inside, between what the behaviour lets it hear and what it makes of it.

    `state`: that of the node it runs in; what peers fetch of it goes through the behaviour, too.
    """

    def __init__(self, inner: Replica, behaviour: Behaviour, state: ServesState | None = None) -> None:
        self.me = inner.me
        self.replica = inner
        self.played = Played(behaviour)
        self._state = state
        self._now = Now(steady=Milliseconds(0), wall=Milliseconds(0))
        self._said: list[Send] = []
        self._later: list[tuple[int, int, Send]] = []
        self._count = 0

    def step(self, given: Input) -> Effects:
        self._now = given.now
        due = self._due()
        is_own = isinstance(given, TimerExpired) and given.timer is LATER
        twisted = Effects() if is_own else self._serve(self.played.step(self, given))
        said, self._said = self._said, []
        timers = (SetTimer(LATER, Milliseconds(self._later[0][0])),) if self._later else ()
        return merge_effects([twisted, Effects(send=(*due, *said), timers=timers)])

    def _serve(self, effects: Effects) -> Effects:
        """Answer here, where the answer can be another one, what the node would answer."""
        if not effects.serve_state or self._state is None:
            return effects
        sends = []
        for question in effects.serve_state:
            answer = self.played.answer(self, question.to, self._state.serve_state(question.fetch))
            if answer is not None:
                sends.append(Send(to=(question.to,), message=answer))
        return replace(effects, send=(*effects.send, *sends), serve_state=())

    def is_useless(self, message: PeerMessage) -> bool:
        return self.replica.is_useless(message)

    def own_load(self) -> tuple[int, int]:
        return self.replica.own_load()

    def describe(self) -> dict[str, Any]:
        """A liar does not say so."""
        return self.replica.describe()

    # -- for the behaviour

    def now(self) -> Now:
        return self._now

    def say(self, to: ReplicaId, frame: bytes) -> None:
        self.played.on_said(frame)
        self._said.append(_send((to,), frame))

    def say_later(self, delay_ms: int, to: Sequence[ReplicaId], frame: bytes) -> None:
        self.played.on_said(frame)
        self._count += 1
        heappush(self._later, (self._now.steady + delay_ms, self._count, _send(to, frame)))

    def _due(self) -> list[Send]:
        due = []
        while self._later and self._later[0][0] <= self._now.steady:
            due.append(heappop(self._later)[2])
        return due


def _send(to: Sequence[ReplicaId], frame: bytes) -> Send:
    return Send(to=tuple(to), message=cast("PeerMessage", Said(frame)))


def played(
    file: GroupFile,
    wanted: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    accomplices: Mapping[int, Ed25519Signer] | None = None,
    seed: int = 0,
) -> Callable[[Replica, Ed25519Signer], ByzantineReplica]:
    """Puts behaviours, with their options, in a replica's place. Raises UnknownBehaviour when the node starts."""

    def make_machine(inner: Replica, signer: Ed25519Signer) -> ByzantineReplica:
        keys: dict[int, Signer] = {**(accomplices or {}), inner.me: signer}
        craft = Craft(Members(group=file.group, signers=keys, verifier=Ed25519Verifier()))
        random = Random(f"{seed} {inner.me}")  # noqa: S311 - what a liar does, not a secret
        behaviour = make_behaviour(wanted, Means(me=inner.me, craft=craft, random=random))
        state = cast("ServesState", inner.executed)  # a node's replica looks into the state that the node serves
        return ByzantineReplica(inner, behaviour or Behaviour(), state)

    return make_machine


def named(text: str) -> tuple[str, dict[str, Any]]:
    """`name`, or `name={"option": value}`. Raises argparse.ArgumentTypeError."""
    name, given, options = text.partition("=")
    if name not in BEHAVIOURS:
        msg = f"no behaviour {name!r}; there are {', '.join(sorted(BEHAVIOURS))}"
        raise argparse.ArgumentTypeError(msg)
    try:
        found = json.loads(options) if given else {}
    except json.JSONDecodeError as error:
        msg = f"options of {name}: {error}"
        raise argparse.ArgumentTypeError(msg) from error
    if not isinstance(found, dict):
        msg = f"options of {name}: a JSON object"
        raise argparse.ArgumentTypeError(msg)
    return name, found


def key_of(file: GroupFile, replica: int) -> Ed25519Signer:
    """Raises CryptoError."""
    path = file.replica_directory(ReplicaId(replica)) / SIGNING_KEY_NAME
    return read_key_file(path, kind="replica", passphrase=None)[0]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m adversary.node", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--replica", type=int, required=True)
    parser.add_argument(
        "--behaviour",
        type=named,
        action="append",
        required=True,
        metavar="NAME[=OPTIONS]",
        help="one of a behaviour's names, with its options as a JSON object; several add up",
    )
    parser.add_argument(
        "--accomplice", type=int, action="append", default=[], metavar="J", help="a replica whose key it holds too"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop also when standard input ends")
    given = parser.parse_args(arguments)
    configure_logs()
    try:
        file = read_group_file(given.directory)
        for replica in (given.replica, *given.accomplice):
            if not 0 <= replica < file.group.size:
                parser.error(f"--replica: the group has replicas 0 to {file.group.size - 1}")
        accomplices = {each: key_of(file, each) for each in given.accomplice}
        make_machine = played(file, given.behaviour, accomplices=accomplices, seed=given.seed)
        run_node(file, ReplicaId(given.replica), make_machine, until_stdin_closes=given.until_stdin_closes)
    except (GroupFileError, NodeError, CryptoError, UnknownBehaviour) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
