"""Behaviours by the name under which they are started."""

from __future__ import annotations

from typing import Final

from adversary.behaviours.base import MakeBehaviour
from adversary.behaviours.replies import ReplyLie

BEHAVIOURS: Final[dict[str, MakeBehaviour]] = {"reply_lie": ReplyLie}
