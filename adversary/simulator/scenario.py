"""A scenario: all that a run depends on, as frozen data with one JSON form. Times count from the start of the run."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

import msgspec

from adversary.behaviours.base import Means
from adversary.behaviours.catalogue import UnknownBehaviour, false_speakers, make_behaviour
from adversary.craft import Craft
from adversary.keys import make_group
from pbft.core.group import REPLICAS_MIN, Parameters
from pbft.core.types import ReplicaId

FORMAT = 1
REPLICAS_MAX = 13
CLIENTS_MAX = 16
DURATION_MS_MAX = 600_000


class ScenarioError(Exception):
    """A file that is no scenario. The text names the file, the field and what is wrong."""


class _Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Network(_Frozen, frozen=True):
    """What every link does to every frame while faults last. Probabilities in thousandths, times in microseconds."""

    delay_us: int = 300
    jitter_us: int = 400
    loss: int = 0
    duplicate: int = 0
    reorder: int = 0
    """Frames that do not keep their place behind earlier ones of the link."""
    spike: int = 0
    spike_us: int = 0
    frame_us: int = 0
    """Time that one frame occupies the link: with a queue in front of it, its capacity."""
    queue_frames: int = 256


class Action(_Frozen, frozen=True):
    """What a client does: register, create, join, leave, post, read (ordered), history or search (asked of all)."""

    id: int
    at_ms: int
    kind: str
    room: str = ""
    text: str = ""


Option: TypeAlias = int | str | tuple[int | str | tuple[int, ...], ...]
"""Of a behaviour: a number, a word, or a list of them, or of lists of replicas."""


class Client(_Frozen, frozen=True):
    """`behaviour`: what it does instead of what it should, see `bad_clients`; of those it expects no answer.

    `equivocates`: the same as the behaviour `equivocate`.
    """

    name: str
    actions: tuple[Action, ...]
    equivocates: bool = False
    behaviour: str = ""
    options: dict[str, Option] = {}

    @property
    def behaves(self) -> str:
        return self.behaviour or ("equivocate" if self.equivocates else "")


CLIENT_BEHAVIOURS: Final[dict[str, tuple[str, ...]]] = {
    "": (),
    "equivocate": (),
    "query_of_death": ("each",),
    "flood": ("times",),
    "replay": ("times",),
}
"""With the options of each. See `bad_clients`."""


class Crash(_Frozen, frozen=True, tag="crash", tag_field="kind"):
    """The process dies after `fuse` more effects; `power`: the machine loses power, and what was not synced.

    `again`: how often it dies so again, each time after having been restarted.
    """

    id: int
    at_ms: int
    for_ms: int
    replica: int
    fuse: int = 0
    power: bool = False
    again: int = 0


class Pause(_Frozen, frozen=True, tag="pause", tag_field="kind"):
    """As SIGSTOP and SIGCONT: inputs pile up, within the bounds of their queues."""

    id: int
    at_ms: int
    for_ms: int
    replica: int


class Partition(_Frozen, frozen=True, tag="partition", tag_field="kind"):
    """Replicas that share no side do not hear each other; clients reach everybody.

    `one_way`: only side 0 is not heard.
    """

    id: int
    at_ms: int
    for_ms: int
    sides: tuple[tuple[int, ...], ...]
    one_way: bool = False


class Route(_Frozen, frozen=True, tag="route", tag_field="kind"):
    """One direction of one link loses frames: all, or those of one message type."""

    id: int
    at_ms: int
    for_ms: int
    source: int
    to: int
    message_type: str = ""
    loss: int = 1000


class Slow(_Frozen, frozen=True, tag="slow", tag_field="kind"):
    """A replica whose steps take longer: a failing disk, a busy machine."""

    id: int
    at_ms: int
    for_ms: int
    replica: int
    service_us: int


class ClockStep(_Frozen, frozen=True, tag="clock_step", tag_field="kind"):
    """The wall clock of a replica jumps, and is put right again later."""

    id: int
    at_ms: int
    for_ms: int
    replica: int
    step_ms: int


class DiskFull(_Frozen, frozen=True, tag="disk_full", tag_field="kind"):
    """No more space for ledger and state. The node stops at its next write; it is started again afterwards."""

    id: int
    at_ms: int
    for_ms: int
    replica: int


class SyncFails(_Frozen, frozen=True, tag="sync_fails", tag_field="kind"):
    """The next fsync of the ledger fails; `kept` says whether the records reached the disk all the same."""

    id: int
    at_ms: int
    for_ms: int
    replica: int
    kept: bool


class Damage(_Frozen, frozen=True, tag="damage", tag_field="kind"):
    """The process dies, and its files are not what they were when it starts again: see DAMAGES_KNOWN.

    `amount`: where, for those that need it. `stale`: the files as they were at `image_ms`. `forgetful`: its votes are
    gone, and it does not know it; `forgetful_disk`: its state as well.
    """

    id: int
    at_ms: int
    for_ms: int
    replica: int
    what: str
    amount: int = 0
    image_ms: int = 0


class Lapse(_Frozen, frozen=True, tag="lapse", tag_field="kind"):
    """The certificate of a replica's links lapses: nobody talks to it any more, until it is renewed."""

    id: int
    at_ms: int
    for_ms: int
    replica: int


