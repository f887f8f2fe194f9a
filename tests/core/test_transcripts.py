"""The transcripts in tests/core/transcripts say what the replicas do, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.transcript import TranscriptError, replay

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(path: Path, rewrite_transcripts: bool) -> None:
    expected = path.read_text(encoding="utf-8")
    actual = replay(expected)
    if rewrite_transcripts:
        path.write_text(actual, encoding="utf-8")
        return
    assert actual.splitlines() == expected.splitlines(), f"{path.name}: read the diff, then --rewrite-transcripts"


def test_there_are_transcripts() -> None:
    assert len(TRANSCRIPTS) >= 5


@pytest.mark.parametrize(
    "text", ["deliver PREPARE 0->1\n", "group n=4\nfly\n", "group n=4\ndeliver PREPARE v=0 n=1 2->0\n"]
)
def test_a_transcript_that_makes_no_sense_is_an_error(text: str) -> None:
    with pytest.raises(TranscriptError, match="line"):
        replay(text)
