"""`quorate evidence`: what people see of proofs, from the files that nodes leave."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adversary.craft import Craft, digest
from adversary.keys import Members
from chatsvc.evidence_words import REASONS, TITLES
from chatsvc.founding import SIGNING_KEY_NAME, ledger_identity
from chatsvc.groupfile import GroupFile, read_group_file
from chatsvc.process import LOCK_NAME
from crypto.canonical import decode, encode
from crypto.keyfiles import read_key_file
from crypto.signing import Ed25519Verifier, Signer
from pbft.core.effects import Evidence, Record, RecordKind
from pbft.core.evidence import CODES, encode_evidence
from pbft.core.types import ReplicaId, SequenceNumber
from pbft.node.ledger import Ledger
from pbft.node.ledger_files import LEDGER_NAME
from tests.chatsvc_process.processes import make_group, run

A, B = digest("a"), digest("b")


@pytest.fixture
def group(directory: Path) -> GroupFile:
    return read_group_file(directory)


def craft_of(file: GroupFile) -> Craft:
    """Signs with the keys of the group's own files."""
    signers: dict[int, Signer] = {
        replica: read_key_file(file.replica_directory(replica) / SIGNING_KEY_NAME, kind="replica", passphrase=None)[0]
        for replica in file.group.replicas
    }
    return Craft(Members(group=file.group, signers=signers, verifier=Ed25519Verifier()))


def double_commit(file: GroupFile, culprit: int = 1) -> Evidence:
    craft = craft_of(file)
    frames = craft.commit(culprit, 7, A, view=2).wire, craft.commit(culprit, 7, B, view=2).wire
    return Evidence(code="E3", culprit=ReplicaId(culprit), statements=frames)


def keep(file: GroupFile, evidence: Evidence, *, at: int = 2, name: str = "E3-replica-1-abc.cbor") -> Path:
    store = file.replica_directory(ReplicaId(at)) / "evidence"
    store.mkdir(exist_ok=True)
    (store / name).write_bytes(encode_evidence(file.group, evidence))
    return store / name


def write_ledger(file: GroupFile, me: int, *records: Record) -> None:
    directory = file.replica_directory(ReplicaId(me))
    identity = ledger_identity(file.group, file.members[me].signing_key)
    ledger = Ledger(directory, identity, retained_sequences=1024)
    ledger.append(records)
    ledger.close()


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# -- list, show, verify, export


def test_list_finds_the_stores_of_all_nodes(group: GroupFile, capsys: pytest.CaptureFixture[str]) -> None:
    keep(group, double_commit(group), at=2)
    keep(group, double_commit(group, 3), at=0)
    assert run("evidence", "list", group.path.parent, "--json").code == 0
    listed = said(capsys)
    assert [(each["culprit"], each["code"], each["proven"]) for each in listed] == [(3, "E3", True), (1, "E3", True)]
    assert run("evidence", "list", group.replica_directory(ReplicaId(2))).code == 0
    assert "E3: replica 1 vouched for two different batches" in capsys.readouterr().out


def test_list_says_of_each_file_what_is_wrong_with_it(group: GroupFile, capsys: pytest.CaptureFixture[str]) -> None:
    """A store may hold anything: the rest of it is listed."""
    path = keep(group, double_commit(group))
    path.with_name("E1-garbage.cbor").write_bytes(b"\xff" * 100)
    os.mkfifo(path.with_name("E1-pipe.cbor"))
    path.with_name("E1-huge.cbor").touch()
    os.truncate(path.with_name("E1-huge.cbor"), 2**33)
    path.with_name("E1-same.cbor").write_bytes(
        encode_evidence(
            group.group, Evidence(code="E3", culprit=ReplicaId(2), statements=double_commit(group).statements)
        )
    )
    assert run("evidence", "list", group.path.parent, "--json").code == 0
    reasons = {Path(each["file"]).name: each["reason"] for each in said(capsys)}
    assert reasons.pop(path.name) is None
    assert "CBOR" in reasons["E1-garbage.cbor"]
    assert "is no file" in reasons["E1-pipe.cbor"]
    assert "longer" in reasons["E1-huge.cbor"]
    assert "by replica 1" in reasons["E1-same.cbor"]