class Cascade(_Frozen, frozen=True, tag="cascade", tag_field="kind"):
    """Whoever leads dies, and is started again after `down_ms`; so do the next `width` - 1 in line. Again and again,
    `every_ms`."""

    id: int
    at_ms: int
    for_ms: int
    every_ms: int
    down_ms: int
    width: int = 1


class Restarts(_Frozen, frozen=True, tag="restarts", tag_field="kind"):
    """Something restarts all `replicas` as fast as it can; each is down for `down_ms`.

    `guarded`: it asks before each whether the group can bear it, and waits while it cannot.
    """

    id: int
    at_ms: int
    for_ms: int
    replicas: tuple[int, ...]
    down_ms: int
    guarded: bool = True


Fault: TypeAlias = (
    Crash | Pause | Partition | Route | Slow | ClockStep | DiskFull | SyncFails | Damage | Lapse | Cascade | Restarts
)

DAMAGES = ("lost_ledger", "torn_ledger", "flipped_ledger", "flipped_state", "lost_state", "lost_disk", "stale")
"""Those that sweeps draw; another one would change what every seed means."""
UNKNOWING = frozenset({"stale", "forgetful", "forgetful_disk"})
"""After which a replica does not know what it said, and may contradict it."""
DAMAGES_KNOWN = (*DAMAGES, "forgetful", "forgetful_disk")
DAMAGES_OF_VOTES = frozenset({"lost_ledger", "torn_ledger", "flipped_ledger", "lost_disk"})
"""After which a replica begins its ledger again, and is mute."""


class Liar(_Frozen, frozen=True):
    """A replica that behaves so from the start: its behaviours add up. See `adversary.behaviours`."""

    replica: int
    strategy: str
    options: dict[str, Option] = {}


class Scenario(_Frozen, frozen=True, kw_only=True):
    """`parameters`: fields of pbft.core.group.Parameters. Every replica outside `core` is gone for good at `heal_ms`.

    `rejoins`: whether every replica of the core must have its voice back in the end.
    `progress`: whether the run must end well, within `bound_ms` after `heal_ms`; else only safety is checked.
    """

    format: int = FORMAT
    seed: int
    replicas: int
    real_signatures: bool = False
    parameters: dict[str, int] = {}
    retained_sequences: int = 1024
    service_us: int = 500
    network: Network = Network()
    calm: Network = Network()
    """What the network is once faults are over."""
    drift_ppm: tuple[int, ...] = ()
    liars: tuple[Liar, ...] = ()
    clients: tuple[Client, ...]
    faults: tuple[Fault, ...] = ()
    heal_ms: int
    core: tuple[int, ...]
    progress: bool = True
    rejoins: bool = False
    bound_ms: int = 60_000
    message_us: int = 0
    """What it costs a replica to take in one frame. 0: nothing, and nothing has to wait in its connection."""
    wait_ms: int = 0
    """How long anybody may wait for an operation, also while faults last. 0: as long as it takes."""

    @property
    def faulty(self) -> frozenset[int]:
        """Replicas that count among the f: liars, and those whose storage forgets or changes what it held."""
        damaged = (fault.replica for fault in self.faults if isinstance(fault, Damage))
        return frozenset((*damaged, *(liar.replica for liar in self.liars)))

    @property
    def unreliable(self) -> frozenset[int]:
        """Those of them of whom nothing is expected: the adversary's, and those who do not know what they forgot."""
        return frozenset((*self._unknowing, *(liar.replica for liar in self.liars)))

    @property
    def untrusted(self) -> frozenset[int]:
        """Those of them that may say anything, and that alone evidence may name. Whoever is only mute, deaf or slow
        says nothing false, and is never accused, unless it has lent its key."""
        return frozenset((*self._unknowing, *false_speakers((liar.replica, liar.strategy) for liar in self.liars)))

    @property
    def _unknowing(self) -> frozenset[int]:
        return frozenset(
            fault.replica for fault in self.faults if isinstance(fault, Damage) and fault.what in UNKNOWING
        )


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Scenario)


