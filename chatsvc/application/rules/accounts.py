"""Accounts, and the devices that speak for them."""

from __future__ import annotations

from typing import Final

from chatsvc.application.rules.rule import Rules

RULES: Final[Rules] = {}
