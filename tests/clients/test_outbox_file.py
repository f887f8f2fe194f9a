"""The outbox on the disk: who may write, what it keeps, and what is no outbox."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chatsvc.application.bodies import MessageText
from chatsvc.application.schema import MessageIndex
from clients.outbox import PENDING_MAX, Draft, Name, Outbox, OutboxFailed, Place, State, outbox_path
from pbft.core.types import ClientSequence, SequenceNumber, SessionNumber
from tests.chatsvc.fakes import NOON
from tests.clients.backend import BOB
from tests.clients.outbox_runs import GARDEN, queue, states


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return outbox_path(tmp_path / "identity.toml", b"g" * 32)


def test_what_was_queued_is_there_after_a_kill(path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom clients.outbox import *\n"
        "outbox = Outbox.open(Path(sys.argv[1]))\n"
        "while True:\n"
        "    entry = outbox.append(Draft(room='garden', body='x', nonce=b'n'), 0)\n"
        "    print(entry.number, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(5):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    told = 5 + len([line for line in child.stdout if line.endswith("\n")])
    child.stdout.close()
    child.wait()
    assert len(states(path)) in {told, told + 1}


def test_one_delivers_at_a_time_and_others_may_queue(path: Path) -> None:
    with Outbox.open(path) as outbox, outbox.delivering(), Outbox.open(path) as other:
        queue(path, "one")
        with pytest.raises(OutboxFailed, match="another program"), other.delivering():
            pass
    with Outbox.open(path) as outbox, outbox.delivering():
        assert outbox.first_pending() is not None
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_outbox_is_named(path: Path) -> None:
    queue(path, "one")
    path.write_bytes(b"x" * 5000)
    with pytest.raises(OutboxFailed, match=str(path)):
        Outbox.open(path)


def test_an_entry_keeps_everything_that_was_written(path: Path) -> None:
    draft = Draft(room=GARDEN, body=MessageText("x"), action=True, reply_to=3, thread="Seeds", nonce=b"n" * 16)
    name = Name(device=BOB.public_key, session=SessionNumber(2**62), client_sequence=ClientSequence(3), event=9)
    place = Place(message=MessageIndex(4), sequence=SequenceNumber(8), batch_index=1)
    with Outbox.open(path) as outbox:
        number = outbox.append(draft, NOON).number
        outbox.name(number, name)
        outbox.ordered(number, place)
    with Outbox.open(path) as outbox:
        entry = outbox.entry(number)
        assert (entry.draft, entry.name, entry.place, entry.state) == (draft, name, place, State.ORDERED)
        assert outbox.last_session() == name.session


@pytest.mark.parametrize(("body", "thread"), [("x", "x" * 20_000), ("x", "\udcff"), ("\udcff", None), ("", None)])
def test_what_no_group_takes_is_not_queued(path: Path, body: str, thread: str | None) -> None:
    with Outbox.open(path) as outbox:
        with pytest.raises(OutboxFailed):
            outbox.append(Draft(room=GARDEN, body=MessageText(body), thread=thread, nonce=b"n"), NOON)
        assert outbox.entries() == []


def test_what_waits_can_be_dropped_and_nothing_else(path: Path) -> None:
    queue(path, "one", "two")
    name = Name(device=BOB.public_key, session=SessionNumber(5), client_sequence=ClientSequence(1), event=0)
    with Outbox.open(path) as outbox:
        outbox.name(2, name)
        assert (outbox.drop(1).state, outbox.drop(2).state) == (State.REFUSED, State.REFUSED)
        assert [entry.problem for entry in outbox.entries()] == ["dropped", "dropped; it may have been posted before"]
        assert (outbox.first_pending(), outbox.last_session()) == (None, name.session)
        for number in (1, 3):
            with pytest.raises(OutboxFailed, match=f"no message {number} waits"):
                outbox.drop(number)


def test_an_outbox_holds_so_many_and_forgets_old_ones(path: Path) -> None:
    with Outbox.open(path) as outbox:
        outbox._execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO entries"
            " (state, room, body, action, nonce, queued_ms) SELECT 'pending', 'garden', 'x', 0, x'00', 0 FROM n",
            (PENDING_MAX,),
        )
    with pytest.raises(OutboxFailed, match="wait already"):
        queue(path, "one more")
    with Outbox.open(path) as outbox:
        outbox._execute("UPDATE entries SET state = 'verified'")
    queue(path, "one more")
    with Outbox.open(path) as outbox:
        assert len(outbox.entries()) == 1001
