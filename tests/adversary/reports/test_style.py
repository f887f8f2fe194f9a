"""Colours that can be read, in light and in dark, and package data that is there when installed."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = files("adversary.reports").joinpath("report.css").read_text()
READABLE = 4.5
"""Contrast of text that is not large: WCAG 2, level AA."""


def palettes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", CSS, flags=re.DOTALL)[:2]
    found = {
        name: dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6})", text))
        for name, text in (("light", light), ("dark", dark))
    }
    assert len(found["light"]) > 20
    assert found["light"].keys() == found["dark"].keys()
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


PAIRS = [
    *((ink, ground) for ink in ("ink", "quiet", "accent") for ground in ("paper", "card")),
    ("ink", "soft"),
    ("quiet", "soft"),
    *((each, ground) for each in ("good", "bad", "warned") for ground in ("card", f"{each}-soft")),
    *(("quiet", f"{each}-soft") for each in ("good", "bad", "warned")),
    *((f"t{number}", f"t{number}s") for number in range(6)),
    ("card", "bad"),
]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_texts_stand_out_from_their_ground(theme: str, ink: str, ground: str) -> None:
    colours = palettes()[theme]
    assert contrast(colours[ink], colours[ground]) >= READABLE
