"""Who is in a room, and who may do what there."""

from __future__ import annotations

from typing import Final

from chatsvc.application.rules.rule import Rules

RULES: Final[Rules] = {}
