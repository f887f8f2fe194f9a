"""Key files: what is written is read, and whatever is wrong is named with its remedy."""

import errno
import os
import re
import tomllib
from pathlib import Path

import pytest
from nacl.exceptions import RuntimeError as LibraryFailed
from nacl.pwhash import argon2id

from crypto.errors import KeyFileError
from crypto.keyfiles import KeyKind, read_key_file, write_key_file
from crypto.signing import Ed25519Signer, SecretSeed

SEED = SecretSeed(bytes(range(32)))
PUBLIC_KEY = Ed25519Signer(SEED).public_key
PASSPHRASE = "correct horse"


def write(path: Path, *, passphrase: str | None = None, name: str = "r2", overwrite: bool = False) -> None:
    write_key_file(
        path,
        kind="replica",
        name=name,
        signer_seed=SEED,
        passphrase=passphrase,
        overwrite=overwrite,
        opslimit=1,
        memlimit_bytes=8192,
    )


def refusal(path: Path, passphrase: str | None = PASSPHRASE, kind: KeyKind = "replica") -> KeyFileError:
    """Return the error of reading, which names file, field and remedy whatever it is."""
    with pytest.raises(KeyFileError) as caught:
        read_key_file(path, kind=kind, passphrase=passphrase)
    error = caught.value
    assert str(error) == f"{path}: {error.field}: {error.problem}; {error.remedy}"
    assert error.path == path
    assert SEED.hex() not in str(error)
    return error


def edit(path: Path, field: str, value: str | None) -> None:
    """Set the line of `field` to `value` (TOML), or drop it."""
    text = path.read_text()
    line = "" if value is None else f"{field} = {value}\n"
    changed = re.sub(rf"^{field} = .*\n", line, text, flags=re.MULTILINE)
    path.write_text(changed if changed != text else text + line)


def test_key_in_the_clear(tmp_path: Path) -> None:
    path = tmp_path / "key"
    written = write_key_file(path, kind="identity", name="ann", signer_seed=SEED, passphrase=None)
    signer, found = read_key_file(path, kind="identity", passphrase=None)
    assert found == written
    assert (found.path, found.kind, found.name, found.sealed) == (path, "identity", "ann", False)
    assert signer.public_key == found.public_key == PUBLIC_KEY
    assert signer.reveal_seed() == SEED
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_is_plain_toml(tmp_path: Path) -> None:
    write(tmp_path / "key")
    table = tomllib.loads((tmp_path / "key").read_text())
    expected = {"version": 1, "kind": "replica", "name": "r2", "public_key": PUBLIC_KEY.hex()}
    assert table == expected | {"secret": SEED.hex()}


def test_sealed_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write(path, passphrase=PASSPHRASE)
    assert SEED.hex() not in path.read_text()
    signer, found = read_key_file(path, kind="replica", passphrase=PASSPHRASE)
    assert found.sealed
    assert signer.reveal_seed() == SEED


def test_the_usual_cost_of_sealing_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_key_file(path, kind="replica", name="r2", signer_seed=SEED, passphrase=PASSPHRASE)
    assert read_key_file(path, kind="replica", passphrase=PASSPHRASE)[0].public_key == PUBLIC_KEY


def test_passphrase_is_asked_for_only_when_needed(tmp_path: Path) -> None:
    asked = []

    def ask() -> str:
        asked.append("passphrase")
        return PASSPHRASE

    write(tmp_path / "clear")
    write(tmp_path / "sealed", passphrase=PASSPHRASE)
    read_key_file(tmp_path / "clear", kind="replica", passphrase=ask)
    assert asked == []
    read_key_file(tmp_path / "sealed", kind="replica", passphrase=ask)
    assert asked == ["passphrase"]


def test_passphrase_typed_on_another_keyboard(tmp_path: Path) -> None:
    write(tmp_path / "key", passphrase="caf\u00e9")
    read_key_file(tmp_path / "key", kind="replica", passphrase="cafe\u0301")


@pytest.mark.parametrize("name", ["\u00c9lodie", 'a "quoted" \\ name', "\u6c34\U0001f600", "x" * 64, " "])
def test_names_survive(tmp_path: Path, name: str) -> None:
    write(tmp_path / "key", name=name)
    assert read_key_file(tmp_path / "key", kind="replica", passphrase=None)[1].name == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\x7fb", "\x00", "\ud800"])
def test_names_that_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        write(tmp_path / "key", name=name)
    assert not list(tmp_path.iterdir())


def test_arguments_that_seal_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="empty passphrase"):
        write(tmp_path / "key", passphrase="")
    for opslimit, memlimit_bytes in ((0, 8192), (17, 8192), (1, 8191), (1, 2**30 + 1)):
        with pytest.raises(ValueError, match="out of range"):
            write_key_file(
                tmp_path / "key",
                kind="replica",
                name="r2",
                signer_seed=SEED,
                passphrase=PASSPHRASE,
                opslimit=opslimit,
                memlimit_bytes=memlimit_bytes,
            )
    assert not list(tmp_path.iterdir())


