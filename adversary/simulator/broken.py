"""The invariants, by name, and what is raised when one does not hold."""

from __future__ import annotations

from typing import Final

INVARIANTS: Final = {
    "agreement": "no two correct replicas execute different batches at one sequence number",
    "order": "batches are executed in order, without gaps, and a checkpoint is never undone",
    "signed requests": "only what a client signed is executed",
    "exactly once": "an operation has its effect once",
    "equal roots": "correct replicas at one checkpoint have one root, and raise no alarm",
    "model": "results and state are those of an independent model of the chat",
    "stored first": "nothing is sent that is not durable",
    "one vote": "a correct replica never makes two different votes for one thing, also not after a crash",
    "well-formed": "correct replicas send nothing that others cannot open",
    "one spelling": "what a correct replica takes in is in the one encoding of its value",
    "bounded memory": "tables and queues keep to their bounds",
    "timer": "a live replica always has a timer set",
    "real time": "what is sent after another operation was accepted is ordered after it",
    "replies": "what a client accepts is what the correct replicas executed",
    "answers": "correct replicas give one answer to one question at one sequence number",
    "honest evidence": "nobody accuses a correct replica",
    "evidence found": "a correct replica that received two contradicting statements proves it",
    "internal": "no correct replica contradicts itself",
    "storage": "no correct replica finds its stores damaged that nobody damaged",
    "progress": "after faults are over, every operation is accepted and all replicas of the core agree",
    "one prepared": "no two correct replicas hold prepared certificates for different batches in one view and slot",
    "accepted kept": "what a client saw accepted stays where it was executed",
    "stable state": "a checkpoint that a quorum vouches for is the state that correct replicas had",
    "floor": "nobody waits longer for an operation than the scenario allows",
}


class Broken(Exception):  # noqa: N818 - an invariant is
    """An invariant does not hold. Ends the run."""

    def __init__(self, invariant: str, text: str) -> None:
        INVARIANTS[invariant]
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text
