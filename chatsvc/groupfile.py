"""The group file: who the replicas are, where they listen, and what they agreed on. Public: it holds no secret.

group.toml               for everybody
replica-I/signing.key    replica I's voting key
replica-I/tls.pem        its TLS key and certificate
replica-I/...            its ledger, state and evidence, made by the node
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from chatsvc.application.limits import ChatLimits
from crypto.errors import CertificateError, MalformedEncoding
from crypto.signing import PUBLIC_KEY_BYTES, PublicKey
from crypto.tls import client_dial_context
from pbft.client.directory import GroupDirectory, ReplicaContact
from pbft.core.group import Group, Parameters
from pbft.core.types import Epoch, ReplicaId
from pbft.node.config import Contact, Endpoint, NodeConfig
from pbft.node.limits import Limits

GROUP_FILE_NAME = "group.toml"
LIMITS_NAME = "limits.toml"
GROUP_FILE_BYTES_MAX = 1024 * 1024
FORMAT_VERSION = 1
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
RESTORE = "restore the file from a copy"


class GroupFileError(Exception):
    """The group file cannot be used. The text names the file, the field and the remedy."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {' '.join(problem.split())}")


class _Replica(msgspec.Struct, forbid_unknown_fields=True):
    id: Annotated[int, msgspec.Meta(ge=0, le=255)]
    signing_key: str
    replica_address: str
    client_address: str
    certificate: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    nonce: str
    parameters: dict[str, int]
    replicas: Annotated[list[_Replica], msgspec.Meta(min_length=1, max_length=64)]
    epoch: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    chat: dict[str, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One replica as the group file describes it."""

    signing_key: PublicKey
    replica_endpoint: Endpoint
    client_endpoint: Endpoint
    certificate_der: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFile:
    """A group file read and checked. `members[i]` is replica i."""

    path: Path
    group: Group
    members: tuple[Member, ...]

    def directory(self) -> GroupDirectory:
        """What a client needs to know."""
        contacts = tuple(
            ReplicaContact(
                host=member.client_endpoint.host,
                port=member.client_endpoint.port,
                certificate_der=member.certificate_der,
            )
            for member in self.members
        )
        return GroupDirectory(group=self.group, replicas=contacts)

    def replica_directory(self, replica: ReplicaId) -> Path:
        return self.path.parent / f"replica-{replica}"

    def node_config(self, replica: ReplicaId) -> NodeConfig:
        """What the node of one replica needs to know."""
        directory = self.replica_directory(replica)
        return NodeConfig(
            group=self.group,
            me=replica,
            contacts=tuple(
                Contact(endpoint=member.replica_endpoint, certificate_der=member.certificate_der)
                for member in self.members
            ),
            replica_listener=self.members[replica].replica_endpoint,
            client_listener=self.members[replica].client_endpoint,
            tls_pem=directory / "tls.pem",
            directory=directory,
            limits=read_limits(directory / LIMITS_NAME),
        )


def read_limits(path: Path) -> Limits:
    """What a file changes of a node's limits; the usual ones if there is none. Raises GroupFileError."""
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Limits()
    except (OSError, ValueError) as error:
        raise GroupFileError(path, f"cannot be read: {error}; correct or remove it") from error
    for name, value in found.items():
        if name not in Limits.__dataclass_fields__:
            raise GroupFileError(path, f"{name}: there is no such limit; remove the line")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise GroupFileError(path, f"{name}: {value!r} is not a whole number above 0")
    return Limits(**found)


def read_group_file(path: Path) -> GroupFile:
    """Read a group file, or the one in a directory. Raises GroupFileError."""
    if path.is_dir():
        path /= GROUP_FILE_NAME
    file = _parse(path)
    if file.version != FORMAT_VERSION:
        raise GroupFileError(
            path, f"version: {file.version}, while this program reads version {FORMAT_VERSION}; use the other one"
        )
    if [replica.id for replica in file.replicas] != list(range(len(file.replicas))):
        raise GroupFileError(path, "replicas: their ids must be 0, 1, 2, ... in this order")
    members = tuple(_member(path, replica) for replica in file.replicas)
    _refuse_shared(path, members)
    unknown = sorted(set(file.parameters) - set(Parameters.__dataclass_fields__))
    if unknown:
        raise GroupFileError(path, f"parameters.{unknown[0]}: there is no such parameter; remove the line")
    _check_limits(path, file.chat)
    try:
        group = Group(
            name=file.name,
            nonce=_hex(path, "nonce", file.nonce, None),
            members=tuple(member.signing_key for member in members),
            parameters=Parameters(**file.parameters),
            epoch=Epoch(file.epoch),
            application=tuple(sorted(file.chat.items())),
        )
        group.group_id  # noqa: B018 - computed here and kept: a number that has no encoding shows now
    except (ValueError, MalformedEncoding) as error:
        raise GroupFileError(path, f"{error}; {RESTORE}") from error
    return GroupFile(path=path, group=group, members=members)


def _check_limits(path: Path, values: Mapping[str, int]) -> None:
    try:
        ChatLimits.from_mapping(values)
    except ValueError as error:
        raise GroupFileError(path, f"chat: {error}; correct the line in [chat], or remove it") from error


def _parse(path: Path) -> _File:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        remedy = "'quorate init DIR' makes a new group; --group or QUORATE_GROUP says where an existing one is"
        raise GroupFileError(path, f"there is no such file; {remedy}") from error
    except OSError as error:
        raise GroupFileError(path, f"cannot be read: {error.strerror}") from error
    if len(data) > GROUP_FILE_BYTES_MAX:
        raise GroupFileError(path, f"has {len(data)} bytes, at most {GROUP_FILE_BYTES_MAX} are read")
    try:
        return msgspec.convert(tomllib.loads(data.decode()), _File)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise GroupFileError(path, f"is no TOML, or only half of it: {error}; {RESTORE}") from error
    except msgspec.ValidationError as error:
        raise GroupFileError(path, f"{error}; {RESTORE}") from error


def _member(path: Path, replica: _Replica) -> Member:
    where = f"replica {replica.id}"
    certificate = _hex(path, f"{where}: certificate", replica.certificate, None)
    try:
        client_dial_context(certificate)
    except CertificateError as error:
        raise GroupFileError(path, f"{where}: certificate: {error}; {RESTORE}") from error
    return Member(
        signing_key=PublicKey(_hex(path, f"{where}: signing_key", replica.signing_key, PUBLIC_KEY_BYTES)),
        replica_endpoint=_endpoint(path, f"{where}: replica_address", replica.replica_address),
        client_endpoint=_endpoint(path, f"{where}: client_address", replica.client_address),
        certificate_der=certificate,
    )


def _refuse_shared(path: Path, members: tuple[Member, ...]) -> None:
    """What tells the replicas apart must differ."""
    seen: dict[bytes | Endpoint, str] = {}
    for number, member in enumerate(members):
        for field, value in (
            ("certificate", member.certificate_der),
            ("replica_address", member.replica_endpoint),
            ("client_address", member.client_endpoint),
        ):
            if value in seen:
                raise GroupFileError(
                    path, f"replica {number}: {field}: the same as {seen[value]}; each needs its own"
                )
            seen[value] = f"the {field} of replica {number}"


def _hex(path: Path, field: str, text: str, length: int | None) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise GroupFileError(path, f"{field}: {text[:20]!r} is not hexadecimal; {RESTORE}") from error
    if length is not None and len(data) != length:
        raise GroupFileError(path, f"{field}: {len(data)} bytes where {length} are needed; {RESTORE}")
    return data


def _endpoint(path: Path, field: str, text: str) -> Endpoint:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    known = colon and is_host(host) and port.isascii() and port.isdigit() and len(port) <= 5
    if not known or not 0 < int(port) < 65536:
        raise GroupFileError(path, f"{field}: {text[:60]!r} is not HOST:PORT")
    return Endpoint(host, int(port))


def is_host(text: str) -> bool:
    """Whether this can be a host: a name of letters, digits and hyphens between dots, or an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.removesuffix(".").split(".")
        return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
    return True


def render_group_file(group: Group, members: tuple[Member, ...]) -> str:
    """The text of a group file; `read_group_file` gives the same group back."""
    lines = [
        "# A Quorate group: give this file to everybody who is to use it. It holds no secret.",
        "# Keys, parameters and limits of the chat make the group's identity; addresses may be changed.",
        f"version = {FORMAT_VERSION}",
        f"name = {msgspec.json.encode(group.name).decode()}",
        f'nonce = "{group.nonce.hex()}"',
        f"epoch = {group.epoch}",
        "",
        "[parameters]",
        *(f"{name} = {value}" for name, value in asdict(group.parameters).items()),
    ]
    if group.application:
        lines += ["", "[chat]", *(f"{name} = {value}" for name, value in group.application)]
    for number, member in enumerate(members):
        lines += [
            "",
            "[[replicas]]",
            f"id = {number}",
            f'signing_key = "{member.signing_key.hex()}"',
            f'replica_address = "{member.replica_endpoint}"',
            f'client_address = "{member.client_endpoint}"',
            f'certificate = "{member.certificate_der.hex()}"',
        ]
    return "\n".join(lines) + "\n"
