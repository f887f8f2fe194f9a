"""The network's control channel: one JSON object a line says what to do, one a line says what became of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, Struct, UnsetType

from adversary.network.proxy import Network
from adversary.network.route import Rule

LINE_BYTES_MAX = 64 * 1024

_Replica: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]
_Place: TypeAlias = _Replica | Literal["clients"]


class _Command(Struct, tag_field="do", tag=str.lower, forbid_unknown_fields=True):
    """`do` is the class's name in small letters."""


class Partition(_Command):
    parts: list[list[_Place]]


class Isolate(_Command):
    places: list[_Place]


class Hold(_Command):
    source: _Place
    target: _Place


class Cut(_Command):
    dialler: _Place
    replica: _Replica


class Inject(_Command):
    source: _Place
    target: _Place
    garbage: str
    """Hexadecimal."""


class Shape(_Command):
    """Fields of `Rule`, for some routes or for all; those not given stay as they are."""

    routes: list[tuple[_Place, _Place]] | None = None
    delay_s: float | UnsetType = UNSET
    jitter_s: float | UnsetType = UNSET
    bytes_per_s: float | UnsetType | None = UNSET
    held: bool | UnsetType = UNSET
    refused: bool | UnsetType = UNSET
    cut_chance: float | UnsetType = UNSET
    spoil_chance: float | UnsetType = UNSET


class Heal(_Command):
    pass


class Report(_Command):
    """What every route carried so far and holds now."""


Command: TypeAlias = Partition | Isolate | Hold | Cut | Inject | Shape | Heal | Report


def obey(network: Network, line: bytes) -> bytes:
    """Do what the line says. Gives the answer, whatever the line was; then nothing was done if it says `error`."""
    try:
        command = msgspec.json.decode(line, type=Command)
        answer: dict[str, Any] = _do(network, command) or {"ok": True}
    except KeyError as error:
        answer = {"error": f"there is no such route: {error}"}
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        answer = {"error": str(error)}
    return msgspec.json.encode(answer) + b"\n"


def _do(network: Network, command: Command) -> dict[str, Any] | None:
    match command:
        case Partition():
            network.partition(*command.parts)
        case Isolate():
            network.isolate(*command.places)
        case Hold():
            network.hold(command.source, command.target)
        case Cut():
            network.cut(command.dialler, command.replica)
        case Inject():
            network.inject(command.source, command.target, bytes.fromhex(command.garbage))
        case Shape():
            given = {field.name: getattr(command, field.name) for field in fields(Rule)}
            chosen = network.routes if command.routes is None else command.routes
            network.change(chosen, **{name: value for name, value in given.items() if value is not UNSET})
        case Heal():
            network.heal()
        case Report():
            return {"routes": [_route(network, *pair) for pair in network.routes]}
        case _:
            assert_never(command)
    return None


def _route(network: Network, source: _Place, target: _Place) -> dict[str, Any]:
    route = network.route(source, target)
    connections = 0 if target == "clients" else network.open_connections(source, target)
    return {
        "source": source,
        "target": target,
        "carried_bytes": route.carried_bytes,
        "waiting_bytes": route.waiting_bytes,
        "connections": connections,
    }
