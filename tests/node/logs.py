"""What nodes say in their logs."""

from __future__ import annotations

from typing import Any

import trio

Logs = list[dict[str, Any]]


def closed(logs: Logs, listener: str) -> list[str]:
    """Reasons for which connections were closed so far."""
    events = {"connection closed", "client refused"} if listener == "client" else {"connection closed"}
    return [
        entry["reason"]
        for entry in logs
        if entry["event"] in events and entry.get("listener", "client") == listener and "exception" not in entry
    ]


def assert_sound(logs: Logs) -> None:
    assert not [entry for entry in logs if entry["event"] == "connection failed"]


async def expect(logs: Logs, listener: str, reason: str) -> None:
    """The node has told, or tells within moments, why it closed a connection."""
    with trio.fail_after(5):
        while not closed(logs, listener):
            await trio.lowlevel.checkpoint()
    assert any(reason in each for each in closed(logs, listener)), closed(logs, listener)
    assert all(closed(logs, listener)), "a reason is a text"
    logs.clear()
