"""What keeps a node from starting, or a group from being founded: one line each, with the file and a remedy."""

from __future__ import annotations

import re
import shutil
import signal
import socket
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chatsvc.application.chat import ChatApplication
from chatsvc.application.limits import ChatLimits
from chatsvc.expiry import EXPIRY_WARNING_DAYS, expiring
from chatsvc.founding import NAME_CHARACTERS_MAX, USUAL_LIMITS, ledger_identity
from chatsvc.groupfile import GroupFile, Member, read_group_file, render_group_file
from chatsvc.process import STATE_NAME
from chatsvc.search_index import SearchIndex
from crypto.tls import make_tls_identity, write_tls_identity
from pbft.core.effects import Record, RecordKind
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.node.ledger import Ledger
from pbft.node.ledger_files import LEDGER_NAME, WITNESS_NAME
from pbft.state.executor import open_state
from tests.chatsvc_process.processes import command, make_group, node, run, started


def refused(directory: Path, replica: int = 0, *, code: int = 1) -> str:
    """The one line that a node says instead of starting."""
    finished = run("node", directory, "--replica", replica)
    assert finished.code == code
    (line,) = finished.errors
    assert line.startswith("quorate: ")
    return line.removeprefix("quorate: ")


# -- files of the replica


@pytest.mark.parametrize("name", ["signing.key", "tls.pem"])
def test_a_missing_file_of_secrets(directory: Path, name: str) -> None:
    path = directory / "replica-0" / name
    path.unlink()
    assert refused(directory) == f"{path}: file: No such file or directory; check the path, or make the key first"


@pytest.mark.parametrize("name", ["signing.key", "tls.pem"])
def test_exposed_permissions(directory: Path, name: str) -> None:
    path = directory / "replica-0" / name
    path.chmod(0o644)
    assert refused(directory).startswith(
        f"{path}: permissions: others than its owner have access (mode 0644); run: chmod 600 {path}"
    )


@pytest.mark.parametrize("name", ["signing.key", "tls.pem"])
def test_a_file_of_another_replica(directory: Path, name: str) -> None:
    path = directory / "replica-0" / name
    shutil.copy(directory / "replica-1" / name, path)
    what = {"signing.key": "key", "tls.pem": "certificate"}[name]
    line = refused(directory)
    assert line.startswith(f"{path}: this {what} is not the one of replica 0 in {directory / 'group.toml'}; put the")


@pytest.mark.parametrize("name", ["signing.key", "tls.pem"])
def test_a_file_cut_in_half(directory: Path, name: str) -> None:
    path = directory / "replica-0" / name
    path.write_bytes(path.read_bytes()[:150])
    line = refused(directory)
    assert line.startswith(f"{path}: ")
    assert "restore the file from a copy" in line


def test_no_directory_of_the_replica(directory: Path) -> None:
    shutil.rmtree(directory / "replica-0")
    remedy = "a replica's directory is made by 'quorate init'"
    assert refused(directory) == f"{directory}/replica-0: there is no such directory; {remedy}"


@pytest.mark.parametrize("replica", [-1, 4])
def test_a_replica_that_is_none(directory: Path, replica: int) -> None:
    assert refused(directory, replica, code=2) == f"--replica {replica}: the group has replicas 0 to 3"


# -- stores


def test_the_state_of_another_group(directory: Path, tmp_path: Path) -> None:
    other = make_group(tmp_path / "other").group
    index = SearchIndex()
    open_state(directory / "replica-0" / STATE_NAME, ChatApplication(index, ChatLimits()), other, index).close()
    line = refused(directory)
    assert line.startswith(f"{directory}/replica-0/state.sqlite: group_id is ")
    assert "check the group file: this is the state of another group" in line


def vote_of(file: GroupFile, replica: int) -> None:
    """Something in the replica's ledger."""
    identity = ledger_identity(file.group, file.members[replica].signing_key)
    ledger = Ledger(file.replica_directory(ReplicaId(replica)), identity, retained_sequences=1)
    ledger.append([Record(RecordKind.PREPARE, SequenceNumber(1), b"a vote")])
    ledger.close()


