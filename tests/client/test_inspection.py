"""Reports of replicas that lie about themselves: refused or made harmless, never a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clients.console import Output
from clients.status_command import remarks, status_table, trouble
from pbft.client.inspection import Report, checked_report
from pbft.core.errors import MalformedMessage
from pbft.core.types import ReplicaId
from tests.harness.keys import make_group

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
    "in_view_change": False,
    "waiting_for": None,
    "transfer": None,
}
TRANSFER = {"checkpoint": 128, "pages_wanted": 40, "pages_fetched": 10, "bytes_fetched": 2_500_000}


def test_a_replica_cannot_call_itself_another_nor_say_more_than_a_report_has() -> None:
    report = checked_report(json.dumps(GOOD | {"replica": 0, "up": False, "secret": 1}).encode(), ReplicaId(3))
    assert report["replica"] == 3
    assert set(report) == set(GOOD)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"[" * 100_000, b'{"a":' * 50_000],
    ids=["nothing", "no field", "list", "null", "deep list", "deep object"],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="not what a replica reports"):
        checked_report(data, ReplicaId(0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("view", "x"),
        ("in_view_change", 1),
        ("waiting_for", {"replicas": [256], "what": "x"}),
        ("waiting_for", {"replicas": [-1], "what": "x"}),
        ("waiting_for", {"replicas": ["[/red]"], "what": "x"}),
        ("waiting_for", {"replicas": [0] * 65, "what": "x"}),
        ("waiting_for", {"replicas": [0], "what": "x" * 501}),
        ("waiting_for", {"replicas": [0]}),
        ("waiting_for", "replica 0"),
        ("transfer", TRANSFER | {"pages_wanted": -1}),
        ("transfer", TRANSFER | {"bytes_fetched": 2**63}),
        ("transfer", TRANSFER | {"checkpoint": None}),
        ("transfer", {}),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(field: str, value: Any) -> None:
    with pytest.raises(MalformedMessage, match="not what a replica reports"):
        checked_report(json.dumps(GOOD | {field: value}).encode(), ReplicaId(0))


def test_a_replica_that_knows_nothing_of_view_changes_and_transfers_is_heard_all_the_same() -> None:
    older = {name: value for name, value in GOOD.items() if name not in {"in_view_change", "waiting_for", "transfer"}}
    assert checked_report(json.dumps(older).encode(), ReplicaId(0)) == GOOD


# -- what the table makes of it

GROUP = make_group(4).group


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on which a row is one line."""
    monkeypatch.setenv("COLUMNS", "200")


def report_of(replica: int, **fields: Any) -> Report:
    return checked_report(json.dumps(GOOD | fields).encode(), ReplicaId(replica))


def shown(answers: list[Report | str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The table's lines without the title."""
    Output(as_json=False).out.print(status_table(answers, GROUP))
    return capsys.readouterr().out.splitlines()[1:]


def remark_of(report: Report, capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = shown([report], capsys)
    return line.partition("1/1")[2].strip()


def test_a_replica_that_is_well_has_no_remark(capsys: pytest.CaptureFixture[str]) -> None:
    assert remark_of(report_of(0), capsys) == ""


@pytest.mark.parametrize(
    ("fields", "remark"),
    [
        ({"waiting_for": {"replicas": [2], "what": "COMMIT of 17"}}, "waits for replica 2: COMMIT of 17"),
        ({"waiting_for": {"replicas": [1, 3], "what": "NEW-VIEW"}}, "waits for replicas 1 3: NEW-VIEW"),
        ({"waiting_for": {"replicas": [], "what": "a batch"}}, "waits for the others: a batch"),
        ({"in_view_change": True, "view": 3}, "no primary: changing to view 3"),
        ({"transfer": TRANSFER}, "fetches the state of checkpoint 128: 10 of 40 pages, 2.5 MB"),
        ({"evidence": 2, "alarms": ["its disk is slow"]}, "its disk is slow; 2 proofs of misbehaviour"),
    ],
)
def test_the_remark_says_what_is_wrong(
    fields: dict[str, Any], remark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert remark_of(report_of(0, **fields), capsys) == remark


def test_a_replica_is_seen_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    other_root, link_down = "cd" * 32, {"1": {"up": False, "failure": "refused", "dials": 9, "dropped_frames": 0}}
    lines = shown(
        [
            report_of(0, last_executed=25),
            report_of(1, last_executed=25, state_root=other_root, role="diverged"),
            report_of(2, last_executed=25),
            report_of(3, role="mute", peers=link_down),
            "no answer within 5 s",
        ],
        capsys,
    )
    assert [line.split()[:2] for line in lines] == [
        ["0", "voting"],
        ["1", "diverged"],
        ["2", "voting"],
        ["3", "mute"],
        ["4", "down"],
    ]
    assert "(primary)" in lines[0]
    assert lines[1].rstrip().endswith("its state differs from the others' at the same place")
    assert lines[3].rstrip().endswith("20 batches behind; no link to 1")
    assert lines[4].rstrip().endswith("no answer within 5 s")


def remarks_at(*places: int) -> list[list[str]]:
    """What is said of replicas that have executed so far; no other trouble is in these reports."""
    reports = [report_of(replica, last_executed=place) for replica, place in enumerate(places)]
    return [remarks(report, reports, GROUP) for report in reports]


def test_one_liar_cannot_make_the_others_look_behind() -> None:
    ahead = f"says that it is {2**62 - 500} batches ahead, which too few others confirm"
    assert remarks_at(500, 499, 2**62, 500) == [[], [], [ahead], []]


def test_a_replica_is_behind_what_f_plus_1_replicas_have_executed() -> None:
    assert remarks_at(500, 500, 484, 485) == [[], [], ["16 batches behind"], []]
    assert remarks_at(500, 90, 2**62, 499) == [
        [],
        ["410 batches behind"],
        [f"says that it is {2**62 - 500} batches ahead, which too few others confirm"],
        [],
    ]


def test_nobody_is_ahead_or_behind_when_fewer_than_f_plus_1_answer() -> None:
    assert remarks_at(500) == [[]]


def test_why_a_group_cannot_order_messages() -> None:
    up, mute, down = report_of(0), report_of(0, role="mute"), "no answer"
    assert trouble([up, up, up, down], GROUP) is None
    assert trouble([up, up, down, down], GROUP) == "2 of 4 replicas answer; 3 are needed to order messages"
    assert trouble([up, up, mute, mute], GROUP) == "2 of 4 replicas vote; 3 are needed to order messages"


def test_texts_of_a_report_can_neither_move_the_cursor_nor_break_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    alarms = ["\x1b[2J[/red][bold]", "line\nbreak"]
    report = checked_report(json.dumps(GOOD | {"alarms": alarms, "role": "[/x]\x07"}).encode(), ReplicaId(1))
    assert report["alarms"] == ["?[2J[/red][bold]", "line?break"]
    Output(as_json=False).out.print(status_table([report, "[/red] down"], GROUP))
    assert "[/red]" in capsys.readouterr().out
