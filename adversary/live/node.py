"""One replica of a live attack: played by behaviours, or honest on a machine whose clock is wrong.

python -m adversary.live.node DIR --replica I [--behaviour NAME[=OPTIONS]]... [--clock FILE] [--retained N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from adversary.behaviours.catalogue import UnknownBehaviour
from adversary.behaviours.playing import Played
from adversary.node import ByzantineReplica, key_of, named
from adversary.node import played as cast_in
from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file
from chatsvc.process import MakeMachine, NodeError, configure_logs, run_node
from crypto.errors import CryptoError
from crypto.signing import Ed25519Signer
from pbft.core.effects import Effects, Input
from pbft.core.messages import PeerMessage
from pbft.core.replica import Replica
from pbft.core.types import Milliseconds, Now, ReplicaId
from pbft.node.config import NodeConfig
from pbft.node.node import Machine

LIES_TOLD: Final = "lies told: "
"""Before their number, on the last line of its log."""
BEGINS_TO_LIE: Final = "begins to lie"
"""On a line of its own, at the first lie: whoever is killed does not come to say how many it told."""
Cast = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting(GroupFile):
    """Its nodes keep other numbers of old batches than usual for peers that fell behind."""

    retained_sequences: int

    def node_config(self, replica: ReplicaId) -> NodeConfig:
        usual = GroupFile(path=self.path, group=self.group, members=self.members).node_config(replica)
        return replace(usual, retained_sequences=self.retained_sequences)


class ClockedMachine:
    """Everything that a machine is told the time by, it is told wrongly: its wall clock is off by what a file says.

    The file holds milliseconds, and how many millionths it goes wrong further from then on: `MS [PPM]`.
    """

    def __init__(self, inner: Machine, path: Path) -> None:
        self._inner = inner
        self._path = path
        self._stamp = -1
        self._since = 0
        self._step_ms, self._ppm = 0, 0

    def step(self, given: Input) -> Effects:
        return self._inner.step(replace(given, now=self._wrong(given.now)))

    def is_useless(self, message: PeerMessage) -> bool:
        return self._inner.is_useless(message)

    def own_load(self) -> tuple[int, int]:
        return self._inner.own_load()

    def describe(self) -> dict[str, Any]:
        return self._inner.describe()

    def _wrong(self, now: Now) -> Now:
        stamp = self._path.stat().st_mtime_ns
        if stamp != self._stamp:
            self._stamp, self._since = stamp, now.steady
            step_ms, _, ppm = self._path.read_text().partition(" ")
            self._step_ms, self._ppm = int(step_ms), int(ppm or 0)
        off_ms = self._step_ms + (now.steady - self._since) * self._ppm // 1_000_000
        return Now(steady=now.steady, wall=Milliseconds(max(0, now.wall + off_ms)))


class Telling:
    """A liar that writes into its log when it lies for the first time."""

    def __init__(self, liar: ByzantineReplica) -> None:
        self._liar = liar
        self._has_told = False

    def step(self, given: Input) -> Effects:
        effects = self._liar.step(given)
        if not self._has_told and self._liar.played.lies:
            self._has_told = True
            sys.stderr.write(f"{BEGINS_TO_LIE}\n")
            sys.stderr.flush()
        return effects

    def is_useless(self, message: PeerMessage) -> bool:
        return self._liar.is_useless(message)

    def describe(self) -> dict[str, Any]:
        return self._liar.describe()

    def own_load(self) -> tuple[int, int]:
        return self._liar.own_load()


def machine_of(
    file: GroupFile, cast: Cast, clock: Path | None, *, accomplices: Sequence[int], seed: int, liars: list[Played]
) -> MakeMachine:
    """Raises UnknownBehaviour when the node starts. Whoever is played then, is put into `liars`."""

    def make_machine(inner: Replica, signer: Ed25519Signer) -> Machine:
        machine: Machine = inner
        if cast:
            keys = {each: key_of(file, each) for each in accomplices}
            liar = cast_in(file, cast, accomplices=keys, seed=seed)(inner, signer)
            liars.append(liar.played)
            machine = Telling(liar)
        return machine if clock is None else ClockedMachine(machine, clock)

    return make_machine


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m adversary.live.node", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--replica", type=int, required=True)
    parser.add_argument("--behaviour", type=named, action="append", default=[], metavar="NAME[=OPTIONS]")
    parser.add_argument("--accomplice", type=int, action="append", default=[], metavar="J")
    parser.add_argument("--clock", type=Path, metavar="FILE", help="how wrong its clock is: MS [PPM]")
    parser.add_argument("--retained", type=int, help="sequence numbers for which batches are kept for peers")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    configure_logs()
    liars: list[Played] = []
    try:
        file = read_group_file(given.directory)
        if given.retained is not None:
            file = Forgetting(
                path=file.path, group=file.group, members=file.members, retained_sequences=given.retained
            )
        make_machine = machine_of(
            file, given.behaviour, given.clock, accomplices=given.accomplice, seed=given.seed, liars=liars
        )
        run_node(file, ReplicaId(given.replica), make_machine, until_stdin_closes=True)
    except (GroupFileError, NodeError, CryptoError, UnknownBehaviour) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        sys.stderr.write(f"{LIES_TOLD}{sum(each.lies for each in liars)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
