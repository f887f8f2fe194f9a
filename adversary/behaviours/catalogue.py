"""Behaviours by the name under which scenarios, attacks and commands ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, Final

from adversary.behaviours.accuser import FalseAccuser
from adversary.behaviours.base import Behaviour, Chain, Means, Timed
from adversary.behaviours.host import Peekaboo
from adversary.behaviours.mutation import Mutate
from adversary.behaviours.primary import (
    BadSignature,
    Censor,
    PartialCast,
    ReorderPrimary,
    SeqJump,
    SlowPrimary,
    SplitPrimary,
    TwoGenerals,
    VictimPrimary,
)
from adversary.behaviours.replies import ReplyLie, ReplyWithhold
from adversary.behaviours.transfer import FalseAmnesia, StateLie
from adversary.behaviours.views import NewViewLie, TwoNewViews, ViewChangeLie, ViewStorm
from adversary.behaviours.votes import (
    Accomplice,
    CheckpointLie,
    Deaf,
    DoubleCommit,
    DoublePrepare,
    DoubleVotes,
    GhostVote,
    Silent,
)
from adversary.behaviours.wire import CborBombs, DualEncoding, Fuzz, Replay, SigEdge

BEHAVIOURS: Final[dict[str, Callable[..., Behaviour]]] = {
    # as primary
    "split_primary": SplitPrimary,
    "two_generals": TwoGenerals,
    "victim_primary": VictimPrimary,
    "reorder_primary": ReorderPrimary,
    "seq_jump": SeqJump,
    "partial_cast": PartialCast,
    "slow_primary": SlowPrimary,
    "censor": Censor,
    "bad_signature_proposal": BadSignature,
    # votes
    "silent": Silent,
    "deaf": Deaf,
    "accomplice": Accomplice,
    "double_prepare": DoublePrepare,
    "double_commit": DoubleCommit,
    "double_votes": DoubleVotes,
    "ghost_vote": GhostVote,
    "checkpoint_lie": CheckpointLie,
    # changes of views
    "hide_prepared": partial(ViewChangeLie, how="hide_prepared"),
    "forged_view_change": partial(ViewChangeLie, how="forged_view_change"),
    "two_view_changes": partial(ViewChangeLie, how="two_view_changes"),
    "false_new_view": partial(NewViewLie, withhold=False),
    "withheld_new_view": partial(NewViewLie, withhold=True),
    "two_new_views": TwoNewViews,
    "view_storm": ViewStorm,
    # to clients, and to whoever fetches the state
    "reply_lie": ReplyLie,
    "reply_withhold": ReplyWithhold,
    "state_lie": StateLie,
    "false_amnesia": FalseAmnesia,
    # bytes
    "fuzz": Fuzz,
    "cbor_bombs": CborBombs,
    "dual_encoding": DualEncoding,
    "replay": Replay,
    "sig_edge": SigEdge,
    "false_accuser": FalseAccuser,
    "mutate": Mutate,
    # the process
    "peekaboo": Peekaboo,
}
"""Each is called with its Means, and with options by name where it has any."""

SINCERE: Final = frozenset(
    {
        "silent",
        "deaf",
        "slow_primary",
        "censor",
        "reorder_primary",
        "partial_cast",
        "withheld_new_view",
        "reply_withhold",
    }
)
"""Who behaves so hears less than it should, or says it late or to few, and signs nothing that its honest core would
not sign: no evidence can be had against it."""

WITH_KEYS_OF_OTHERS: Final = frozenset({"two_generals"})
"""Who behaves so signs in the names of all that it colludes with, whatever they do themselves: evidence against them
is had with their keys."""

TWIN: Final = "twin"
"""No behaviour: a second unmodified replica with the same key, each of them talking to a part of the others."""
PEEKABOO_TWIN: Final = "peekaboo_twin"
"""The same, each of them online while the other is not: what one is made of, is the behaviour `peekaboo`."""
LAYOUTS: Final[dict[str, Callable[..., None]]] = {
    TWIN: lambda *, sides=(): None,  # noqa: ARG005 - only the options are of interest
    PEEKABOO_TWIN: lambda *, period_ms=0: None,  # noqa: ARG005
}
"""What a host is made twice for, with the options that there are."""

TIMES: Final = frozenset({"start_ms", "until_ms"})
"""Options of every behaviour: see `Timed`."""


class UnknownBehaviour(ValueError):  # noqa: N818 - what it is
    """Nobody behaves so, or not with these options."""


def check_behaviour(name: str, options: Mapping[str, Any]) -> None:
    """Raises UnknownBehaviour for a name or options that there are not; values are looked at when it is made."""
    if name not in BEHAVIOURS and name not in LAYOUTS:
        msg = f"no behaviour {name!r}; there are {', '.join(sorted((*BEHAVIOURS, *LAYOUTS)))}"
        raise UnknownBehaviour(msg)
    own = {option: value for option, value in options.items() if option not in TIMES}
    try:
        if name in LAYOUTS:
            signature(LAYOUTS[name]).bind(**own)
        else:
            signature(BEHAVIOURS[name]).bind(None, **own)
    except TypeError as error:
        msg = f"behaviour {name!r} with options {dict(options)!r}: {error}"
        raise UnknownBehaviour(msg) from error


def make_behaviour(wanted: Sequence[tuple[str, Mapping[str, Any]]], means: Means) -> Behaviour | None:
    """The named behaviours with their options, as one; None if none is needed. Raises UnknownBehaviour."""
    parts = []
    for name, options in wanted:
        check_behaviour(name, options)
        if name not in LAYOUTS:
            parts.append(_made(name, options, means))
    return parts[0] if len(parts) == 1 else Chain(parts) if parts else None


def _made(name: str, options: Mapping[str, Any], means: Means) -> Behaviour:
    own = {option: value for option, value in options.items() if option not in TIMES}
    try:
        made = BEHAVIOURS[name](means, **own)
    except TypeError as error:
        msg = f"behaviour {name!r} with options {dict(options)!r}: {error}"
        raise UnknownBehaviour(msg) from error
    if options.keys() & TIMES:
        return Timed(made, options.get("start_ms", 0), options.get("until_ms"))
    return made


def false_speakers(cast: Iterable[tuple[int, str]]) -> frozenset[int]:
    """Return whom evidence may name: those of the cast, given as replicas and strategies, in whose name something is
    signed that an honest core would not sign."""
    played = list(cast)
    if any(strategy in WITH_KEYS_OF_OTHERS for _, strategy in played):
        return frozenset(replica for replica, _ in played)
    return frozenset(replica for replica, strategy in played if strategy not in SINCERE)
