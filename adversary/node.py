"""A Byzantine replica: the same core and node, with a behaviour that rewrites the effects.

python -m adversary.node DIR --replica I --behaviour reply_lie
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from adversary.behaviours.base import Behaviour
from adversary.behaviours.catalogue import BEHAVIOURS
from chatsvc.groupfile import GroupFileError, read_group_file
from chatsvc.process import NodeError, configure_logs, run_node
from crypto.signing import Ed25519Signer
from pbft.core.effects import Effects, Input
from pbft.core.messages import PeerMessage
from pbft.core.replica import Replica
from pbft.core.types import ReplicaId


class ByzantineReplica:
    """Steps like the replica inside, then lets the behaviour rewrite what was to be done."""

    def __init__(self, replica: Replica, behaviour: Behaviour) -> None:
        self._replica = replica
        self._behaviour = behaviour

    def step(self, given: Input) -> Effects:
        return self._behaviour.rewrite(self._replica.step(given))

    def is_useless(self, message: PeerMessage) -> bool:
        return self._replica.is_useless(message)

    def describe(self) -> dict[str, Any]:
        """A liar does not say so."""
        return self._replica.describe()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m adversary.node", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--replica", type=int, required=True)
    parser.add_argument("--behaviour", choices=sorted(BEHAVIOURS), required=True)
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop also when standard input ends")
    given = parser.parse_args(arguments)
    configure_logs()
    try:
        file = read_group_file(given.directory)
        if not 0 <= given.replica < file.group.size:
            parser.error(f"--replica: the group has replicas 0 to {file.group.size - 1}")

        def make_machine(replica: Replica, signer: Ed25519Signer) -> ByzantineReplica:
            return ByzantineReplica(replica, BEHAVIOURS[given.behaviour](file.group, replica.me, signer))

        run_node(file, ReplicaId(given.replica), make_machine, until_stdin_closes=given.until_stdin_closes)
    except (GroupFileError, NodeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
