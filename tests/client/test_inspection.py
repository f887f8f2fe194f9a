"""Reports of replicas that lie about themselves: refused or made harmless, never a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clients.console import Output
from clients.status_command import status_table
from pbft.client.inspection import checked_report
from pbft.core.errors import MalformedMessage
from pbft.core.types import ReplicaId

GOOD: dict[str, Any] = {
    "replica": 0,
    "view": 0,
    "primary": 0,
    "role": "voting",
    "last_executed": 5,
    "stable_checkpoint": 0,
    "state_root": "ab" * 32,
    "agreed_time_ms": 1,
    "pending_requests": 0,
    "open_slots": [],
    "peers": {"1": {"up": True, "failure": None, "dials": 1, "dropped_frames": 0}},
    "clients": 1,
    "ledger_commits": 3,
    "ignored": {},
    "closed_connections": {},
    "evidence": 0,
    "evidence_dropped": 0,
    "alarms": [],
    "uptime_s": 1.0,
    "cpu_s": 0.5,
}


def test_a_replica_cannot_call_itself_another_nor_say_more_than_a_report_has() -> None:
    report = checked_report(json.dumps(GOOD | {"replica": 0, "up": False, "secret": 1}).encode(), ReplicaId(3))
    assert report["replica"] == 3
    assert set(report) == set(GOOD)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"[" * 100_000, b'{"a":' * 50_000, json.dumps(GOOD | {"view": "x"}).encode()],
    ids=["nothing", "no field", "list", "null", "deep list", "deep object", "wrong type"],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="not what a replica reports"):
        checked_report(data, ReplicaId(0))


def test_texts_of_a_report_can_neither_move_the_cursor_nor_break_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    alarms = ["\x1b[2J[/red][bold]", "line\nbreak"]
    report = checked_report(json.dumps(GOOD | {"alarms": alarms, "role": "[/x]\x07"}).encode(), ReplicaId(1))
    assert report["alarms"] == ["?[2J[/red][bold]", "line?break"]
    Output(as_json=False).out.print(status_table([report, "[/red] down"]))
    assert "[/red]" in capsys.readouterr().out
