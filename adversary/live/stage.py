"""What an attack's parts share while it goes on: the group, the people, and what happened when."""

from __future__ import annotations

import ast
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import trio

from adversary.attacks.model import Attack
from adversary.attacks.outcome import Moment
from adversary.behaviours.catalogue import false_speakers
from adversary.live.group import LiveGroup, Seat
from adversary.live.people import Journal, Said
from adversary.network.route import Place
from adversary.simulator.scenario import Damage, Route
from pbft.client.inspection import Report
from pbft.core.errors import MalformedMessage

_ALARM: Final = re.compile(r"^(?P<at>\S+) \[error\s*\] alarm .*?\btext=(?P<text>.*)$")
"""A line of a node's log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    replica: int
    at_s: float
    """In seconds of the wall clock."""
    text: str


def alarm_in(replica: int, line: str) -> Alarm | None:
    """The alarm that a line of a replica's log tells of."""
    found = _ALARM.match(line)
    if found is None:
        return None
    text = found["text"]
    if text[:1] in {"'", '"'}:
        text = str(ast.literal_eval(text))
    return Alarm(replica=replica, at_s=datetime.fromisoformat(found["at"]).timestamp(), text=text)


MALFORMED: Final = MalformedMessage.__name__
"""What a connection is reported to have been closed for, if its bytes were no message."""
ROT: Final = "flipped_state"
MOMENTS_MAX = 20_000
WATCH_SECONDS = 0.4


