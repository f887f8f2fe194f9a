"""Attacks out of JSON: the one place where their bytes are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from adversary.attacks.checking import why_not
from adversary.attacks.fitting import within
from adversary.attacks.model import Attack, AttackError
from adversary.simulator.scenario import REPLICAS_MAX, Fault
from pbft.core.group import REPLICAS_MIN

T = TypeVar("T")

FILE_BYTES_MAX: Final = 1024 * 1024
_KINDS: Final = tuple(str(kind.__struct_config__.tag) for kind in Fault.__args__)
_AT: Final = re.compile(r"(?P<what>.*) - at `\$(?:\.(?P<place>.*)|(?P<index>\[.*))`", re.DOTALL)


def attack_from_json(data: bytes) -> Attack:
    """What happens, and what people do, need not be numbered. Raises AttackError, which begins with the place."""
    fields = _fields(data)
    _number(fields)
    try:
        attack = msgspec.convert(fields, Attack)
    except msgspec.MsgspecError as error:
        raise AttackError(at_its_place(error)) from error
    problem = why_not(attack)
    if problem is not None:
        raise AttackError(problem)
    return attack


def read_attack(path: Path) -> Attack:
    """Raises AttackError, naming the file."""
    return _read(path, attack_from_json)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an outcome says of how it came about: enough to do it again."""

    name: str
    world: Literal["simulator", "live"]
    seed: int
    replicas: int
    above_f: bool
    attack: Attack | None = None
    """Where it is none of the catalogue."""


def kind_of(path: Path) -> Literal["scenario", "outcome", "attack"]:
    """What a JSON file is meant to be. Raises AttackError, naming the file."""
    fields = _read(path, _fields)
    return "scenario" if "heal_ms" in fields else "outcome" if "verdict" in fields else "attack"


def read_told(path: Path) -> Told:
    """Of an outcome that `attack run --json` printed. Raises AttackError, naming the file."""
    return _read(path, _told)


def _told(data: bytes) -> Told:
    fields = _fields(data)
    kept = fields.pop("attack", None)
    try:
        told = msgspec.convert(fields, Told)
    except msgspec.MsgspecError as error:
        raise AttackError(at_its_place(error)) from error
    for problem in within("replicas", told.replicas, REPLICAS_MIN, REPLICAS_MAX):
        raise AttackError(problem)
    if kept is None:
        return told
    try:
        return msgspec.structs.replace(told, attack=attack_from_json(msgspec.json.encode(kept)))
    except AttackError as error:
        raise AttackError(f"attack{'.' if str(error)[:1].islower() else ': '}{error}") from error


def _fields(data: bytes) -> dict[str, Any]:
    """A JSON object within bounds. Raises AttackError."""
    if len(data) > FILE_BYTES_MAX:
        raise AttackError(f"longer than {FILE_BYTES_MAX} bytes")
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise AttackError(at_its_place(error)) from error
    except RecursionError as error:
        raise AttackError("lists in lists without end") from error
    return fields


def _read(path: Path, what: Callable[[bytes], T]) -> T:
    """Raises AttackError, naming the file."""
    try:
        with path.open("rb") as file:
            return what(file.read(FILE_BYTES_MAX + 1))
    except OSError as error:
        raise AttackError(f"{path}: {error.strerror}") from error
    except AttackError as error:
        raise AttackError(f"{path}: {error}") from error


def _number(fields: dict[str, Any]) -> None:
    """Everything that happens has an id, by which its dice are named; where it matters to nobody it is left out."""
    for part in (fields, fields.get("above_f")):
        if isinstance(part, dict):
            _count(part.get("happens"), 1)
            clients = part.get("clients")
            for number, client in enumerate(clients if isinstance(clients, list) else ()):
                if isinstance(client, dict):
                    _count(client.get("actions"), 1_000 * (number + 1))


def _count(items: Any, first: int) -> None:
    for number, item in enumerate(items if isinstance(items, list) else (), start=first):
        if isinstance(item, dict):
            item.setdefault("id", number)


def at_its_place(error: msgspec.MsgspecError) -> str:
    """What is wrong with the JSON itself, said the same way."""
    found = _AT.fullmatch(str(error))
    if found is None:
        return str(error)
    place, what = found["place"] or found["index"], found["what"]
    more = f"; there are {', '.join(_KINDS)}" if re.fullmatch(r"(above_f\.)?happens\[\d+\]\.kind", place) else ""
    return f"{place}: {what[:1].lower()}{what[1:]}{more}"
