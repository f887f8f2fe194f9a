"""Messages: posted, edited, deleted, reacted to, pinned."""

from __future__ import annotations

from typing import Final

from chatsvc.application.rules.rule import Rules

RULES: Final[Rules] = {}
