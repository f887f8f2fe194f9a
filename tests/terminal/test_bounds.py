"""Times, numbers and logs at the edges of what they may be."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest

from chatsvc.application.operations import TIME_MS_MAX
from clients.terminal.screen import Screen
from tests.terminal.saying import message
from tests.terminal.test_screen import Desk


@pytest.mark.parametrize("hours", [-12, 0, 14])
def test_a_claimed_time_is_marked_and_may_be_as_early_or_late_as_there_are_dates(hours: int) -> None:
    desk = Desk()
    desk.screen = Screen(desk.model, zone=timezone(timedelta(hours=hours)))
    page = [message(0, "old", claimed_ms=0), message(1, "late", claimed_ms=TIME_MS_MAX), message(2, "now")]
    desk.model.rooms["garden"].log.add_page(page)
    text = desk.text()
    assert "✓ (time claimed) <Bob> old" in text
    assert "✓ (time claimed) <Bob> late" in text
    assert "✓ <Bob> now" in text
    assert "9999" in text
