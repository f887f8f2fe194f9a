"""What Slack writes into messages, as plain text: `<@U1>`, `<#C1|general>`, `<https://...|label>`, `&amp;`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ANGLE = re.compile(r"<([^<>\n]*)>")
_ENTITY = re.compile(r"&(amp|lt|gt);")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">"}
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_EVERYBODY = ("here", "channel", "everyone")


def plain_text(text: str, *, people: Mapping[str, str], channels: Mapping[str, str]) -> str:
    """Return what people read. `people`, `channels`: names by Slack's ids. Control characters are dropped."""
    pieces: list[str] = []
    end = 0
    for match in _ANGLE.finditer(text):
        pieces.append(_entities(text[end : match.start()]))
        pieces.append(_entities(_angle(match[1], people, channels)))
        end = match.end()
    pieces.append(_entities(text[end:]))
    return _FORBIDDEN.sub("", "".join(pieces).replace("\r\n", "\n"))


def _angle(inside: str, people: Mapping[str, str], channels: Mapping[str, str]) -> str:
    """What stands between angle brackets: somebody, a channel, a command or a link, and maybe what it is called."""
    target, bar, label = inside.partition("|")
    kind, rest = target[:1], target[1:]
    if kind == "@":
        return "@" + people.get(rest, label.removeprefix("@") or rest)
    if kind == "#":
        return "#" + channels.get(rest, label.removeprefix("#") or rest)
    if kind == "!":
        if rest in _EVERYBODY:
            return f"@{rest}"
        return label if bar else f"@{rest.partition('^')[0]}"
    address = target.removeprefix("mailto:")
    return address if not label or label in {target, address} else f"{label} ({address})"


def _entities(text: str) -> str:
    return _ENTITY.sub(lambda match: _ENTITIES[match[1]], text)


def pieces_of(text: str, bytes_max: int) -> list[str]:
    """Cut what is too long for one message, at line ends and spaces where there are any."""
    pieces: list[str] = []
    while len(text.encode()) > bytes_max:
        head = text.encode()[:bytes_max].decode(errors="ignore")
        cut = max(head.rfind("\n"), head.rfind(" "))
        cut = len(head) if cut < len(head) // 2 else cut
        pieces.append(text[:cut])
        text = text[cut:].removeprefix("\n").removeprefix(" ")
    return [*pieces, text] if text or not pieces else pieces