def test_existing_key_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write(path, name="old")
    with pytest.raises(KeyFileError, match=r"key: file: exists already; choose another path"):
        write(path, name="new")
    assert read_key_file(path, kind="replica", passphrase=None)[1].name == "old"
    write(path, name="new", overwrite=True)
    assert read_key_file(path, kind="replica", passphrase=None)[1].name == "new"


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"file: cannot be written: No such file or directory; check"):
        write(tmp_path / "absent" / "key")


def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left on device"):
        write(tmp_path / "key")
    assert not list(tmp_path.iterdir())


def test_wrong_kind(tmp_path: Path) -> None:
    write(tmp_path / "key")
    error = refusal(tmp_path / "key", kind="identity")
    assert (error.field, error.problem) == ("kind", "is 'replica', not 'identity'")
    assert error.remedy == "give the path of a key of kind 'identity'"


def test_exposed_key(tmp_path: Path) -> None:
    write(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    assert refusal(tmp_path / "key").field == "permissions"


@pytest.mark.parametrize("passphrase", [None, "", "wrong", PASSPHRASE + " ", "\ud800"])
def test_wrong_passphrase(tmp_path: Path, passphrase: str | None) -> None:
    write(tmp_path / "key", passphrase=PASSPHRASE)
    error = refusal(tmp_path / "key", passphrase=passphrase)
    assert error.field == "sealed"
    assert "passphrase" in str(error)


def test_no_memory_to_unseal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "key", passphrase=PASSPHRASE)

    def no_memory(*arguments: object) -> bytes:
        raise LibraryFailed("Unexpected library error")

    monkeypatch.setattr(argon2id, "kdf", no_memory)
    assert refusal(tmp_path / "key").field == "memlimit"


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["clear", "sealed"])
def test_half_written_file_is_refused_wherever_it_is_cut(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "key"
    write(path, passphrase=passphrase)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):  # only the last newline may be missing
        path.write_bytes(whole[:length])
        refusal(path)


# What is changed in a sealed or clear file, and the field the refusal names.
DAMAGED = [
    (None, "version", None, "version"),
    (None, "version", "2", "version"),
    (None, "version", "true", "version"),
    (None, "version", '"1"', "version"),
    (None, "kind", "7", "kind"),
    (None, "name", None, "name"),
    (None, "name", "7", "name"),
    (None, "public_key", None, "public_key"),
    (None, "public_key", '"' + "00" * 32 + '"', "public_key"),
    (None, "public_key", '"' + "00" * 31 + '"', "public_key"),
    (None, "public_key", '"' + PUBLIC_KEY.hex().upper() + '"', "public_key"),
    (None, "secret", '"' + "11" * 32 + '"', "public_key"),
    (None, "secret", '"' + " 1" * 32 + '"', "secret"),
    (None, "secret", '"' + "1" * 63 + '"', "secret"),
    (None, "secret", None, "salt"),
    (None, "salt", '"00"', "salt"),
    (None, "extra", "1", "extra"),
    (PASSPHRASE, "salt", None, "salt"),
    (PASSPHRASE, "salt", '"' + "00" * 16 + '"', "sealed"),
    (PASSPHRASE, "salt", '"00"', "salt"),
    (PASSPHRASE, "opslimit", "0", "opslimit"),
    (PASSPHRASE, "opslimit", "2", "sealed"),
    (PASSPHRASE, "opslimit", "4000000000", "opslimit"),
    (PASSPHRASE, "opslimit", "-1", "opslimit"),
    (PASSPHRASE, "opslimit", "1.0", "opslimit"),
    (PASSPHRASE, "memlimit", "1", "memlimit"),
    (PASSPHRASE, "memlimit", "1099511627776", "memlimit"),
    (PASSPHRASE, "memlimit", None, "memlimit"),
    (PASSPHRASE, "sealed", None, "sealed"),
    (PASSPHRASE, "sealed", '"' + "00" * 72 + '"', "sealed"),
    (PASSPHRASE, "sealed", '"' + "00" * 71 + '"', "sealed"),
    (PASSPHRASE, "secret", '"' + "11" * 32 + '"', "memlimit"),
    (PASSPHRASE, "extra", "1", "extra"),
]


@pytest.mark.parametrize(("passphrase", "field", "value", "blamed"), DAMAGED)
def test_damaged_field_is_named(
    tmp_path: Path, passphrase: str | None, field: str, value: str | None, blamed: str
) -> None:
    path = tmp_path / "key"
    write(path, passphrase=passphrase)
    edit(path, field, value)
    assert refusal(path).field == blamed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"= = =",
        b"version = 1\nversion = 1\n",
        b"a = " + b"[" * 10_000,
        b"v = " + b"1" * 5000,
        b"x" * 70_000,
    ],
    ids=["empty", "binary", "no TOML", "twice", "nested", "long integer", "long"],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(data)
    refusal(path)
