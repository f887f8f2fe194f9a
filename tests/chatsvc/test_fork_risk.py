"""What would make two correct replicas differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chatsvc.replay import replay

ROOT = Path(__file__).parents[2]

DIGEST = "d24d36bcf69b70e25296c93fcb0aa1ce01c995e79698048c5d8e3f136fe60baf"
"""What Python 3.11 gives; another Python must give the same. A change of rows, results or answers changes it."""

ENVIRONMENTS = [
    {"PYTHONHASHSEED": "1", "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "Asia/Tokyo"},
    {"PYTHONHASHSEED": "4294967295", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "TZ": "America/New_York"},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment["LANG"])
def test_pitfall_13_hash_seed_and_locale_leave_rows_and_answers_alone(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chatsvc.replay"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == replay()


def test_pitfall_13_python_versions_leave_rows_and_answers_alone() -> None:
    assert replay() == DIGEST
