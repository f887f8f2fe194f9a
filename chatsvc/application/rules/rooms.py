"""Rooms: making them, and what is set about them."""

from __future__ import annotations

from typing import Final

from chatsvc.application.rules.rule import Rules

RULES: Final[Rules] = {}
