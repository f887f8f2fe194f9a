"""The identity file from the command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from nacl.pwhash import argon2id

from clients import identity
from crypto.keyfiles import write_key_file
from tests.clients.command_line import CommandLine

CHEAP = partial(write_key_file, opslimit=argon2id.OPSLIMIT_MIN, memlimit_bytes=argon2id.MEMLIMIT_MIN)
"""Sealing as it is done, but for how long it takes."""


@pytest.fixture(autouse=True)
def _cheap_sealing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "write_key_file", CHEAP)
    monkeypatch.delenv("QUORATE_PASSPHRASE", raising=False)
    monkeypatch.delenv("QUORATE_NEW_PASSPHRASE", raising=False)


def test_a_passphrase_is_set_changed_and_removed(quorate: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    key = quorate.did("alice", "identity", "show")["public_key"]
    assert "QUORATE_NEW_PASSPHRASE" in quorate.refused("alice", "identity", "passphrase")
    monkeypatch.setenv("QUORATE_NEW_PASSPHRASE", "first")
    quorate.did("alice", "identity", "passphrase")
    assert "QUORATE_PASSPHRASE" in quorate.refused("alice", "identity", "show")
    monkeypatch.setenv("QUORATE_PASSPHRASE", "wrong")
    assert "passphrase is wrong" in quorate.refused("alice", "identity", "show")
    monkeypatch.setenv("QUORATE_PASSPHRASE", "first")
    monkeypatch.setenv("QUORATE_NEW_PASSPHRASE", "")
    assert "protects nothing" in quorate.refused("alice", "identity", "passphrase")
    assert quorate.did("alice", "identity", "show")["public_key"] == key
    quorate.did("alice", "identity", "passphrase", "--remove")
    monkeypatch.delenv("QUORATE_PASSPHRASE")
    assert quorate.did("alice", "identity", "show")["public_key"] == key


def test_a_copy_is_sealed_and_becomes_an_identity_elsewhere(
    quorate: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = quorate.did("alice", "identity", "show")["public_key"]
    copy = tmp_path / "copy.toml"
    assert "QUORATE_NEW_PASSPHRASE" in quorate.refused("alice", "identity", "export", copy)
    assert not copy.exists()
    monkeypatch.setenv("QUORATE_NEW_PASSPHRASE", "of the copy")
    assert quorate.did("alice", "identity", "export", copy)["passphrase"] is True
    assert key.encode() in copy.read_bytes()
    assert "exists already" in quorate.refused("alice", "identity", "export", copy)
    monkeypatch.setenv("QUORATE_PASSPHRASE", "of the copy")
    assert "exists already" in quorate.refused("bob", "identity", "import", copy)
    quorate.identity("bob").unlink()
    command = ("identity", "import", str(copy), "--json", "--identity", str(tmp_path / "elsewhere.toml"))
    quorate.app(command, result_action="return_value")
    assert quorate.did("elsewhere", "identity", "show") == {
        "path": str(tmp_path / "elsewhere.toml"),
        "public_key": key,
    }
    assert "secret" not in (tmp_path / "elsewhere.toml").read_text()


def test_a_rotated_key_keeps_its_passphrase(quorate: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    quorate.did("alice", "register", "Alice", "--no-recovery")
    monkeypatch.setenv("QUORATE_NEW_PASSPHRASE", "mine")
    monkeypatch.setenv("QUORATE_PASSPHRASE", "mine")
    quorate.did("alice", "identity", "passphrase")
    device = quorate.did("alice", "device", "rotate")["device"]
    assert "secret" not in quorate.identity("alice").read_text()
    assert quorate.did("alice", "whoami")["device"] == device
