"""What is worth a mark in a step of an honest replica, and what its alarms mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from adversary.simulator.marks import Marks
from pbft.core.effects import Effects, Input, Received, RecordKind, Timer, TimerExpired
from pbft.core.evidence import encode_evidence
from pbft.core.messages import NewView, SharedEvidence, Signed, ViewChange

if TYPE_CHECKING:
    from adversary.simulator.host import Host

PROVEN: Final = {
    "E1": "two proposals proven (E1)",
    "E2": "two PREPAREs proven (E2)",
    "E3": "two COMMITs proven (E3)",
    "E4": "two CHECKPOINTs proven (E4)",
    "E5": "a hidden COMMIT proven (E5)",
    "E6": "two VIEW-CHANGEs proven (E6)",
    "E7": "a false NEW-VIEW proven (E7)",
    "E8": "a forged request in a proposal proven (E8)",
    "CLIENT-EQUIVOCATION": "client equivocation proven",
}
"""Marks by code of evidence."""

_HARMLESS: Final = (
    (re.compile(r"^view \d+ is given up: .* ordered "), "primary dismissed as slow"),
    (re.compile(r"^view \d+ is given up: .* passed a client by "), "primary dismissed as unfair"),
    (re.compile(r"^this replica votes again"), ""),
)
_BLAMED: Final = re.compile(r"^state transfer to \d+: replica (\d+) served (rows of page|an answer about pages)?")


def alarm_says(text: str) -> tuple[bool, str, int | None]:
    """Whether an alarm is no sign of anything wrong here, the mark for it, and whom it blames."""
    for pattern, mark in _HARMLESS:
        if pattern.match(text):
            return True, mark, None
    blamed = _BLAMED.match(text)
    if blamed is not None:
        mark = "a false page refused" if blamed[2] else "a liar blamed in state transfer"
        return True, mark, int(blamed[1])
    return False, "", None


def seen_in(host: Host, inputs: Sequence[Input], effects: Effects, marks: Marks) -> None:
    """The step is over, its effects are not carried out."""
    timers = {given.timer for given in inputs if isinstance(given, TimerExpired)}
    views = host.replica.views
    if views.timer.level > 0:
        marks.reach("view timeout doubled")
    if views.timer.level > 1 and host.replica.log.in_view:
        marks.reach("view change after two failed ones")
    if host.replica.log.in_view and host.replica.log.view > 0:
        marks.reach("view change")
    _see_view_change(host, inputs, timers, effects, marks)
    if effects.evidence and _was_told(host, inputs, effects):
        marks.reach("proof told by a peer")
    if any(record.kind is RecordKind.BODY for record in effects.archive):
        marks.reach("body fetched by digest")


def _was_told(host: Host, inputs: Sequence[Input], effects: Effects) -> bool:
    told = {
        item.message.data
        for given in inputs
        if isinstance(given, Received)
        for item in given.messages
        if isinstance(item.message, SharedEvidence)
    }
    return any(encode_evidence(host.replica.group, evidence) in told for evidence in effects.evidence)


def _own(host: Host, effects: Effects) -> list[ViewChange | NewView]:
    """What it says of views in this step for the first time."""
    stored = {record.data for record in effects.persist}
    return [
        send.message.message
        for send in effects.send
        if isinstance(send.message, Signed)
        and isinstance(send.message.message, ViewChange | NewView)
        and send.message.signer == host.me
        and send.message.wire in stored
    ]


def _see_view_change(host: Host, inputs: Sequence[Input], timers: set[Timer], effects: Effects, marks: Marks) -> None:
    own = _own(host, effects)
    left = any(isinstance(said, ViewChange) for said in own)
    if Timer.VIEW_CHANGE in timers and not left and not effects.timers:
        marks.reach("stale timer ignored")
    if left:
        alarms = any(alarm.text.startswith("view ") for alarm in effects.alarms)
        accused = any(evidence.code == "E7" for evidence in effects.evidence)
        if not timers and not accused and any(isinstance(given, Received) for given in inputs):
            marks.reach("joined a view change of others")
        elif timers == {Timer.STATUS} and not alarms and all(isinstance(given, TimerExpired) for given in inputs):
            marks.reach("planned view change for a mute or stranded peer")
    for said in own:
        for each in said.pre_prepares if isinstance(said, NewView) else ():
            vote = each.message
            slot = host.replica.log.get(vote.sequence)
            if slot is None or vote.sequence <= host.replica.log.last_executed:
                continue
            if slot.holds(vote.batch_digest) is None:
                marks.reach("new primary without a body")