def to_json(scenario: Scenario) -> bytes:
    """The one JSON form of a scenario: fields in the order of their declaration, indented."""
    ordered = msgspec.structs.replace(scenario, parameters=dict(sorted(scenario.parameters.items())))
    return msgspec.json.format(_ENCODER.encode(ordered), indent=1) + b"\n"


def from_json(data: bytes) -> Scenario:
    """Raises ScenarioError."""
    try:
        scenario = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise ScenarioError(str(error)) from error
    problem = _problem(scenario)
    if problem is not None:
        raise ScenarioError(problem)
    return scenario


def read_scenario(path: Path) -> Scenario:
    """Raises ScenarioError, naming the file."""
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from error
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from error


def _problem(scenario: Scenario) -> str | None:
    if scenario.format != FORMAT:
        return f"format {scenario.format}: this version reads {FORMAT}"
    if not REPLICAS_MIN <= scenario.replicas <= REPLICAS_MAX:
        return f"replicas: from {REPLICAS_MIN} to {REPLICAS_MAX}, not {scenario.replicas}"
    if len(scenario.clients) > CLIENTS_MAX:
        return f"clients: at most {CLIENTS_MAX}"
    try:
        Parameters(**scenario.parameters)
    except (TypeError, ValueError) as error:
        return f"parameters: {error}"
    if not 0 <= scenario.heal_ms <= DURATION_MS_MAX or not 0 <= scenario.bound_ms <= DURATION_MS_MAX:
        return f"heal_ms and bound_ms: from 0 to {DURATION_MS_MAX}"
    return _problem_of_parts(scenario)


def _problem_of_parts(scenario: Scenario) -> str | None:
    named = {replica for fault in scenario.faults for replica in _replicas_of(fault)}
    named |= {*scenario.core, *(liar.replica for liar in scenario.liars)}
    strangers = sorted(replica for replica in named if not 0 <= replica < scenario.replicas)
    if strangers:
        return f"replica {strangers[0]}: there are {scenario.replicas}"
    if len(set(scenario.core)) != len(scenario.core):
        return "core: names a replica twice"
    for liar in scenario.liars:
        try:
            make_behaviour([(liar.strategy, liar.options)], _means())
        except UnknownBehaviour as error:
            return f"liars: {error}"
    for client in scenario.clients:
        if client.behaves not in CLIENT_BEHAVIOURS or not {*client.options} <= {*CLIENT_BEHAVIOURS[client.behaves]}:
            known = ", ".join(f"{name}{list(options)}" for name, options in CLIENT_BEHAVIOURS.items() if name)
            return f"clients: no behaviour {client.behaves!r} with options {dict(client.options)}; there are {known}"
    for fault in scenario.faults:
        if isinstance(fault, Damage) and fault.what not in DAMAGES_KNOWN:
            return f"faults: no damage {fault.what!r}; there are {', '.join(DAMAGES_KNOWN)}"
    numbers = [fault.id for fault in scenario.faults]
    actions = [action.id for client in scenario.clients for action in client.actions]
    if len(set(numbers)) != len(numbers) or len(set(actions)) != len(actions):
        return "two faults, or two actions, have the same id"
    return None


@lru_cache
def _means() -> Means:
    """Of nobody in particular: to try options out."""
    return Means(me=ReplicaId(0), craft=Craft(make_group(REPLICAS_MIN).held_by([0])), random=Random(0))  # noqa: S311


def _replicas_of(fault: Any) -> tuple[int, ...]:
    match fault:
        case Partition():
            return tuple(replica for side in fault.sides for replica in side)
        case Route():
            return (fault.source, fault.to)
        case Restarts():
            return fault.replicas
        case Cascade():
            return ()
        case _:
            return (fault.replica,)
