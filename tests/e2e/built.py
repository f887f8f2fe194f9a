"""Marks for scenarios that need a part which may not be there yet."""

from __future__ import annotations

import pytest

from pbft.node.ledger import Ledger

_MUTE_REJOIN = hasattr(Ledger, "begin_again")

needs_mute_rejoin = pytest.mark.skipif(not _MUTE_REJOIN, reason="a node without its ledger does not start yet")
until_mute_rejoin = pytest.mark.skipif(_MUTE_REJOIN, reason="a node without its ledger starts, mute")
