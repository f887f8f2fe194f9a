"""Marks for scenarios that need a part of the protocol which may not be there yet."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from pbft.core.effects import Timer


def _needs(what: str, *, built: bool) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not built, reason=f"{what} is not built yet")


needs_view_change = _needs("the view change", built="VIEW_CHANGE" in Timer.__members__)
needs_state_transfer = _needs("state transfer", built=find_spec("pbft.core.transfer") is not None)
needs_mute_rejoin = _needs("a node that starts without its ledger, mute", built=False)
