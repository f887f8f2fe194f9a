"""Files written whole or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from crypto.errors import KeyFileError
from crypto.files import atomic_write, read_private_file


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_mode_is_exact_under_any_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        atomic_write(tmp_path / "file", b"data", mode)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file") == mode


def test_a_secret_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    fchmod = os.fchmod

    def watched(descriptor: int, mode: int) -> None:
        modes.append(os.fstat(descriptor).st_mode & 0o077)
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", watched)
    before = os.umask(0)
    try:
        atomic_write(tmp_path / "file", b"secret", 0o600)
    finally:
        os.umask(before)
    assert modes == [0]


def test_overwriting_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old, and longer", 0o644)
    atomic_write(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_not_overwriting_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old", 0o600, overwrite=False)
    with pytest.raises(FileExistsError):
        atomic_write(path, b"new", 0o600, overwrite=False)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_of_several_writers_at_once_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "file"
    writers = 8
    barrier = Barrier(writers)

    def write(number: int) -> bool:
        barrier.wait()
        try:
            atomic_write(path, b"%d" % number, 0o600, overwrite=False)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(writers) as pool:
        won = [number for number, ok in enumerate(pool.map(write, range(writers))) if ok]
    assert [b"%d" % number for number in won] == [path.read_bytes()]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        atomic_write(path, b"new", 0o600, overwrite=overwrite)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_is_on_disk_before_its_name_and_then_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    synced = []

    def watched(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().is_dir(), path.exists()))

    monkeypatch.setattr(os, "fsync", watched)
    atomic_write(path, b"data", 0o600)
    assert synced == [(False, False), (True, True)]


def test_private_file_is_read(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", b"secret", 0o600)
    assert read_private_file(tmp_path / "file", bytes_max=6) == b"secret"


def test_longer_file_is_refused(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", b"secret", 0o600)
    with pytest.raises(KeyFileError, match=r"file: is longer than 5 bytes"):
        read_private_file(tmp_path / "file", bytes_max=5)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o601, 0o644])
def test_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"secret", mode)
    with pytest.raises(KeyFileError) as caught:
        read_private_file(path, bytes_max=100)
    assert caught.value.field == "permissions"
    assert str(caught.value).startswith(f"{path}: permissions: others than its owner have access")
    assert f"chmod 600 {path}" in caught.value.remedy


def test_pipes_and_directories_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(KeyFileError, match="is not a regular file"):
            read_private_file(path, bytes_max=100)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="absent: file: No such file or directory; check the path"):
        read_private_file(tmp_path / "absent", bytes_max=100)
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match="Not a directory; check"):
        read_private_file(tmp_path / "file" / "below", bytes_max=100)