def test_list_of_nothing_says_so(group: GroupFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evidence", "list", group.path.parent).code == 0
    assert "no proofs" in capsys.readouterr().out
    assert "no directory" in run("evidence", "list", tmp_path / "nowhere").errors[0]
    assert run("evidence", "list").code == 2


def test_show_explains_who_said_what_twice(group: GroupFile, capsys: pytest.CaptureFixture[str]) -> None:
    path = keep(group, double_commit(group))
    assert run("evidence", "show", path).code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "E3: replica 1 vouched for two different batches at one place in the history" in text
    assert f"is ready to execute batch {A.hex()[:12]} as number 7" in text
    assert f"is ready to execute batch {B.hex()[:12]} as number 7" in text
    assert "view 2, whose primary is replica 2" in text
    assert REASONS["E3"] in text


def test_every_code_has_its_words() -> None:
    assert set(TITLES) == set(REASONS) == set(CODES)


def test_verify_needs_the_group_file_and_nothing_else(
    group: GroupFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = keep(group, double_commit(group))
    out = tmp_path / "proof.cbor"
    assert run("evidence", "export", path, out).code == 0
    away = tmp_path / "elsewhere.toml"
    away.write_bytes(group.path.read_bytes())
    capsys.readouterr()
    assert run("evidence", "verify", out, "--group", away).code == 0
    assert "PROVEN (E3): replica 1" in capsys.readouterr().out
    assert run("evidence", "verify", out, "--group", away, "--json").code == 0
    assert said(capsys)[0]["proven"]


def test_verify_refuses_what_proves_nothing(
    group: GroupFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = keep(group, double_commit(group))
    fields = decode(path.read_bytes(), bytes_max=10_000)
    assert isinstance(fields, list)
    path.write_bytes(encode([*fields[:3], 2, fields[4]]))
    assert run("evidence", "verify", path, "--group", group.path).code == 1
    assert "NOT PROVEN: a statement is by replica 1, not by 2" in capsys.readouterr().out
    assert run("evidence", "show", path).code == 1
    assert run("evidence", "export", path, tmp_path / "out.cbor").code == 1
    assert not (tmp_path / "out.cbor").exists()


def test_proof_of_another_group_is_none(group: GroupFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_group(tmp_path / "other")
    path = keep(other, double_commit(other))
    assert run("evidence", "verify", path, "--group", group.path).code == 1
    assert "another group" in capsys.readouterr().out


def test_usage_errors_say_what_to_do(
    group: GroupFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("QUORATE_GROUP", raising=False)
    path = keep(group, double_commit(group))
    alone = tmp_path / "alone.cbor"
    alone.write_bytes(path.read_bytes())
    for arguments, words in (
        (("verify", path), "use --group PATH"),
        (("verify", path, "--group", tmp_path / "none.toml"), "no such file"),
        (("verify", tmp_path / "none.cbor", "--group", group.path), "No such file"),
        (("show", alone), "use --group PATH"),
        (("export", path, path), "another name"),
        (("export", path, tmp_path / "none" / "out"), "another place"),
    ):
        finished = run("evidence", *arguments)
        assert finished.code == 2
        assert words in finished.errors[0]
    assert run("evidence", "show", alone, "--group", group.path).code == 0


def test_no_file_name_reaches_the_terminal_unescaped(group: GroupFile, capsys: pytest.CaptureFixture[str]) -> None:
    keep(group, double_commit(group), name="E3-\x1b[2J.cbor")
    assert run("evidence", "list", group.path.parent).code == 0
    assert "\x1b" not in capsys.readouterr().out


# -- forensics


def fork(file: GroupFile) -> None:
    """Replicas 0 and 1 commit one batch with 2 and another with 3."""
    craft = craft_of(file)
    for me, what in ((2, A), (3, B)):
        certificate = craft.commit_certificate(3, what, [0, 1, me])
        write_ledger(file, me, Record(RecordKind.COMMITTED, SequenceNumber(3), certificate.wire))


def test_forensics_names_who_broke_the_agreement(
    group: GroupFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fork(group)
    before = snapshot(group.path.parent)
    assert run("evidence", "forensics", group.path.parent).code == 1
    text = capsys.readouterr().out
    assert "AGREEMENT BROKE at number 3: 2 different batches are certified (views 0, 0)" in text
    assert "2 of 4 replicas are proven faulty: 0, 1. That is more than the 1 that the group bears" in text
    assert snapshot(group.path.parent) == before

    assert run("evidence", "forensics", group.path.parent, "--json").code == 1
    (found,) = said(capsys)
    assert (found["culprits"], found["more_than_faulty_max"]) == ([0, 1], True)
    proof = tmp_path / "proof.cbor"
    proof.write_bytes(bytes.fromhex(found["evidence"][0]["proof"]))
    assert run("evidence", "verify", proof, "--group", group.path).code == 0


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()
    }


def test_forensics_over_some_of_the_ledgers_asks_for_the_others(
    group: GroupFile, capsys: pytest.CaptureFixture[str]
) -> None:
    fork(group)
    assert run("evidence", "forensics", group.replica_directory(ReplicaId(2))).code == 0
    assert "nobody is named" in capsys.readouterr().out
    both = [group.replica_directory(ReplicaId(me)) for me in (2, 3)]
    assert run("evidence", "forensics", *both).code == 1


def test_forensics_of_new_ledgers_names_nobody(group: GroupFile, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evidence", "forensics", group.path.parent).code == 0
    assert "The ledgers agree, and nobody is named" in capsys.readouterr().out


def test_forensics_counts_kept_proofs_and_ledgers_put_aside(
    group: GroupFile, capsys: pytest.CaptureFixture[str]
) -> None:
    fork(group)
    directory = group.replica_directory(ReplicaId(3))
    (directory / LEDGER_NAME).rename(directory / "ledger.damaged-1")
    keep(group, double_commit(group, 1))
    assert run("evidence", "forensics", group.path.parent, "--json").code == 1
    (found,) = said(capsys)
    assert sorted((each["culprit"], each["code"]) for each in found["evidence"]) == [(0, "E3"), (1, "E3"), (1, "E3")]


def test_forensics_reads_a_damaged_ledger_as_far_as_it_gets(
    group: GroupFile, capsys: pytest.CaptureFixture[str]
) -> None:
    fork(group)
    (group.replica_directory(ReplicaId(0)) / LEDGER_NAME).write_bytes(b"no database" * 1000)
    with sqlite3.connect(group.replica_directory(ReplicaId(1)) / LEDGER_NAME) as database:
        for kind, data in (("committed", "text"), ("unheard of", b"x"), (b"\xff", b"y"), ("commit", b"\xff")):
            database.execute("INSERT INTO records (kind, sequence, data, link) VALUES (?, 1, ?, x'')", (kind, data))
    database.close()
    assert run("evidence", "forensics", group.path.parent, "--json").code == 1
    (found,) = said(capsys)
    problems = {Path(each["file"]).parent.name: each["problem"] for each in found["ledgers"]}
    assert "not a database" in problems.pop("replica-0")
    assert set(problems.values()) == {None}
    assert found["culprits"] == [0, 1]


@contextmanager
def running(directory: Path) -> Iterator[None]:
    """What a node holds while it runs."""
    with (directory / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_forensics_wants_stopped_nodes(group: GroupFile) -> None:
    directory = group.replica_directory(ReplicaId(1))
    with running(directory):
        finished = run("evidence", "forensics", group.path.parent)
    assert finished.code == 2
    assert "a node runs there; stop it, or give a copy" in finished.errors[0]
    assert run("evidence", "forensics", group.path.parent).code == 0


def test_forensics_without_a_ledger_is_usage(group: GroupFile, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    finished = run("evidence", "forensics", empty, "--group", group.path)
    assert finished.code == 2
    assert "no ledger is in there" in finished.errors[0]
