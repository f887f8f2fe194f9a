"""Reports of replicas that lie about themselves: refused or made harmless, never a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from clients.console import Output
from clients.status_command import remark_table, remarks, status_table, trouble
from crypto.tls import make_tls_identity
from pbft.client.directory import GroupDirectory, ReplicaContact
from pbft.client.inspection import Report, checked_report, inspect_all
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
    "proven": {},
    "alarms": [],
    "uptime_s": 1.0,
    "cpu_s": 0.5,
    "in_view_change": False,
    "timeout_doublings": 0,
    "waiting_for": None,
    "transfer": None,
    "dropped_messages": 0,
    "shed": {},
    "slowed_links": 0,
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
        ("proven", {"x": {}}),
        ("proven", {"0": {"E1": -1}}),
        ("proven", {"0": {"E" * 25: 1}}),
        ("proven", {str(number): {} for number in range(65)}),
        ("proven", [0]),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(field: str, value: Any) -> None:
    with pytest.raises(MalformedMessage, match="not what a replica reports"):
        checked_report(json.dumps(GOOD | {field: value}).encode(), ReplicaId(0))


def test_a_replica_that_knows_nothing_of_view_changes_and_transfers_is_heard_all_the_same() -> None:
    later = {"in_view_change", "timeout_doublings", "waiting_for", "transfer", "proven"}
    older = {name: value for name, value in GOOD.items() if name not in later}
    assert checked_report(json.dumps(older).encode(), ReplicaId(0)) == GOOD | {"proven": None}


# -- what the table makes of it

GROUP = make_group(4).group


def report_of(replica: int, **fields: Any) -> Report:
    return checked_report(json.dumps(GOOD | fields).encode(), ReplicaId(replica))


def shown(answers: list[Report | str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The table's lines without the title."""
    Output(as_json=False).out.print(status_table(answers))
    return capsys.readouterr().out.splitlines()[1:]


def remarked(answers: list[Report | str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines below it, without the spaces that align them."""
    below = remark_table(answers, GROUP)
    if below is None:
        return []
    Output(as_json=False).out.print(below)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_replica_that_is_well_has_no_remark() -> None:
    assert remark_table([report_of(0)], GROUP) is None


@pytest.mark.parametrize(
    ("fields", "remark"),
    [
        ({"waiting_for": {"replicas": [2], "what": "COMMIT of 17"}}, "waits for replica 2: COMMIT of 17"),
        ({"waiting_for": {"replicas": [1, 3], "what": "NEW-VIEW"}}, "waits for replicas 1 3: NEW-VIEW"),
        ({"waiting_for": {"replicas": [], "what": "a batch"}}, "waits for the others: a batch"),
        ({"in_view_change": True, "view": 3}, "no primary: changing to view 3"),
        ({"transfer": TRANSFER}, "fetches the state of checkpoint 128: 10 of 40 pages, 2.5 MB"),
        (
            {"transfer": TRANSFER | {"pages_wanted": 0, "pages_fetched": 0, "bytes_fetched": 0}},
            "fetches the state of checkpoint 128: nothing of it has come yet",
        ),
        (
            {"evidence": 3, "proven": {"0": {"E3": 1, "E1": 2}}},
            "says that it holds proofs against replica 0 (E1 x2, E3)",
        ),
        ({"evidence": 1}, "1 proof of misbehaviour by clients"),
    ],
)
def test_the_remark_says_what_is_wrong(fields: dict[str, Any], remark: str) -> None:
    report = report_of(0, **fields)
    assert remarks(report, [report], GROUP) == [remark]


def test_every_remark_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(0, evidence=2, alarms=["its disk is slow"], proven={"2": {"E7": 2}})
    assert remarked([report], capsys) == [
        "replica 0 its disk is slow",
        "says that it holds proofs against replica 2 (E7 x2)",
    ]


def test_a_replica_is_seen_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    other_root, link_down = "cd" * 32, {"1": {"up": False, "failure": "refused", "dials": 9, "dropped_frames": 0}}
    answers: list[Report | str] = [
        report_of(0, last_executed=25),
        report_of(1, last_executed=25, state_root=other_root, role="diverged"),
        report_of(2, last_executed=25),
        report_of(3, role="mute", peers=link_down),
        "no answer within 5 s",
    ]
    assert [line.split()[:3] for line in shown(answers, capsys)] == [
        ["0", "(primary)", "voting"],
        ["1", "diverged", "0"],
        ["2", "voting", "0"],
        ["3", "mute", "0"],
        ["4", "down"],
    ]
    assert remarked(answers, capsys) == [
        "replica 1 its state differs from the others' at the same place",
        "replica 3 20 batches behind",
        "no link to 1",
        "replica 4 no answer within 5 s",
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_no_report_makes_the_table_wider_than_a_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    usual = report_of(0, role="transferring", view=1234, in_view_change=True, last_executed=1_000_000)
    liar = report_of(1, role="x" * 500, last_executed=2**62, view=2**62, pending_requests=2**62, alarms=["y " * 200])
    answers: list[Report | str] = [usual, liar]
    first, second = shown(answers, capsys)
    assert first.split() == ["0", "(primary)", "transferring", "1234...", "1000000", "0", "abababab", "0", "1/1"]
    assert max(len(first), len(second)) <= columns
    Output(as_json=False).out.print(remark_table(answers, GROUP))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


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
    fetching = report_of(0, role="transferring")
    assert trouble([up, up, up, fetching], GROUP) is None
    assert trouble([up, up, fetching, down], GROUP) == (
        "2 of 4 replicas vote (1 fetching state); 3 are needed to order messages"
    )


async def test_a_replica_that_does_not_run_is_said_to_refuse() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    certificate = make_tls_identity("replica-0").certificate_der
    contacts = tuple(ReplicaContact(host="127.0.0.1", port=port, certificate_der=certificate) for _ in range(4))
    directory = GroupDirectory(group=GROUP, replicas=contacts)
    answers = await inspect_all(directory, timeout_s=5)
    assert answers == [f"127.0.0.1:{port}: connection refused"] * 4


def test_texts_of_a_report_can_neither_move_the_cursor_nor_break_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    alarms = ["\x1b[2J[/red][bold]", "line\nbreak"]
    report = checked_report(json.dumps(GOOD | {"alarms": alarms, "role": "[/x]\x07"}).encode(), ReplicaId(1))
    assert report["alarms"] == ["?[2J[/red][bold]", "line?break"]
    answers: list[Report | str] = [report, "[/red] down"]
    assert "[/x]?" in shown(answers, capsys)[0]
    assert remarked(answers, capsys) == ["replica 0 ?[2J[/red][bold]", "line?break", "replica 1 [/red] down"]
