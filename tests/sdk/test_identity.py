"""The identity file: where it is, that it is private, and what is said when it is not there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from clients.identity import default_identity_path, read_identity, write_identity
from crypto.errors import KeyFileError
from crypto.keyfiles import write_key_file
from tests.client.fake_replicas import signer_of

ALICE = signer_of(1)


def test_the_default_place_is_the_systems_unless_the_environment_names_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("QUORATE_IDENTITY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_identity_path().parts[-2:] == ("quorate", "identity.toml")
    monkeypatch.setenv("QUORATE_IDENTITY", "/elsewhere/me.toml")
    assert default_identity_path() == Path("/elsewhere/me.toml")


def test_an_identity_is_read_back_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity.toml"
    write_identity(path, ALICE)
    assert read_identity(path).public_key == ALICE.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "identity.toml"
    write_identity(path, ALICE)
    with pytest.raises(KeyFileError, match="exists already"):
        write_identity(path, signer_of(2))
    assert read_identity(path).public_key == ALICE.public_key


def test_what_is_missing_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="quorate identity new"):
        read_identity(tmp_path / "none.toml")
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="directory cannot be made"):
        write_identity(tmp_path / "file" / "identity.toml", ALICE)


def test_a_replicas_key_is_no_identity(tmp_path: Path) -> None:
    path = tmp_path / "key.toml"
    write_key_file(path, kind="replica", name="replica-0", signer_seed=ALICE.reveal_seed(), passphrase=None)
    with pytest.raises(KeyFileError, match="kind"):
        read_identity(path)
