"""Reads in turn, and those of clients that take nothing."""

from __future__ import annotations

from pathlib import Path

from pbft.core.effects import EventsDone, QueryDone, ReadEvents, RunQuery
from pbft.core.types import EventIndex
from pbft.node.clock import Clock
from pbft.node.reads import Reads
from pbft.state.executor import open_state
from tests.harness.keys import make_group
from tests.state.toy import Toy

MEMBERS = make_group(4)
DEAF, MODEST = MEMBERS.device("deaf").public_key, MEMBERS.device("modest").public_key


def test_queries_of_a_client_that_takes_nothing_are_not_answered_and_its_streams_wait(tmp_path: Path) -> None:
    deaf = {DEAF}
    executor = open_state(tmp_path / "state.sqlite", Toy(), MEMBERS.group)
    try:
        reads = Reads(executor, Clock(), lambda device: device not in deaf)
        stream = ReadEvents(device=DEAF, subscription=1, topic=b"log", start=EventIndex(0), limit=1)
        queries = [RunQuery(device=device, query_id=1, query=b"log") for device in (DEAF, MODEST)]
        reads.add([stream, *queries])
        done = []
        while reads.can_go_on:
            done += reads.next_slice()
        declined, answered = done
        assert isinstance(declined, QueryDone)
        assert (declined.device, declined.result) == (DEAF, None)
        assert isinstance(answered, QueryDone)
        assert answered.device == MODEST
        assert answered.result is not None
        assert len(reads) == 1
        deaf.clear()
        (streamed,) = reads.next_slice()
        assert isinstance(streamed, EventsDone)
    finally:
        executor.close()
