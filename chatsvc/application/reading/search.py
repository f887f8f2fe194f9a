"""Searches: what the application asks of an index."""

from __future__ import annotations

from chatsvc.application.reading import SearchPort

__all__ = ["SearchPort"]
