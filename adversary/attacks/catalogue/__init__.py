"""The named attacks: one JSON file each, beside this one, `NUMBER_NAME.json`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from adversary.attacks.model import Attack, AttackError
from adversary.attacks.reading import attack_from_json, read_attack

SUFFIX = ".json"


@cache
def all_attacks() -> tuple[Attack, ...]:
    """All of them, by number."""
    return tuple(sorted(_read(), key=lambda attack: attack.number))


def _read() -> Iterator[Attack]:
    for file in files(__name__).iterdir():
        if file.name.endswith(SUFFIX):
            try:
                yield attack_from_json(file.read_bytes())
            except AttackError as error:
                raise AttackError(f"{file.name}: {error}") from error


def attack_named(name: str) -> Attack:
    """By its name, its number, or the path of a file of one's own. Raises AttackError."""
    for attack in all_attacks():
        if name in {attack.name, str(attack.number)}:
            return attack
    if name.endswith(SUFFIX) or "/" in name or Path(name).is_file():
        return read_attack(Path(name))
    near = [attack.name for attack in all_attacks() if name and name in attack.name]
    hint = f"; did you mean {', '.join(near)}?" if near else "; `quorate attack list` names all there are"
    raise AttackError(f"no attack {name!r}{hint}")
