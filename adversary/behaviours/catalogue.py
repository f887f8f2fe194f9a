"""Behaviours by the name under which scenarios, attacks and commands ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from adversary.behaviours.base import Behaviour, Chain, Means
from adversary.behaviours.primary import Censor, SlowPrimary, SplitPrimary
from adversary.behaviours.replies import ReplyLie
from adversary.behaviours.transfer import FalseAmnesia, StateLie
from adversary.behaviours.views import NewViewLie, ViewChangeLie, ViewStorm
from adversary.behaviours.votes import Accomplice, DoubleVotes, Silent
from adversary.behaviours.wire import Fuzz

BEHAVIOURS: Final[dict[str, Callable[..., Behaviour]]] = {
    "silent": lambda _means: Silent(),
    "split_primary": SplitPrimary,
    "accomplice": Accomplice,
    "double_votes": DoubleVotes,
    "reply_lie": ReplyLie,
    "fuzz": Fuzz,
    "hide_prepared": lambda means: ViewChangeLie(means, "hide_prepared"),
    "forged_view_change": lambda means: ViewChangeLie(means, "forged_view_change"),
    "two_view_changes": lambda means: ViewChangeLie(means, "two_view_changes"),
    "false_new_view": lambda means: NewViewLie(means, withhold=False),
    "withheld_new_view": lambda means: NewViewLie(means, withhold=True),
    "view_storm": ViewStorm,
    "slow_primary": SlowPrimary,
    "censor": Censor,
    "state_lie": StateLie,
    "false_amnesia": FalseAmnesia,
}
"""Each is called with its Means, and with options by name where it has any."""

TWIN: Final = "twin"
"""No behaviour: a second unmodified replica with the same key, each of them talking to a part of the others."""


class UnknownBehaviour(ValueError):  # noqa: N818 - what it is
    """Nobody behaves so, or not with these options."""


def make_behaviour(wanted: Sequence[tuple[str, Mapping[str, Any]]], means: Means) -> Behaviour | None:
    """The named behaviours with their options, as one; None if none is needed. Raises UnknownBehaviour."""
    parts = []
    for name, options in wanted:
        if name == TWIN:
            continue
        if name not in BEHAVIOURS:
            msg = f"no behaviour {name!r}; there are {', '.join(sorted(BEHAVIOURS))}"
            raise UnknownBehaviour(msg)
        try:
            parts.append(BEHAVIOURS[name](means, **options))
        except TypeError as error:
            msg = f"behaviour {name!r} with options {dict(options)!r}: {error}"
            raise UnknownBehaviour(msg) from error
    return parts[0] if len(parts) == 1 else Chain(parts) if parts else None