def test_the_ledger_of_another_replica(directory: Path) -> None:
    for name in (LEDGER_NAME, WITNESS_NAME):
        shutil.copy(directory / "replica-1" / name, directory / "replica-0")
    line = refused(directory)
    assert line.startswith(f"{directory}/replica-0/ledger.sqlite: ")
    assert "another group or replica" in line
    assert not list(directory.glob("replica-0/*damaged*")), "it is left alone"


@pytest.mark.parametrize("lost", ["ledger.sqlite", "ledger.witness", "*ledger*"])
async def test_a_ledger_that_is_lost_begins_again_and_says_so(directory: Path, lost: str) -> None:
    """Every replica got one when its group was founded: one without has forgotten."""
    home = directory / "replica-0"
    for path in home.glob(lost):
        path.unlink()
    async with started(*command("node", directory, "--replica", 0)) as running:
        await running.until("ledger begun again: this replica forgot its votes", "gone")
    assert (home / LEDGER_NAME).exists()
    assert (home / WITNESS_NAME).exists()


async def test_a_ledger_of_garbage_is_kept_and_another_begun(directory: Path) -> None:
    home = directory / "replica-0"
    (home / LEDGER_NAME).write_bytes(b"garbage" * 1000)
    async with started(*command("node", directory, "--replica", 0)) as running:
        await running.until("ledger begun again", str(home / "ledger.damaged-1"))
    assert (home / "ledger.damaged-1").read_bytes() == b"garbage" * 1000


async def test_a_state_of_garbage_is_kept_and_the_node_runs(directory: Path) -> None:
    home = directory / "replica-0"
    (home / STATE_NAME).write_bytes(b"garbage" * 1000)
    async with node(directory, 0) as running:
        await running.until("state put aside", str(home / "state.damaged-1"))
        assert await running.end(signal.SIGTERM) == 0
    assert (home / "state.damaged-1").read_bytes() == b"garbage" * 1000


async def test_two_nodes_on_one_directory(directory: Path) -> None:
    async with node(directory, 0) as first:
        line = refused(directory)
        assert line == f"{directory}/replica-0: another process runs this replica already; stop it first"
        assert first.process.returncode is None


@pytest.mark.parametrize("kind", ["replica", "client"])
def test_a_taken_port(directory: Path, kind: str) -> None:
    member = read_group_file(directory).members[0]
    endpoint = {"replica": member.replica_endpoint, "client": member.client_endpoint}[kind]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((endpoint.host, endpoint.port))
        taken.listen()
        line = refused(directory)
    assert f"cannot listen for {kind}s on {endpoint}: Address already in use" in line
    assert "stop the other process" in line


def test_an_address_that_is_not_here(directory: Path) -> None:
    path = directory / "group.toml"
    path.write_text(re.sub(r'"127\.0\.0\.1:', '"192.0.2.7:', path.read_text()))
    assert "cannot listen for replicas on 192.0.2.7:" in refused(directory)


# -- certificates that lapse


