"""Files that are written whole or not at all, and files of secrets that only their owner may read."""

import os
import secrets
import stat
from pathlib import Path

from crypto.errors import KeyFileError

PRIVATE_MODE = 0o600


def atomic_write(path: Path, data: bytes, mode: int, *, overwrite: bool = True) -> None:
    """Write `data` to `path` with permissions `mode`, so that a crash leaves the old file or the new one.

    The data is on disk when this returns. With `overwrite=False`, of several writers at once one wins and the
    others raise FileExistsError. Raises OSError when the file cannot be written; the old one then stays
    (the new one, if only its name could not be made durable). A crash may leave a hidden temporary file beside
    it, never more readable than `mode`. Blocks on the disk.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
        try:
            os.fchmod(file.fileno(), mode)  # the umask may have taken bits away
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if overwrite:
                temporary.replace(path)
            else:
                path.hardlink_to(temporary)  # unlike a rename, refuses when the name is taken
        finally:
            temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Put the names in `directory` on disk, not only the contents. Raises OSError. Blocks on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private_file(path: Path, *, bytes_max: int) -> bytes:
    """Return the contents of a file of secrets.

    Raises KeyFileError when it cannot be read, is not a regular file, is longer than `bytes_max`, or when
    others than its owner have any access to it. Blocks on the disk.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        remedy = (
            "check the path, or make the key first" if isinstance(error, FileNotFoundError) else "check its owner"
        )
        raise KeyFileError(path, "file", error.strerror or str(error), remedy=remedy) from error
    try:
        _refuse_exposed(path, os.fstat(descriptor).st_mode)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(bytes_max + 1)
    finally:
        os.close(descriptor)
    if len(data) > bytes_max:
        problem = f"is longer than {bytes_max} bytes"
        raise KeyFileError(path, "file", problem, remedy="give the path of a key file")
    return data


def _refuse_exposed(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise KeyFileError(path, "file", "is not a regular file", remedy="give the path of a key file")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        problem = f"others than its owner have access (mode {stat.S_IMODE(mode):04o})"
        remedy = f"run: chmod 600 {path}; if others may have read it, replace the key"
        raise KeyFileError(path, "permissions", problem, remedy=remedy)
