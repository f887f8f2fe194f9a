"""Names of what replicas under the adversary's control do; `byzantine.make_strategy` makes them."""

from __future__ import annotations

from typing import Final

STRATEGIES: Final = (
    "silent",
    "split_primary",
    "accomplice",
    "double_votes",
    "reply_lie",
    "fuzz",
    "twin",
    "hide_prepared",
    "forged_view_change",
    "false_new_view",
    "withheld_new_view",
    "view_storm",
    "two_view_changes",
    "slow_primary",
    "censor",
    "state_lie",
    "false_amnesia",
)
LEADERS: Final = ("silent", "split_primary", "slow_primary", "censor", "false_new_view", "withheld_new_view")
"""Those that need an office to be of use."""
OF_NEW_VIEWS: Final = frozenset(
    {
        "hide_prepared",
        "forged_view_change",
        "false_new_view",
        "withheld_new_view",
        "two_view_changes",
    }
)
"""Those that need views to change."""