@dataclass
class Stage:
    """`began`: when the attack began, by `time.monotonic`; times of moments count from there."""

    attack: Attack
    group: LiveGroup
    seed: int
    tell: Callable[[str], None] = lambda _text: None
    journal: Journal = field(default_factory=Journal)
    moments: list[Moment] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    problems: list[str] = field(default_factory=list)
    """What went wrong with the attack, and would again."""
    missed: list[str] = field(default_factory=list)
    """Why the attack did not take place as it should have, this time."""
    breaks: list[tuple[str, str]] = field(default_factory=list)
    """Invariants that parts of the attack found broken, by name, and how."""
    not_before: float = 0.0
    """When the attack may begin, by `time.monotonic`."""
    not_after: float = 0.0
    """When it must have begun, if it depends on what time it is."""
    to_be_noticed: list[tuple[Seat, str]] = field(default_factory=list)
    """Damage, by what a log must say of it in the end."""
    lapsed: set[int] = field(default_factory=set)
    """Replicas whose certificates are no longer valid."""
    late: str = ""
    """Who waited for too long, if anybody did."""
    figures: dict[str, int | float | str] = field(default_factory=dict)
    deeds: Counter[str] = field(default_factory=Counter)
    """What people and attackers that misbehave did, by what it is."""
    applied: set[int] = field(default_factory=set)
    """Faults, by id, that were really carried out."""
    peaks: dict[tuple[str, int], int] = field(default_factory=dict)
    """By counter and seat: the most that a replica that is not played has reported of it. A restart begins at 0."""
    transferred: set[int] = field(default_factory=set)
    """Replicas that were seen to fetch a state."""
    alarms: list[Alarm] = field(default_factory=list)
    """All that replicas that are not played have raised, as their logs have it."""
    damaged: set[int] = field(default_factory=set)
    """Replicas whose disks were changed: they count among the faulty."""
    forgetful: set[int] = field(default_factory=set)
    """Those of them that cannot know it, and may be accused."""
    devices: dict[str, str] = field(default_factory=dict)
    """Honest people's keys in hexadecimal, and whose they are."""
    views: dict[int, int] = field(default_factory=dict)
    cuts: dict[int, dict[tuple[Place, Place], str]] = field(default_factory=dict)
    """By fault: the routes that it takes away, and how: `refused` or `held`."""
    slowed: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By fault: the replica that it slows down, and by how many seconds."""

    def __post_init__(self) -> None:
        self.journal.tell = self._on_said

    def restart_clock(self) -> None:
        """The attack begins now. What was before it stands at its beginning, in its order."""
        self.began = time.monotonic()
        self.moments = [replace(moment, at_ms=0.0) for moment in self.moments]

    def accepted_since_it_began(self) -> int:
        times = [said.accepted_at for said in self.journal.accepted if said.accepted_at is not None]
        return sum(at >= self.began for at in times)

    def now_ms(self) -> float:
        return round((time.monotonic() - self.began) * 1000, 1)

    @property
    def is_over(self) -> bool:
        """Whether the attack has had its time."""
        return self.now_ms() >= self.attack.until_ms

    def moment(self, source: str, what: str, text: str = "", *, view: int | None = None, told: bool = True) -> None:
        if len(self.moments) < MOMENTS_MAX:
            self.moments.append(Moment(at_ms=self.now_ms(), source=source, what=what, text=text, view=view))
        if told:
            self.tell(f"{self.now_ms() / 1000:6.2f} s  {source or 'network'} {what}{': ' if text else ''}{text}")

    def _on_said(self, said: Said) -> None:
        if said.accepted_at is not None and said.sequence is not None and len(self.moments) < MOMENTS_MAX:
            text = f"{said.what}, after {(said.accepted_at - said.asked_at) * 1000:.0f} ms, from " + ", ".join(
                map(str, said.vouchers)
            )
            self.moments.append(
                Moment(
                    at_ms=self.now_ms(),
                    source=f"client {said.who}",
                    what="accepted",
                    text=text,
                    sequence=said.sequence,
                )
            )

    # -- who is what

    @property
    def played(self) -> set[int]:
        return {liar.replica for liar in self.attack.cast}

    @property
    def faulty(self) -> set[int]:
        return self.played | self.damaged

    @property
    def failing(self) -> set[int]:
        """Those, and whose process or clock fails."""
        named = (getattr(fault, "replica", None) for fault in self.attack.happens if not isinstance(fault, Route))
        return self.faulty | {replica for replica in named if replica is not None}

    @property
    def untrusted(self) -> set[int]:
        """Whom evidence may name: not those who are only mute, deaf or slow."""
        return {*false_speakers((liar.replica, liar.strategy) for liar in self.attack.cast), *self.forgetful}

    @property
    def rotten(self) -> set[int]:
        """Whose rows were changed: until it notices, it may tell people what is false."""
        return {each.replica for each in self.attack.happens if isinstance(each, Damage) and each.what == ROT}

    def honest(self) -> list[Seat]:
        """Seats that must be level in the end: all but those that are played."""
        return [seat for seat in self.group.seats[: self.group.file.group.size] if seat.replica not in self.played]

    # -- what was seen

    def saw(self, number: int, report: Report) -> None:
        """Keep of a replica's report what a later one may not tell any more."""
        counted = {f"ignored {reason}": count for reason, count in report["ignored"].items()}
        counted["view"] = 0 if report["in_view_change"] else report["view"]
        counted["timeout doublings"] = report["timeout_doublings"]
        counted["malformed frames"] = report["closed_connections"].get(MALFORMED, 0)
        counted["slowed links"] = report["slowed_links"]
        counted["shed"] = sum(report["shed"].values())
        for name, count in counted.items():
            self.peaks[name, number] = max(count, self.peaks.get((name, number), 0))
        if report["transfer"] is not None:
            self.transferred.add(number)

    def peak(self, name: str) -> int:
        """The most that one of them has reported."""
        return max((count for (what, _), count in self.peaks.items() if what == name), default=0)

    def read_alarms(self) -> None:
        """Out of the logs, which outlive the processes: whatever was alarmed about counts, whenever that was."""
        began = time.time() - (time.monotonic() - self.began)
        for seat in self.honest():
            for line in self.group.log_lines(seat):
                alarm = alarm_in(seat.replica, line)
                if alarm is None:
                    continue
                self.alarms.append(alarm)
                at_ms = round((alarm.at_s - began) * 1000, 1)
                if len(self.moments) < MOMENTS_MAX:
                    self.moments.append(
                        Moment(at_ms=at_ms, source=f"replica {seat.replica}", what="raises an alarm", text=alarm.text)
                    )

    def note_exits(self) -> None:
        """An honest process ends when it is ended, and never by itself, at no time of the attack."""
        for each in self.group.unwanted():
            if each.was_slow or each.replica in self.played:
                self.problems.append(str(each))
            else:
                self.breaks.append(("internal", str(each)))

    # -- the network

    def recut(self) -> None:
        """Make the network what all faults together leave of it."""
        network = self.group.network
        if network is None:
            return
        how: dict[tuple[Place, Place], set[str]] = {}
        for cut in self.cuts.values():
            for pair, kind in cut.items():
                how.setdefault(pair, set()).add(kind)
        for pair in network.routes:
            kinds = how.get(pair, set())
            delay_s = self._usual_delay_s(pair) + sum(each for who, each in self.slowed.values() if who in pair)
            rule = network.route(*pair).rule
            wanted = ("refused" in kinds, "held" in kinds, delay_s)
            if (rule.refused, rule.held, rule.delay_s) != wanted:
                network.change([pair], refused=wanted[0], held=wanted[1], delay_s=delay_s)

    def _usual_delay_s(self, pair: tuple[Place, Place]) -> float:
        return 0.0 if "clients" in pair else self.attack.network.delay_us / 1e6

    def heal_network(self) -> None:
        self.cuts.clear()
        self.slowed.clear()
        if self.group.network is not None:
            self.group.network.heal()

    def narrow(self) -> None:
        """What the attack says of the network as a whole. Bytes of a connection are not lost: it is cut instead."""
        network, wanted = self.group.network, self.attack.network
        if network is not None:
            network.change(
                [pair for pair in network.routes if "clients" not in pair],
                delay_s=wanted.delay_us / 1e6,
                jitter_s=wanted.jitter_us / 1e6,
                cut_chance=min(1.0, wanted.loss / 1000 * CUT_SHARE),
            )

    # -- watching

    async def watch(self) -> None:
        """Note views as they change, until cancelled."""
        while True:
            reports = await self.group.reports(self.honest())
            for number, report in sorted(reports.items()):
                self.saw(number, report)
                view = int(report["view"])
                if view > self.views.get(number, 0) and not report["in_view_change"]:
                    self.views[number] = view
                    self.moment(f"replica {number}", "enters view", str(view), view=view)
            await trio.sleep(WATCH_SECONDS)


CUT_SHARE = 0.05
"""A lost frame costs a link a few milliseconds; a cut connection costs it some tens of them."""
