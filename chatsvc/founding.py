"""Founding a group: keys, certificates, directories and the group file."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Final

from chatsvc.application.limits import ChatLimits
from chatsvc.groupfile import GROUP_FILE_NAME, GroupFileError, Member, is_host, render_group_file
from crypto.files import atomic_write
from crypto.keyfiles import write_key_file
from crypto.signing import Ed25519Signer, PublicKey
from crypto.tls import make_tls_identity, write_tls_identity
from pbft.core.group import REPLICAS_MIN, Group, Parameters
from pbft.node.config import Endpoint
from pbft.node.ledger import Ledger
from pbft.node.ledger_files import LEDGER_NAME, has_run

SIGNING_KEY_NAME = "signing.key"
NAME_CHARACTERS_MAX = 48
"""Less than a key file's, whose name says the replica too."""
REPLICAS_MAX = 61
"""Sets of replicas travel as 62-bit maps."""
USUAL_LIMITS: Final = MappingProxyType(
    asdict(ChatLimits(operations_per_minute=600, operations_burst=600, message_bytes_per_day=20_000_000))
)
"""Of the chat, all of them: later programs may have other defaults. For people: programs that measure or
attack a group found theirs without."""


def found_group(
    directory: Path,
    *,
    name: str,
    replicas: int,
    host: str,
    base_port: int | None,
    parameters: Parameters,
    chat: Mapping[str, int] = MappingProxyType({}),
) -> Path:
    """Make a new group in `directory` and return the path of its group file. `chat`: its limits (`ChatLimits`).

    Replica i listens for replicas on `base_port` + 2i and for clients one above; without a base port, free
    ports are taken. Raises GroupFileError if there is a group already, ValueError for what
    cannot be.
    """
    if not REPLICAS_MIN <= replicas <= REPLICAS_MAX:
        msg = f"a group has {REPLICAS_MIN} to {REPLICAS_MAX} replicas, not {replicas}"
        raise ValueError(msg)
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        msg = f"a group's name is 1 to {NAME_CHARACTERS_MAX} printable characters, not {name[:80]!r}"
        raise ValueError(msg)
    if not is_host(host):
        msg = f"host {host!r} is neither a host name nor an IP address"
        raise ValueError(msg)
    ChatLimits.from_mapping(chat)
    path = directory / GROUP_FILE_NAME
    if path.exists():
        raise GroupFileError(path, "there is a group here already; choose another directory")
    for home in filter(has_run, directory.glob("replica-*")):
        ledger = home / LEDGER_NAME
        remedy = "put that file back, or choose another directory: new keys would make the old ones' votes worthless"
        raise GroupFileError(path, f"is gone, but {ledger} shows that a group has run here; {remedy}")
    directory.mkdir(parents=True, exist_ok=True)
    endpoints = _endpoints(host, base_port, 2 * replicas)
    members, signers = [], []
    for number in range(replicas):
        home = _home(directory, number)
        home.mkdir(mode=0o700, exist_ok=True)
        signer = Ed25519Signer.generate()
        signers.append(signer)
        title = f"{name}-replica-{number}"
        write_key_file(
            home / SIGNING_KEY_NAME,
            kind="replica",
            name=title,
            signer_seed=signer.reveal_seed(),
            passphrase=None,
            overwrite=True,
        )
        identity = make_tls_identity(f"replica-{number}.quorate")
        write_tls_identity(home, identity, overwrite=True)
        members.append(
            Member(
                signing_key=signer.public_key,
                replica_endpoint=endpoints[2 * number],
                client_endpoint=endpoints[2 * number + 1],
                certificate_der=identity.certificate_der,
            )
        )
    group = Group(
        name=name,
        nonce=os.urandom(16),
        members=tuple(member.signing_key for member in members),
        parameters=parameters,
        application=tuple(sorted(chat.items())),
    )
    for number, signer in enumerate(signers):
        Ledger.create(_home(directory, number), ledger_identity(group, signer.public_key))
    # The group file comes last: with it the group exists, without it a second attempt starts over.
    atomic_write(path, render_group_file(group, tuple(members)).encode(), 0o644, overwrite=False)
    return path


def ledger_identity(group: Group, signing_key: PublicKey) -> bytes:
    """Whose ledger it is: the group's id and the replica's key."""
    return group.group_id + signing_key


def _home(directory: Path, number: int) -> Path:
    return directory / f"replica-{number}"


def _endpoints(host: str, base_port: int | None, count: int) -> list[Endpoint]:
    if base_port is not None:
        if not 0 < base_port <= 65535 - count:
            msg = f"base port {base_port}: {count} ports from there on must be below 65536"
            raise ValueError(msg)
        return [Endpoint(host, base_port + offset) for offset in range(count)]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = []
    try:
        for _ in range(count):
            listener = socket.socket(family, socket.SOCK_STREAM)
            held.append(listener)
            listener.bind((host, 0))
        return [Endpoint(host, listener.getsockname()[1]) for listener in held]
    except OSError as error:
        msg = f"host {host!r}: {error.strerror}; give an address of this machine, or a base port"
        raise ValueError(msg) from error
    finally:
        for listener in held:
            listener.close()
