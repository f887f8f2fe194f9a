"""`quorate renew`: a new TLS certificate for a replica, before or after the old one has expired."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file
from crypto.errors import CryptoError
from crypto.files import atomic_write
from crypto.tls import make_tls_identity, write_tls_identity
from pbft.core.types import ReplicaId

EXIT_FAILED = 1
EXIT_USAGE = 2
TEMPORARY_KEYS = ".tls.pem.*.tmp"
"""What a crash leaves of a `tls.pem` that was being written (`crypto.files.atomic_write`)."""


def renew(directory: Annotated[Path, Parameter(name="DIR")], *, replica: int) -> int:
    """Make a new TLS certificate for a replica and put it into the group file. Its signing key stays.

    Afterwards give the new group file to everybody, and restart the replicas.

    Example: quorate renew my-group --replica 2

    Parameters
    ----------
    directory
        The group's directory, with the directory of this replica in it.
    replica
        Whose certificate is renewed.
    """
    try:
        file = read_group_file(directory)
        if not 0 <= replica < file.group.size:
            sys.stderr.write(f"quorate: --replica {replica}: the group has replicas 0 to {file.group.size - 1}\n")
            return EXIT_USAGE
        renew_certificate(file, ReplicaId(replica))
    except (GroupFileError, CryptoError, OSError) as error:
        sys.stderr.write(f"quorate: {error}\n")
        return EXIT_FAILED
    sys.stderr.write(
        f"{file.path}: replica {replica} has a new certificate.\n"
        f"Copy this file to the other replicas' machines and to the users; then restart replica {replica}, and after "
        "it the others, one at a time. `quorate restart` refuses that while they still have the old file\n"
    )
    return 0


def renew_certificate(file: GroupFile, replica: ReplicaId) -> GroupFile:
    """The file as it is afterwards. The old key is gone then. May be repeated if it was cut off in the middle.

    Raises GroupFileError, KeyFileError, OSError."""
    home = file.replica_directory(replica)
    if not home.is_dir():
        raise GroupFileError(file.path, f"{home} is not here; run this on the machine of replica {replica}")
    text = file.path.read_text()
    old = file.members[replica].certificate_der.hex()
    if text.count(old) != 1:
        raise GroupFileError(
            file.path, f"replica {replica}: certificate: cannot be found in the text; write it in lower case"
        )
    identity = make_tls_identity(f"replica-{replica}.quorate")
    for abandoned in home.glob(TEMPORARY_KEYS):  # of a run that was cut off; private keys must not lie about
        abandoned.unlink(missing_ok=True)
    # First the key: with a new group file and the old key nobody could tell which of both is wrong.
    write_tls_identity(home, identity, overwrite=True)
    atomic_write(file.path, text.replace(old, identity.certificate_der.hex()).encode(), 0o644, overwrite=True)
    return read_group_file(file.path)
