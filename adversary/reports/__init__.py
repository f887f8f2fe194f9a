"""Reports: one page for what came of an attack, and one over many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adversary.attacks.outcome import Outcome
from adversary.reports.index import index_page
from adversary.reports.naming import INDEX_NAME, report_name, write_whole
from adversary.reports.page import page


def write_report(outcome: Outcome, directory: Path) -> Path:
    """Writes one self-contained HTML page, named after attack, world and seed; gives its path. Raises OSError.

    The same outcome gives the same bytes.
    """
    path = directory / report_name(outcome)
    write_whole(path, page(outcome))
    return path


def write_index(outcomes: Sequence[Outcome], directory: Path) -> Path:
    """Writes the page over what `write_report` put into the same directory; gives its path. Raises OSError."""
    path = directory / INDEX_NAME
    write_whole(path, index_page(outcomes))
    return path
