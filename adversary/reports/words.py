"""What a report says of codes, messages, verdicts and invariants, for readers who know chat and not consensus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adversary.simulator.broken import INVARIANTS


@dataclass(frozen=True, slots=True)
class Explained:
    """`held`: what the proof consists of. `why`: why nobody honest can be accused by it."""

    name: str
    held: str
    why: str


_VOTES = (
    "A correct replica writes a vote to its disk before it sends it, and its signing code refuses a second one "
    "for the same place, also after a crash. Two signatures exist only if somebody went around that code."
)

EVIDENCE: Final[dict[str, Explained]] = {
    "E1": Explained(
        "Two proposals for one place",
        "Two PRE-PREPAREs for the same view and sequence number, with different batches, both signed by the primary.",
        "The primary chooses what comes next, once for each place. " + _VOTES,
    ),
    "E2": Explained(
        "Two PREPARE votes for one place",
        "Two PREPAREs for the same view and sequence number, for different batches, both signed by one replica.",
        _VOTES,
    ),
    "E3": Explained(
        "Two COMMIT votes for one place",
        "Two COMMITs for the same view and sequence number, for different batches, both signed by one replica.",
        _VOTES,
    ),
    "E4": Explained(
        "Two states at one place",
        "Two CHECKPOINTs for the same sequence number with different state roots, both signed by one replica.",
        "The state after a place follows from what was ordered up to it, and a correct replica vouches for it once. "
        "A disk that rotted makes a replica notice, not vouch again.",
    ),
    "E5": Explained(
        "A promise left out",
        "A COMMIT, and a later VIEW-CHANGE of the same replica that leaves the committed batch out, or claims an "
        "older view for it.",
        "Whoever sends COMMIT has the prepared certificate on its disk, and must show it when views change: "
        "this is what carries accepted messages over to the next primary.",
    ),
    "E6": Explained(
        "Two stories about one view change",
        "Two different VIEW-CHANGEs for the same view, both signed by one replica.",
        "A correct replica writes its VIEW-CHANGE down and sends those bytes for as long as it asks for the view.",
    ),
    "E7": Explained(
        "A view change that is false in itself",
        "A signed VIEW-CHANGE or NEW-VIEW that does not follow from what it quotes, or two NEW-VIEWs for one view.",
        "Everything in such a message can be computed again from the signed messages inside it. "
        "A correct replica computes it before it signs.",
    ),
    "E8": Explained(
        "A proposal with a forged request",
        "A signed proposal that holds a request whose own signature is invalid.",
        "A correct primary verifies every request before it proposes it: nobody is made to say what they did not.",
    ),
    "E9": Explained(
        "An answer that the group denies",
        "A signed REPLY, and f + 1 equal REPLYs of others to the same request, or a commit certificate, that say "
        "something else.",
        "Among f + 1 replicas at least one is correct, and a request has the same result at every correct replica. "
        "It shows a false answer, not an intent: a replica whose disk rotted gives one, too.",
    ),
    "CLIENT-EQUIVOCATION": Explained(
        "Two requests under one name",
        "Two different requests signed by one device under the same session and number.",
        "A client program counts what it asks for and never gives a number twice. The first that is ordered counts.",
    ),
}
"""Every code of evidence."""

UNKNOWN: Final = Explained("A proof of another kind", "Signed statements that contradict each other.", "")

SHORT: Final[dict[str, str]] = {
    "PRE-PREPARE": "the primary proposes a batch of messages for a place in the order",
    "PREPARE": "a vote: I accept this proposal for this place",
    "COMMIT": "a vote: a quorum accepts it, I will never forget that",
    "COMMIT-CERTIFICATE": "the COMMITs of a quorum, passed on: enough to execute",
    "CHECKPOINT": "a replica vouches for its whole state after a place",
    "CHECKPOINT-CERTIFICATE": "the CHECKPOINTs of a quorum, passed on",
    "VIEW-CHANGE": "a replica gives its primary up and shows what it promised so far",
    "NEW-VIEW": "the next primary takes over, with the promises of a quorum",
    "REQUEST": "somebody wants something said in the chat",
    "REPLY": "a replica's signed answer to it; f + 1 equal ones are believed",
    "EVIDENCE": "a proof of misbehaviour, passed on",
    "STATUS": "a replica tells where it stands",
}
"""Messages in one line each."""

WORLDS: Final[dict[str, str]] = {
    "simulator": "in the simulator: the real replicas, ledgers and chat, in virtual time",
    "live": "with real processes: one for each replica, over real connections",
}

SAFE: Final = {
    True: "No two correct replicas ever disagreed, and nobody was shown anything that was not agreed.",
    False: "Something that must never happen did: see the break below.",
}
LIVE: Final = {
    True: "Everything that people asked for was accepted in the end.",
    False: "Not everything that people asked for was accepted in the end.",
}


_HAPPENINGS: Final[dict[str, tuple[str, str]]] = {
    "crashes": ("crashes", "crash"),
    "stops": ("stops", "stop"),
    "starts": ("starts", "start"),
    "pauses": ("pauses", "pause"),
    "resumes": ("resumes", "resume"),
    "alarm": ("raises an alarm", "raise an alarm"),
    "clockstep": ("has its clock moved", "have their clocks moved"),
    "clockstep ends": ("has its clock put right", "have their clocks put right"),
    "diskfull": ("runs out of disk", "run out of disk"),
    "diskfull ends": ("has room on its disk again", "have room on their disks again"),
    "syncfails": ("cannot sync its disk", "cannot sync their disks"),
    "syncfails ends": ("can sync its disk again", "can sync their disks again"),
    "slow": ("gets slow", "get slow"),
    "slow ends": ("is fast again", "are fast again"),
    "lapse": ("has a certificate that lapsed", "have certificates that lapsed"),
    "lapse ends": ("has a valid certificate again", "have valid certificates again"),
    "route": ("loses messages on one link", "loses messages on one link"),
    "route ends": ("is sound again on that link", "is sound again on that link"),
    "cascade": ("takes down whoever leads", "take down whoever leads"),
    "cascade ends": ("gives up", "give up"),
    "restarts": ("restarts replicas", "restart replicas"),
    "restarts ends": ("has finished", "have finished"),
    "breaks": ("notices", "notice"),
}
"""What befalls or is done by one, and by several."""
_NOBODY: Final = {"cascade": "somebody", "restarts": "a script", "breaks": "the checker"}


def happening(what: str, *, many: bool = False) -> str:
    """What becomes of somebody, in words."""
    return _HAPPENINGS.get(what, (what, what))[many]


def nobody(what: str) -> str:
    """Whom to name where it is none of the replicas and people."""
    return _NOBODY.get(what.removesuffix(" ends"), "the network")


def explained(code: str) -> Explained:
    return EVIDENCE.get(code, UNKNOWN)


def broken(invariant: str) -> str:
    """What should have held."""
    return INVARIANTS.get(invariant, invariant)


_UNITS: Final = {
    "ms": "ms",
    "s": "s",
    "us": "µs",
    "bytes": "bytes",
    "kib": "KiB",
    "mib": "MiB",
    "per_s": "per second",
}


_NAMES: Final = {"virtual_ms": "Virtual time"}


def figure(name: str, value: float | str) -> tuple[str, str]:
    """A figure's name in words, and its value with the unit that the name ends with."""
    for suffix, unit in sorted(_UNITS.items(), key=lambda item: -len(item[0])):
        if name.endswith(f"_{suffix}"):
            return _NAMES.get(name, _in_words(name.removesuffix(f"_{suffix}"))), f"{_grouped(value)} {unit}"
    return _in_words(name), _grouped(value)


def _in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _grouped(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}".removesuffix(".0")


def clock(at_ms: float) -> str:
    """A time of the run."""
    if at_ms < 10_000:
        return f"{at_ms:,.1f} ms"
    return f"{at_ms / 1_000:.3f} s" if at_ms < 60_000 else _minutes(at_ms)


def pause(ms: float) -> str:
    """How long nothing of interest happened, in few signs."""
    return f"+ {ms:,.0f} ms" if ms < 1_000 else f"+ {ms / 1_000:,.1f} s"


def _minutes(at_ms: float) -> str:
    minutes, rest = divmod(at_ms / 1_000, 60)
    return f"{minutes:.0f} min {rest:.1f} s"


def listed(names: list[str] | tuple[str, ...]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
