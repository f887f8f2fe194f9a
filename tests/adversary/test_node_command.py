"""`python -m adversary.node`: how it is used wrongly."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from adversary.node import main
from tests.chatsvc_process.processes import make_group, started


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make_group(tmp_path / "group").path.parent


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 2
    *usage, last = capsys.readouterr().err.splitlines()
    assert usage[0].startswith("usage: python -m adversary.node")
    return last


def test_what_must_be_given(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    assert "required: DIR, --replica, --behaviour" in usage_error(capsys)
    assert "required: --behaviour" in usage_error(capsys, directory, "--replica", 0)


def test_a_behaviour_that_is_none(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    last = usage_error(capsys, directory, "--replica", 0, "--behaviour", "honesty")
    assert "no behaviour 'honesty'" in last
    assert "reply_lie" in last


@pytest.mark.parametrize("replica", [4, -1, "x"])
def test_a_replica_that_is_none(capsys: pytest.CaptureFixture[str], directory: Path, replica: object) -> None:
    last = usage_error(capsys, directory, "--behaviour", "reply_lie", f"--replica={replica}")
    assert "--replica: " in last


def test_a_group_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path / "nowhere"), "--replica", "0", "--behaviour", "reply_lie"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}/nowhere: there is no such file; ")


def test_a_key_that_is_missing(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    path = directory / "replica-0" / "signing.key"
    path.unlink()
    assert main([str(directory), "--replica", "0", "--behaviour", "reply_lie"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{path}: ")


async def test_it_runs_and_stops_like_any_node(directory: Path) -> None:
    argv = [sys.executable, "-m", "adversary.node", str(directory), "--replica", "3", "--behaviour", "reply_lie"]
    async with started(*argv) as running:
        await running.until("node up")
        assert await running.end(signal.SIGTERM) == 0
    async with started(*argv, "--until-stdin-closes", stdin=subprocess.PIPE) as running:
        await running.until("node up")
        assert running.process.stdin is not None
        await running.process.stdin.aclose()
        assert await running.wait() == 0
