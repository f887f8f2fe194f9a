"""Accounts and devices from the command line."""

from __future__ import annotations

import pytest

from clients.identity import read_identity
from tests.clients.command_line import CommandLine


def test_an_account_is_recovered_with_the_code_that_registering_showed_once(quorate: CommandLine) -> None:
    first = quorate.did("alice", "register", "Alice", "--label", "desk")
    assert (first["name"], len(first["recovery_code"].split("-"))) == ("Alice", 7)
    assert quorate.did("alice", "register", "Alice")["recovery_code"] is None, "it would be worth nothing"
    assert quorate.did("alice", "whoami")["has_recovery"] is True
    assert (
        "all other devices revoked"
        in quorate.run(
            "stranger", "recover", "alice", json_output=False, stdin=f"{first['recovery_code'].lower()}\n"
        ).out
    )
    assert quorate.did("stranger", "whoami")["name"] == "Alice"
    assert "revoked" in quorate.refused("alice", "whoami")
    assert "mistyped" in quorate.refused("other", "recover", "alice", stdin="0000-0000-0000-0000-0000-0000-000\n")
    second = quorate.did("stranger", "recovery", "new")["recovery_code"]
    assert "BAD" not in quorate.refused("other", "recover", "alice", stdin=first["recovery_code"])
    quorate.did("stranger", "recovery", "drop")
    assert "no recovery key" in quorate.refused("other", "recover", "alice", stdin=second)


def test_who_wants_no_recovery_code_gets_none(quorate: CommandLine) -> None:
    assert quorate.did("bob", "register", "Bob", "--no-recovery")["recovery_code"] is None
    assert "quorate recovery new" in quorate.shown("bob", "profile")
    quorate.did("bob", "profile", "--display", "Bob the Builder")
    assert "Bob (Bob the Builder)" in quorate.shown("bob", "whois", "bob")


def test_a_device_is_added_with_a_code_and_revoked_by_its_label(quorate: CommandLine) -> None:
    quorate.did("desk", "register", "Alice", "--no-recovery", "--label", "desk")
    invitation = quorate.did("desk", "device", "invite", "--valid", "1h")
    assert quorate.did("laptop", "device", "add", invitation["code"], "--label", "laptop")["name"] == "Alice"
    assert "was used" in quorate.refused("third", "device", "add", stdin=invitation["code"])
    devices = quorate.run("laptop", "device", "list").records
    assert [(device["label"], device["this"]) for device in devices] == [("desk", False), ("laptop", True)]
    assert "quorate device list" in quorate.refused("laptop", "device", "revoke", "nosuch")
    quorate.did("laptop", "device", "revoke", devices[0]["device"][:12])
    assert "revoked" in quorate.refused("desk", "whoami")
    assert "(revoked 2016-12-19 12:00)" in quorate.shown("laptop", "device", "list")
    assert "only device" in quorate.refused("laptop", "device", "revoke", "laptop")


def test_a_key_is_rotated_and_an_interrupted_rotation_goes_on(
    quorate: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    quorate.did("alice", "register", "Alice", "--no-recovery")
    path = quorate.identity("alice")
    old = path.read_text()
    rotated = quorate.did("alice", "device", "rotate")
    assert read_identity(path).public_key.hex() == rotated["device"]
    assert quorate.did("alice", "whoami")["device"] == rotated["device"]
    # Now as if the machine had gone off after the replicas had accepted it.
    new = path.read_text()
    path.with_name(f"{path.name}.new").write_text(new)
    path.with_name(f"{path.name}.new").chmod(0o600)
    path.write_text(old)
    again = quorate.run("alice", "device", "rotate")
    assert (again.code, again.record["device"]) == (0, rotated["device"])
    assert path.read_text() == new
    kept = path.with_name(f"{path.name}.old")
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (old, 0o600), "other groups still know it"
    quorate.did("alice", "device", "rotate")
    assert (kept.read_text(), path.with_name(f"{path.name}.old2").read_text()) == (old, new)
    assert [device["revoked_ms"] is None for device in quorate.run("alice", "device", "list").records] == [
        False,
        False,
        True,
    ]


def test_limits_are_shown_with_what_is_left(quorate: CommandLine) -> None:
    quorate.did("alice", "register", "Alice", "--no-recovery")
    record = quorate.did("alice", "limits")
    assert record["limits"]["pins_per_room"] == 50
    assert record["operations_left"] is None
    assert "edit_minutes                 no limit" in quorate.shown("alice", "limits")
