"""The shape of a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from chatsvc.application.results import Result
from chatsvc.application.state import State
from chatsvc.application.wire import Wire

Rule: TypeAlias = Callable[[State, Any], Result]
"""Carries out one kind of operation. Raises Refusal, before it has changed anything."""
Rules: TypeAlias = Mapping[type[Wire], Rule]
