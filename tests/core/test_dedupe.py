from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.signing import PublicKey
from pbft.core.application import Key, Row
from pbft.core.dedupe import Dedupe, Executed, SessionWindow, Standing, Verdict
from pbft.core.errors import InvariantViolation
from pbft.core.group import Parameters
from pbft.core.messages import OperationResult
from pbft.core.types import ClientSequence, SequenceNumber, SessionNumber

ALICE = PublicKey(b"a" * 32)
BOB = PublicKey(b"b" * 32)
WINDOW, SESSIONS = 4, 2


class DictRows:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, Key], Row] = {}

    def get(self, table: str, key: Key) -> Row | None:
        return self.rows.get((table, key))

    def put(self, table: str, key: Key, row: Row) -> None:
        self.rows[table, key] = row

    def delete(self, table: str, key: Key) -> None:
        self.rows.pop((table, key), None)

    def scan(
        self, table: str, *, prefix: Key = (), start: Key | None = None, limit: int, reverse: bool = False
    ) -> Iterator[tuple[Key, Row]]:
        raise NotImplementedError


class Clients:
    """Clients' operations, as an executor would treat them."""

    def __init__(self) -> None:
        self.rows = DictRows()
        self.dedupe = Dedupe(Parameters(client_window=WINDOW, sessions_per_device=SESSIONS))
        self.ran: list[tuple[PublicKey, int, int]] = []

    def window(self, session: int, device: PublicKey = ALICE) -> SessionWindow:
        return self.dedupe.open(self.rows, device, SessionNumber(session))

    def judge(self, session: int, client_sequence: int, device: PublicKey = ALICE) -> Verdict:
        return self.window(session, device).judge(ClientSequence(client_sequence))

    def acknowledge(self, session: int, ack_below: int) -> None:
        window = self.window(session)
        window.acknowledge(ClientSequence(ack_below))
        window.save()

    def run(self, session: int, *client_sequences: int, device: PublicKey = ALICE, remember: bool = True) -> None:
        """Send operations in one request: those that are new run."""
        window = self.window(session, device)
        for client_sequence in client_sequences:
            if window.judge(ClientSequence(client_sequence)) is Standing.NEW:
                self.ran.append((device, session, client_sequence))
                if remember:
                    window.remember(result(client_sequence), SequenceNumber(len(self.ran)))
                else:
                    window.note(ClientSequence(client_sequence))
        window.save()

    def kept(self) -> list[Key]:
        return sorted(key for table, key in self.rows.rows if table == "executed")


def result(client_sequence: int) -> OperationResult:
    answer = b"result %d" % client_sequence
    return OperationResult(client_sequence=ClientSequence(client_sequence), index=7, refused=False, result=answer)


@pytest.fixture
def clients() -> Clients:
    return Clients()


def test_what_ran_is_answered_with_its_stored_result(clients: Clients) -> None:
    clients.run(1, 0)
    assert clients.judge(1, 0) == Executed(SequenceNumber(1), result(0))
    assert clients.judge(1, 1) is Standing.NEW
    assert clients.judge(2, 0) is Standing.NEW
    assert clients.judge(1, 0, device=BOB) is Standing.NEW


def test_the_same_name_twice_in_one_request_runs_once(clients: Clients) -> None:
    clients.run(1, 0, 1, 0)
    assert clients.ran == [(ALICE, 1, 0), (ALICE, 1, 1)]


def test_pitfall_20_a_later_client_sequence_does_not_kill_an_earlier_one(clients: Clients) -> None:
    clients.run(1, 1)
    clients.run(1, 3)
    assert clients.judge(1, 0) is Standing.NEW
    clients.run(1, 0)
    clients.run(1, 2)
    assert [name[2] for name in clients.ran] == [1, 3, 0, 2]


@dataclass(frozen=True)
class Case:
    name: str
    session: int
    client_sequence: int
    verdict: Standing


@pytest.mark.parametrize(
    "case",
    [
        Case("acknowledged", 5, 1, Standing.STALE),
        Case("first after what was acknowledged", 5, 2, Standing.NEW),
        Case("last of the window", 5, 5, Standing.NEW),
        Case("first beyond the window", 5, 6, Standing.OUT_OF_WINDOW),
        Case("last of a new session's window", 6, 3, Standing.NEW),
        Case("first beyond a new session's window", 6, 4, Standing.OUT_OF_WINDOW),
        Case("the evicted session", 3, 3, Standing.STALE),
        Case("an older one, never seen", 2, 0, Standing.STALE),
        Case("one that opening would evict", 3, 0, Standing.STALE),
        Case("one between the open ones", 4, 9, Standing.OUT_OF_WINDOW),
    ],
    ids=lambda case: case.name,
)
def test_standings(clients: Clients, case: Case) -> None:
    clients.run(3, 0)
    clients.run(4, 0)
    clients.run(5, 0, 1)  # evicts 3
    clients.acknowledge(5, 2)
    assert clients.judge(case.session, case.client_sequence) is case.verdict


def test_a_session_below_all_of_a_full_set_is_stale_though_above_the_floor(clients: Clients) -> None:
    clients.run(7, 0)
    clients.run(9, 0)
    assert clients.judge(6, 0) is Standing.STALE
    assert clients.judge(8, 0) is Standing.NEW


