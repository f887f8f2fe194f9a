"""Polls: a question, options, and one vote for each account."""

from __future__ import annotations

from typing import Final

from chatsvc.application.rules.rule import Rules

RULES: Final[Rules] = {}
