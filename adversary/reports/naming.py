"""File names of reports: made of what an attack file says, so nothing of it is taken as it is."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from adversary.attacks.outcome import Outcome

INDEX_NAME = "index.html"
NAME_MAX = 60


def report_name(outcome: Outcome) -> str:
    """One file for each attack, world, seed, group size and side of f."""
    parts = [_plain(outcome.attack.name), _plain(outcome.world), str(int(outcome.seed))]
    if outcome.above_f:
        parts.append("above-f")
    if outcome.replicas != outcome.attack.replicas:
        parts.append(f"n{int(outcome.replicas)}")
    return f"{'-'.join(parts)}.html"


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "_", text.lower())[:NAME_MAX].strip("_") or "attack"


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing: whoever opens the file never sees half a page. Makes the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
