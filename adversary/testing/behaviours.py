"""Who may take part in a group beside honest replicas: friendly names for the behaviours of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeAlias, cast

from adversary.behaviours.base import Behaviour, Chain, Means
from adversary.behaviours.catalogue import check_behaviour
from adversary.simulator.layout import OWN
from adversary.simulator.scenario import Liar


class Played:
    """A behaviour of the catalogue, with its options by name. Raises UnknownBehaviour for options that it has not."""

    name: ClassVar[str]

    def __init__(self, **options: Any) -> None:
        check_behaviour(self.name, options)
        self.options = options

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.options.items())})"


class EquivocatingPrimary(Played):
    """As primary, proposes two batches for one place, and commits to both."""

    name = "split_primary"


class SlowPrimary(Played):
    """As primary, proposes late, but before anybody's timeout ends."""

    name = "slow_primary"


class CensoringPrimary(Played):
    """As primary, does not hear some people."""

    name = "censor"


class SilentReplica(Played):
    """Hears, and says nothing."""

    name = "silent"


class DeafReplica(Played):
    """Says what it must, and hears nothing."""

    name = "deaf"


class DoubleVoter(Played):
    """Votes as it should, and for something else too."""

    name = "double_votes"


class Accomplice(Played):
    """Votes for whatever others vote for, and tells nobody else."""

    name = "accomplice"


class LyingReplica(Played):
    """Takes part honestly, and tells people something else than what was agreed."""

    name = "reply_lie"


class ForgetfulReplica(Played):
    """Hides what it promised when views change."""

    name = "hide_prepared"


class RestlessReplica(Played):
    """Asks for ever higher views."""

    name = "view_storm"


class Twins(Played):
    """Two unmodified copies with one key, each of them talking to a part of the others."""

    name = "twin"


One: TypeAlias = Played | str | tuple[str, Mapping[str, Any]] | Behaviour | Callable[[Means], Behaviour]
"""An instance of a class above; a name of the catalogue, alone or with its options; a behaviour of one's own, ready
made or as a class (or function) that is called with its Means."""
Wanted: TypeAlias = One | Sequence[One]


class Cast:
    """Who plays whom."""

    def __init__(self, behaviours: Mapping[int, Wanted]) -> None:
        self._wanted = {replica: _several(wanted) for replica, wanted in sorted(behaviours.items())}
        for liar in self.liars():
            if liar.strategy != OWN:
                check_behaviour(liar.strategy, liar.options)

    @property
    def replicas(self) -> tuple[int, ...]:
        return tuple(self._wanted)

    def liars(self) -> tuple[Liar, ...]:
        return tuple(
            Liar(replica=replica, strategy=name, options=dict(options))
            for replica, parts in self._wanted.items()
            for name, options in map(_named, parts)
        )

    def own(self) -> dict[int, Callable[[Means], Behaviour]]:
        """What the catalogue does not know: several behaviours of one replica add up."""
        found = {replica: [one for one in parts if _named(one)[0] == OWN] for replica, parts in self._wanted.items()}
        return {replica: partial(_made, parts) for replica, parts in found.items() if parts}


def _several(wanted: Wanted) -> tuple[One, ...]:
    match wanted:
        case (str() as name, Mapping() as options):
            return ((name, options),)
        case list() | tuple():
            return tuple(wanted)
        case _:
            return (cast("One", wanted),)


def _named(one: One) -> tuple[str, Mapping[str, Any]]:
    match one:
        case Played():
            return one.name, one.options
        case str():
            return one, {}
        case (str() as name, Mapping() as options):
            return name, options
        case _:
            return OWN, {}


def _made(parts: Sequence[Any], means: Means) -> Behaviour:
    made = [part if isinstance(part, Behaviour) else part(means) for part in parts]
    return made[0] if len(made) == 1 else Chain(made)