def test_certificates_that_will_expire_are_found(founded: GroupFile, tmp_path: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    days = [EXPIRY_WARNING_DAYS + 1, EXPIRY_WARNING_DAYS, 1, 400]
    members = tuple(
        Member(
            signing_key=member.signing_key,
            replica_endpoint=member.replica_endpoint,
            client_endpoint=member.client_endpoint,
            certificate_der=make_tls_identity("x", valid_days=valid, now=now).certificate_der,
        )
        for member, valid in zip(founded.members, days, strict=True)
    )
    path = tmp_path / "group.toml"
    path.write_text(render_group_file(founded.group, members))
    file = read_group_file(path)
    assert expiring(file, now) == [(1, EXPIRY_WARNING_DAYS), (2, 1)]
    assert expiring(file, now + timedelta(days=2))[-1] == (2, -1)


async def test_a_node_warns_of_a_certificate_that_has_expired(directory: Path) -> None:
    file = read_group_file(directory)
    old = make_tls_identity("replica-2.quorate", valid_days=1, now=datetime(2020, 1, 1, tzinfo=UTC))
    write_tls_identity(directory / "replica-2", old, overwrite=True)
    path = directory / "group.toml"
    path.write_text(path.read_text().replace(file.members[2].certificate_der.hex(), old.certificate_der.hex()))
    async with node(directory, 0) as running:
        await running.until("certificate has expired")
    (line,) = [line for line in running.lines if "certificate has expired" in line]
    assert "of=2" in line


# -- founding


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--replicas", 3], "a group has 4 to 61 replicas, not 3"),
        (["--replicas", 62], "a group has 4 to 61 replicas, not 62"),
        (["--base-port", 65530], "base port 65530: 8 ports from there on must be below 65536"),
        (["--base-port", 0], "base port 0"),
        (["--name", ""], "a group's name is 1 to"),
        (["--name", "x" * (NAME_CHARACTERS_MAX + 1)], "a group's name is 1 to"),
        (["--name", "a\nb"], "a group's name is 1 to"),
        (["--host", "192.0.2.7"], "host '192.0.2.7': Cannot assign requested address"),
        (["--checkpoint-interval", 0], "checkpoint_interval must be at least 1, not 0"),
        (["--checkpoint-interval", 2], "pipeline_depth (4) must be below checkpoint_interval"),
    ],
)
def test_a_group_that_cannot_be(tmp_path: Path, options: list[object], expected: str) -> None:
    directory = tmp_path / "group"
    finished = run("init", directory, *options)
    assert finished.code == 2
    (line,) = finished.errors
    assert line.startswith(f"quorate: {expected}")
    assert not directory.exists() or not list(directory.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("options", "chat"),
    [
        ([], USUAL_LIMITS),
        (["--limits", "default"], USUAL_LIMITS),
        (["--limits", "off"], {}),
    ],
)
def test_a_group_is_founded_with_limits_for_people_or_without(
    tmp_path: Path, options: list[object], chat: dict[str, int]
) -> None:
    assert run("init", tmp_path / "group", *options).code == 0
    assert dict(read_group_file(tmp_path / "group").group.application) == chat


def test_the_limits_for_people_are_all_there_are() -> None:
    """What the file does not name would change with the program."""
    changed = {"operations_per_minute": 600, "operations_burst": 600, "message_bytes_per_day": 20_000_000}
    assert asdict(ChatLimits()) | changed == USUAL_LIMITS


def test_the_longest_name_works(tmp_path: Path) -> None:
    assert run("init", tmp_path / "group", "--replicas", 13, "--name", "ü" * NAME_CHARACTERS_MAX).code == 0
    assert read_group_file(tmp_path / "group").group.name == "ü" * NAME_CHARACTERS_MAX


def test_a_group_is_not_founded_over_another(directory: Path) -> None:
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    finished = run("init", directory)
    assert finished.code == 1
    assert finished.errors == [
        f"quorate: {directory}/group.toml: there is a group here already; choose another directory"
    ]
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_keys_of_a_group_that_has_run_are_not_replaced_though_its_file_is_gone(directory: Path) -> None:
    vote_of(read_group_file(directory), 1)
    (directory / "group.toml").unlink()
    before = (directory / "replica-1" / "signing.key").read_bytes()
    finished = run("init", directory)
    assert finished.code == 1
    (line,) = finished.errors
    assert "shows that a group has run here; put that file back, or choose another directory" in line
    assert (directory / "replica-1" / "signing.key").read_bytes() == before


def test_founding_that_was_interrupted_starts_over(directory: Path) -> None:
    (directory / "group.toml").unlink()
    assert run("init", directory).code == 0
    read_group_file(directory)
