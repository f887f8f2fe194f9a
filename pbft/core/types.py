"""The protocol's own integers and names, each with a type of its own."""

from __future__ import annotations

from typing import NamedTuple, NewType

ReplicaId = NewType("ReplicaId", int)
View = NewType("View", int)
SequenceNumber = NewType("SequenceNumber", int)
Epoch = NewType("Epoch", int)
SessionNumber = NewType("SessionNumber", int)
"""Chosen by a client device when it starts; a later session has a larger number."""
ClientSequence = NewType("ClientSequence", int)
"""Counts a session's operations from 0; (device key, session, client sequence) names an operation for ever."""
EventIndex = NewType("EventIndex", int)
"""Position of an event in its topic, from 0, without gaps."""
Milliseconds = NewType("Milliseconds", int)
"""A point in time (since 1970-01-01 UTC) or a duration; which of the two, the name says."""


class Now(NamedTuple):
    """A reading of the node's clocks. Only timestamps of batches use the wall clock, which may jump."""

    steady: Milliseconds
    """Never goes back; says nothing across restarts."""
    wall: Milliseconds
    """Since 1970-01-01 UTC."""
