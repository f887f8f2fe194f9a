"""The commands that need no group to answer: verifying, and queueing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatsvc.founding import SIGNING_KEY_NAME, found_group
from chatsvc.groupfile import read_group_file
from clients.chat_commands import send
from clients.console import Common
from clients.identity import write_identity
from clients.outbox_command import outbox
from clients.transcripts.commands import proof_path, verify
from clients.transcripts.proof import Form, encode_proof
from clients.transcripts.rendering import render
from crypto.keyfiles import read_key_file
from crypto.signing import Ed25519Signer, Ed25519Verifier
from pbft.core.group import Parameters
from tests.clients.command_line import CommandLine
from tests.clients.transcripts.making import MESSAGES, ROOM, answered, file_of, proof_of
from tests.harness.keys import Members


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("group")
    return found_group(
        directory, name="orchard", replicas=4, host="127.0.0.1", base_port=None, parameters=Parameters()
    )


@pytest.fixture
def common(founded: Path, tmp_path: Path) -> Common:
    identity = tmp_path / "identity.toml"
    write_identity(identity, Ed25519Signer.generate())
    return Common(group=founded, identity=identity, json=True)


def members_of(founded: Path) -> Members:
    group = read_group_file(founded).directory().group
    keys = [founded.parent / f"replica-{number}" / SIGNING_KEY_NAME for number in range(4)]
    signers = {number: read_key_file(key, kind="replica", passphrase=None)[0] for number, key in enumerate(keys)}
    return Members(group, signers, Ed25519Verifier())


def write_transcript(founded: Path, file: Path) -> None:
    members = members_of(founded)
    proof = proof_of(MESSAGES, answered(MESSAGES, members=members), group=members.group)
    file.write_bytes(file_of(Form.TEXT))
    proof_path(file).write_bytes(encode_proof(proof))


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_transcript_is_verified_with_the_group_file_alone(
    founded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "garden.txt"
    write_transcript(founded, file)
    nobody = Common(group=founded, identity=tmp_path / "none", json=True)
    assert verify(file, common=nobody) == 0
    (record,) = said(capsys)
    assert (record["verified"], record["first"], record["last"]) == (True, 0, 3)
    assert verify(file, common=Common(group=founded)) == 0
    assert capsys.readouterr().out.startswith("Proven: the file shows messages 0 to 3 of #garden as orchard has them")

    file.write_bytes(file.read_bytes().replace(b"waves", b"wades"))
    assert verify(file, common=nobody) == 4
    (record,) = said(capsys)
    assert record["where"] == "line 5 of the file (message 1)"
    assert verify(file, common=Common(group=founded)) == 4
    assert capsys.readouterr().out.startswith("NOT proven. Line 5 of the file (message 1): it is not what")

    assert verify(proof_path(file), common=nobody) == 2
    assert verify(tmp_path / "nothing", common=nobody) == 2
    file.with_name("alone.txt").write_bytes(b"alone")
    assert verify(file.with_name("alone.txt"), common=nobody) == 4


def test_every_byte_of_a_receipt_counts(founded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = members_of(founded)
    proof = proof_of(MESSAGES[:1], answered(MESSAGES[:1], members=members), group=members.group, form=Form.RECEIPT)
    data, file = encode_proof(proof), tmp_path / "receipt"
    assert not [*render(Form.RECEIPT, ROOM, 0, MESSAGES[:1])]
    file.write_bytes(data)
    assert verify(file, common=Common(group=founded)) == 0
    assert "<Alice> hello\n    world" in capsys.readouterr().out
    for place in range(0, len(data), 13):
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert verify(file, common=Common(group=founded)) == 4
    assert capsys.readouterr().out.count("NOT proven.") == len(range(0, len(data), 13))


def test_messages_are_queued_without_a_network_and_listed(common: Common, capsys: pytest.CaptureFixture[str]) -> None:
    assert send("#Garden", "one", queue=True, common=common) == 0
    assert send("garden", "two", queue=True, action=True, common=common) == 0
    assert send("garden", "bad\x07", queue=True, common=common) == 2
    assert send("two words", "x", queue=True, common=common) == 4
    assert send("@bob", "lunch?", queue=True, common=common) == 2
    assert send("garden", "x", thread="x" * 20_000, queue=True, common=common) == 2
    assert [record["number"] for record in said(capsys)] == [1, 2]
    assert outbox(common=common) == 0
    listed = said(capsys)
    assert [(each["room"], each["body"], each["state"]) for each in listed] == [
        ("garden", "one", "pending"),
        ("garden", "two", "pending"),
    ]
    assert outbox("send", common=Common(group=common.group, identity=common.identity, timeout=0.1)) == 3
    assert outbox(common=Common(group=common.group, identity=common.identity)) == 0
    assert capsys.readouterr().out.splitlines() == ["1 pending  #garden one", "2 pending  #garden two"]


def test_a_message_that_waits_is_dropped(common: Common, capsys: pytest.CaptureFixture[str]) -> None:
    assert send("@" + "0f" * 10, "one", queue=True, common=common) == 0
    assert outbox("drop", common=common) == 2
    assert outbox("drop", 2, common=common) == 2
    assert outbox("drop", 1, common=common) == 0
    assert [record["state"] for record in said(capsys)] == ["pending", "refused"]


def test_a_conversation_is_exported_by_the_name_of_the_other_for_its_owner_alone(
    quorate: CommandLine, tmp_path: Path
) -> None:
    for user in ("alice", "bob"):
        quorate.did(user, "register", user.capitalize(), "--no-recovery")
    room = quorate.did("alice", "dm", "bob", "-m", "lunch?")["room"]
    file, receipt = tmp_path / "talk.txt", tmp_path / "receipt"
    assert quorate.did("bob", "export", "@alice", "-o", file)["room"] == room
    assert quorate.did("bob", "receipt", "@alice", 0, "-o", receipt)["room"] == room
    assert quorate.did("bob", "verify", file)["verified"] is True
    assert {path.stat().st_mode & 0o777 for path in (file, proof_path(file), receipt)} == {0o600}
    assert "no conversation" in quorate.refused("bob", "export", "@carol", "-o", file)