def test_an_evicted_session_leaves_no_rows_and_is_refused_for_ever(clients: Clients) -> None:
    clients.run(1, 0, 2)
    clients.run(2, 0)
    clients.run(3, 0)
    assert clients.kept() == [(ALICE, 2, 0), (ALICE, 3, 0)]
    for client_sequence in range(WINDOW + 1):
        assert clients.judge(1, client_sequence) is Standing.STALE
    clients.run(1, 0, 1, 2)
    clients.acknowledge(1, 2)
    assert len(clients.ran) == 4
    assert clients.rows.get("sessions", (ALICE,)) == (1, [[2, 0, 1], [3, 0, 1]])


def test_session_0_can_be_opened(clients: Clients) -> None:
    clients.run(0, 0)
    assert clients.judge(0, 0) == Executed(SequenceNumber(1), result(0))


def test_acknowledged_results_are_forgotten_and_the_window_moves(clients: Clients) -> None:
    clients.run(1, 0, 1, 2)
    assert clients.judge(1, 5) is Standing.OUT_OF_WINDOW
    clients.acknowledge(1, 2)
    assert clients.kept() == [(ALICE, 1, 2)]
    assert clients.judge(1, 1) is Standing.STALE
    assert clients.judge(1, 5) is Standing.NEW


def test_an_acknowledgement_never_goes_back(clients: Clients) -> None:
    clients.run(1, 0, 1, 2)
    clients.acknowledge(1, 2)
    clients.acknowledge(1, 1)
    assert clients.judge(1, 1) is Standing.STALE


def test_what_did_not_run_cannot_be_acknowledged(clients: Clients) -> None:
    clients.run(1, 0, 2)
    clients.acknowledge(1, 1000)
    assert clients.rows.get("sessions", (ALICE,)) == (-1, [[1, 3, 3]])
    assert clients.judge(1, 3) is Standing.NEW
    assert clients.judge(1, 1) is Standing.STALE  # a hole below it: the client's own doing


def test_acknowledging_opens_no_session(clients: Clients) -> None:
    clients.acknowledge(1, 3)
    assert clients.rows.rows == {}


def test_a_window_that_is_not_saved_wrote_nothing(clients: Clients) -> None:
    clients.run(1, 0, 1)
    before = dict(clients.rows.rows)
    window = clients.window(1)
    window.acknowledge(ClientSequence(2))
    assert window.judge(ClientSequence(1)) is Standing.STALE
    assert window.judge(ClientSequence(5)) is Standing.NEW
    assert clients.rows.rows == before


def test_an_operation_that_is_only_counted_moves_the_window_and_may_run_again(clients: Clients) -> None:
    for client_sequence in range(3 * WINDOW):
        clients.run(1, client_sequence, remember=False)
        clients.acknowledge(1, client_sequence)
    assert clients.kept() == []
    assert clients.judge(1, 3 * WINDOW - 1) is Standing.NEW
    assert len(clients.ran) == 3 * WINDOW


def test_running_an_operation_of_a_stale_session_is_our_bug(clients: Clients) -> None:
    for session in (1, 2, 3):
        clients.run(session, 0)
    with pytest.raises(InvariantViolation):
        clients.window(1).note(ClientSequence(1))


requests = st.tuples(
    st.just("run"), st.integers(0, 5), st.lists(st.integers(0, 12), min_size=1, max_size=3), st.booleans()
)
acknowledgements = st.tuples(st.just("ack"), st.integers(0, 5), st.integers(0, 14))


@given(st.lists(st.one_of(requests, requests, acknowledgements), max_size=60))
def test_nothing_ever_runs_twice(
    actions: list[tuple[str, int, list[int], bool] | tuple[str, int, int]],
) -> None:
    clients = Clients()
    for action in actions:
        match action:
            case (_, session, list(names), twice):
                for _ in range(1 + twice):
                    clients.run(session, *names)
            case (_, session, int(ack_below)):
                clients.acknowledge(session, ack_below)
        assert len(clients.ran) == len(set(clients.ran))
        row = clients.rows.get("sessions", (ALICE,))
        opened = row[1] if row else []
        assert isinstance(opened, list)
        assert opened == sorted(opened, key=str)
        assert len(opened) <= SESSIONS
        assert len(clients.kept()) <= SESSIONS * WINDOW


@given(st.permutations(range(WINDOW)))
def test_a_window_may_run_in_any_order(order: list[int]) -> None:
    clients = Clients()
    for client_sequence in order:
        clients.run(1, client_sequence)
    assert [name[2] for name in clients.ran] == order


def test_what_was_refused_before_registration_does_not_run_after_it() -> None:
    """A stranger's operations leave no row; once the device is known, the names before that are spent."""
    clients = Clients()
    assert clients.judge(7, 0) is Standing.NEW  # the application refuses it: nothing is noted
    window = clients.window(7)
    window.introduce(ClientSequence(1))
    registration = OperationResult(client_sequence=ClientSequence(1), index=0, refused=False, result=b"ok")
    window.remember(registration, SequenceNumber(5))
    window.save()
    assert clients.judge(7, 0) is Standing.STALE
    assert isinstance(clients.judge(7, 1), Executed)
    assert clients.judge(7, 2) is Standing.NEW
    assert clients.judge(6, 0) is Standing.STALE
    assert clients.judge(8, 0) is Standing.NEW


def test_a_stranger_may_go_on_asking_beyond_a_window() -> None:
    clients = Clients()
    assert clients.judge(7, WINDOW) is Standing.OUT_OF_WINDOW
    window = clients.window(7)
    window.acknowledge(ClientSequence(WINDOW))
    assert window.judge(ClientSequence(WINDOW)) is Standing.NEW
    assert window.judge(ClientSequence(WINDOW - 1)) is Standing.STALE
