"""Which hosts there are, who plays them, and who of them reaches whom: twins share a number, and not their peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adversary.behaviours.base import Behaviour, Chain, Means
from adversary.behaviours.catalogue import LAYOUTS, PEEKABOO_TWIN, TWIN, make_behaviour
from adversary.craft import Craft
from adversary.simulator.clock import HostClock
from adversary.simulator.host import Host
from adversary.simulator.storage import Disk
from pbft.core.types import ReplicaId

if TYPE_CHECKING:
    from adversary.simulator.clients import SimulatedClient
    from adversary.simulator.run import Simulation


OWN: Final = "own"
"""The strategy of a liar whose behaviour is not of the catalogue but given to the run."""


class Layout:
    """Of one run."""

    def __init__(self, run: Simulation, directory: Path) -> None:
        self._run = run
        scenario = run.scenario
        self._twins: dict[int, tuple[str, dict[str, Any]]] = {
            liar.replica: (liar.strategy, liar.options) for liar in scenario.liars if liar.strategy in LAYOUTS
        }
        twins = [ReplicaId(liar.replica) for liar in scenario.liars if liar.strategy in LAYOUTS]
        self.hosts = [
            self._make_host(directory, number, me) for number, me in enumerate((*run.group.replicas, *twins))
        ]
        self.of_replica = {me: [host for host in self.hosts if host.me == me] for me in run.group.replicas}

    def _make_host(self, directory: Path, number: int, me: ReplicaId) -> Host:
        run, scenario = self._run, self._run.scenario
        signer = run.members.signers[me]
        identity = signer.public_key  # the same in all groups, so that empty ledgers are made once
        drift = scenario.drift_ppm[number] if number < len(scenario.drift_ppm) else 0
        return Host(
            run,
            number=number,
            me=me,
            signer=signer,
            disk=Disk(directory / str(number), run.group, identity, scenario.retained_sequences),
            clock=HostClock(drift),
            behaviour=self._behaviour(number, me),
            service_us=scenario.service_us,
            message_us=scenario.message_us,
        )

    def _behaviour(self, number: int, me: ReplicaId) -> Behaviour | None:
        """Those who lie hold each other's keys, and no others."""
        run, liars = self._run, self._run.scenario.liars
        wanted: list[tuple[str, dict[str, Any]]] = [
            (liar.strategy, liar.options) for liar in liars if liar.replica == me and liar.strategy != OWN
        ]
        layout, options = self._twins.get(me, ("", {}))
        if layout == PEEKABOO_TWIN:
            wanted.append(("peekaboo", options | {"phase": int(number >= run.group.size)}))
        craft = Craft(run.members.held_by(liar.replica for liar in liars))
        means = Means(me=me, craft=craft, random=run.streams.random("strategy", me))
        named, own = make_behaviour(wanted, means), run.own.get(me)
        if own is None:
            return named
        return own(means) if named is None else Chain((named, own(means)))

    def meet(self, one: Host, other: Host) -> bool:
        """Whether there is a link between two hosts. Twins never have one."""
        if one.me == other.me:
            return False
        if not self._twins:
            return True
        copies = (self._copy(one), self._copy(other))
        if None not in copies and copies[0] != copies[1]:
            return False
        return self._reaches(one, other) and self._reaches(other, one)

    def _copy(self, host: Host) -> int | None:
        """Which copy it is of a twin that has sides: copies on different sides have nothing to do with each other."""
        layout, options = self._twins.get(host.me, ("", {}))
        return self.of_replica[host.me].index(host) if layout == TWIN and options.get("sides") else None

    def _reaches(self, host: Host, peer: Host) -> bool:
        """Each of two twins talks to the peers of its side, without sides to those of even or of odd numbers."""
        layout, options = self._twins.get(host.me, ("", {}))
        if layout != TWIN:
            return True
        number = self.of_replica[host.me].index(host)
        sides = options.get("sides")
        if sides:
            return number < len(sides) and peer.me in sides[number]
        return (peer.me % 2 == 0) == (number == 0) or peer.me in self._twins

    def meets_client(self, host: Host, client: SimulatedClient) -> bool:
        """Of two twins each serves every other client; of two that are alternately there, whoever is."""
        if self._twins.get(host.me, ("", {}))[0] != TWIN:
            return True
        return (client.address % 2 == 0) == (host is self.of_replica[host.me][0])
