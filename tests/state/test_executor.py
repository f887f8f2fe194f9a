from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto.digest import digest_of_parts
from crypto.signing import PublicKey
from pbft.core.application import Call, EventItem, Outcome, Reader, Rows
from pbft.core.dedupe import Executed, Standing
from pbft.core.effects import Execute
from pbft.core.errors import InvariantViolation
from pbft.core.messages import OperationResult
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, SequenceNumber, SessionNumber
from pbft.state.errors import StorageFailure
from pbft.state.executor import INTERNAL_ERROR, Executor, open_state
from pbft.state.position import Position
from tests.state.toy import (
    NOW,
    STRANGER,
    Toy,
    answers,
    batch,
    device,
    op,
    request,
    roots,
    run,
    sample_batches,
    small_group,
)

ALICE, BOB = device(1), device(2)
GROUP = small_group()


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def executor(toy: Toy) -> Iterator[Executor]:
    executor = open_state(":memory:", toy, GROUP)
    yield executor
    executor.close()


def lines(executor: Executor, log: str = "log") -> list[bytes]:
    _, found = executor.events(ALICE, log.encode(), EventIndex(0), 100)
    return [item.head for item in found or ()]


# -- order, time, history ------------------------------------------------------------------------------------------


def test_a_batch_is_executed_with_its_place_and_the_agreed_time(executor: Executor, toy: Toy) -> None:
    done = run(
        executor,
        request(ALICE, 0, op("say", "log", "a"), op("add", 2), session=3),
        request(BOB, 5, op("say", "other", "b")),
        timestamp=1234,
    )
    call = {"sequence": SequenceNumber(1), "time": Milliseconds(1234)}
    assert [(c.device, c.session, c.client_sequence, c.index) for c in toy.calls] == [
        (ALICE, 3, 0, 0),
        (ALICE, 3, 1, 1),
        (BOB, 1, 5, 2),
    ]
    assert all(getattr(each, name) == value for each in toy.calls for name, value in call.items())
    assert [(each.device, each.session) for each in done.results] == [(ALICE, 3), (BOB, 1)]
    assert done.results[1].results == (
        OperationResult(client_sequence=ClientSequence(5), index=2, refused=False, result=b"1"),
    )
    assert done.topics == (b"log", ALICE, b"other")
    assert (done.now, done.sequence, done.state_root) == (NOW, 1, None)


def test_the_agreed_time_never_goes_back(executor: Executor, toy: Toy) -> None:
    for number, timestamp in enumerate([50, 40, 60, 0]):
        run(executor, request(ALICE, number, op("add", 1)), timestamp=timestamp)
    assert [call.time for call in toy.calls] == [50, 50, 60, 60]
    assert executor.position.agreed_time == 60


def test_the_history_head_commits_to_every_batch(executor: Executor) -> None:
    assert executor.position == Position(
        last_executed=SequenceNumber(0), history_head=GROUP.group_id, agreed_time=Milliseconds(0)
    )
    null, other = batch(timestamp=0), batch(request(ALICE, 0, op("add", 1)))
    head: bytes = GROUP.group_id
    for number, each in enumerate([other, null, null]):
        sequence = SequenceNumber(number + 1)
        executor.execute(Execute(sequence=sequence, batch=each), NOW)
        head = digest_of_parts(b"quorate/history/1", head, bytes(7) + bytes([sequence]), each.digest)
        assert executor.position.history_head == head


@pytest.mark.parametrize("sequence", [0, 1, 3])
def test_any_batch_but_the_next_is_our_bug_and_changes_nothing(executor: Executor, sequence: int) -> None:
    run(executor, request(ALICE, 0, op("add", 1)))
    before = executor.position, executor.state_root()
    with pytest.raises(InvariantViolation):
        executor.execute(Execute(sequence=SequenceNumber(sequence), batch=batch()), NOW)
    assert (executor.position, executor.state_root()) == before


def test_checkpoints_carry_the_root_and_are_found_again(tmp_path: Path) -> None:
    executor = open_state(tmp_path / "state.sqlite", Toy(), GROUP)
    found = [run(executor, request(ALICE, number, op("add", 1))).state_root for number in range(9)]
    assert [number + 1 for number, root in enumerate(found) if root] == [4, 8]
    checkpoint, position = executor.checkpoint, executor.position
    assert checkpoint is not None
    assert (checkpoint.sequence, checkpoint.state_root) == (8, found[7])
    executor.close()
    executor = open_state(tmp_path / "state.sqlite", Toy(), GROUP)
    assert (executor.checkpoint, executor.position) == (checkpoint, position)
    executor.close()


# -- exactly once ----------------------------------------------------------------------------------------------------


def test_a_retry_is_not_run_again_and_gives_no_second_result(executor: Executor) -> None:
    first = request(ALICE, 0, op("say", "log", "once"), op("say", "log", "twice"))
    again = request(ALICE, 1, op("say", "log", "twice"), op("say", "log", "new"))
    assert answers(run(executor, first, first)) == [b"1", b"2"]
    done = run(executor, first, again)
    assert [(each.client_sequence, each.index) for each in done.results[0].results] == [(2, 3)]
    assert lines(executor) == [b"once", b"twice", b"new"]


def test_pitfall_21_what_ran_is_judged_with_its_stored_result(executor: Executor) -> None:
    asked = request(ALICE, 3, op("add", 1), op("add", 1), session=2)
    assert executor.judge(ALICE, asked.message) == (Standing.NEW, Standing.NEW)
    done = run(executor, asked)
    results = done.results[0].results
    assert executor.judge(ALICE, asked.message) == tuple(Executed(SequenceNumber(1), each) for each in results)
    assert executor.judge(BOB, asked.message) == (Standing.NEW, Standing.NEW)


def test_stale_and_far_operations_are_refused_with_an_empty_result(executor: Executor, toy: Toy) -> None:
    run(executor, request(ALICE, 0, op("add", 1), op("add", 1)))
    late = request(ALICE, 0, op("add", 1), ack_below=1)
    far = request(ALICE, 1 + 7, op("add", 1), op("add", 1))
    done = run(executor, late, far)
    assert [each.results for each in done.results] == [
        (OperationResult(client_sequence=ClientSequence(0), index=0, refused=True, result=b""),),
        (
            OperationResult(client_sequence=ClientSequence(8), index=1, refused=False, result=b"3"),
            OperationResult(client_sequence=ClientSequence(9), index=2, refused=True, result=b""),
        ),
    ]
    assert executor.judge(ALICE, far.message) == (
        Executed(SequenceNumber(2), done.results[1].results[0]),
        Standing.OUT_OF_WINDOW,
    )


def test_a_request_is_judged_as_if_its_own_acknowledgement_came_first(executor: Executor) -> None:
    run(executor, request(ALICE, 0, *[op("add", 1)] * 8))
    before = executor.state_root()
    assert executor.judge(ALICE, request(ALICE, 8, op("add", 1)).message) == (Standing.OUT_OF_WINDOW,)
    moved = request(ALICE, 8, op("add", 1), ack_below=8)
    assert executor.judge(ALICE, moved.message) == (Standing.NEW,)
    assert executor.state_root() == before
    assert answers(run(executor, moved)) == [b"9"]


def test_ordered_reads_are_not_kept_yet_move_the_window(executor: Executor, toy: Toy) -> None:
    run(executor, request(ALICE, 0, op("join")))
    for number in range(1, 40):
        assert answers(run(executor, request(ALICE, number, op("read"), ack_below=number))) == [b"(0,)"]
    assert executor.judge(ALICE, request(ALICE, 39, op("read")).message) == (Standing.NEW,)


def test_a_machine_without_memory_stops_rather_than_differ(executor: Executor) -> None:
    position = executor.position
    with pytest.raises(InvariantViolation, match="no memory"):
        run(executor, request(ALICE, 0, op("raise", "log", "memory")))
    assert executor.position == position


def test_strangers_get_answers_but_no_rows(executor: Executor, toy: Toy) -> None:
    toy.open_to_all = False
    before = executor._store.table_roots()
    assert answers(
        run(executor, request(STRANGER, 0, op("say", "log", "x")), request(STRANGER, 0, op("raise", "l", "x")))
    )
    assert answers(run(executor, request(STRANGER, 0, op("read")))) == [b"None"]
    after = executor._store.table_roots()
    assert {name for name in before if before[name] != after[name]} == {"lines"}


def test_the_operation_that_makes_a_device_known_is_remembered_and_the_one_that_ends_it_is_not(
    executor: Executor, toy: Toy
) -> None:
    toy.open_to_all = False
    join, leave = request(ALICE, 0, op("join")), request(ALICE, 1, op("leave"))
    assert answers(run(executor, join, join, leave)) == [b"joined", b"left"]
    assert isinstance(executor.judge(ALICE, join.message)[0], Executed)
    assert executor.judge(ALICE, leave.message) == (Standing.NEW,)


# -- query of death --------------------------------------------------------------------------------------------------

WAYS = ["runtime", "recursion", "assert", "row", "tuple", "key", "missing"]


@pytest.mark.parametrize("how", WAYS)
def test_whatever_an_operation_raises_is_one_result_and_changes_no_row(executor: Executor, how: str) -> None:
    deadly = request(ALICE, 1, op("raise", "log", how))
    done = run(executor, request(ALICE, 0, op("say", "log", "a")), deadly, request(ALICE, 2, op("say", "log", "b")))
    assert answers(done) == [b"1", INTERNAL_ERROR, b"2"]
    assert lines(executor) == [b"a", b"b"]
    assert answers(run(executor, deadly)) == []  # its result is remembered
    assert done.topics == (b"log",)


def test_a_query_of_death_is_equal_everywhere() -> None:
    found = []
    for _ in range(2):
        executor = open_state(":memory:", Toy(), GROUP)
        deadly = [request(device(number), 0, op("raise", "log", how)) for number, how in enumerate(WAYS)]
        found.append((run(executor, *deadly), executor.state_root()))
        executor.close()
    assert found[0] == found[1]


def test_an_operation_that_is_no_encoding_is_a_query_of_death_too(executor: Executor) -> None:
    assert answers(run(executor, request(ALICE, 0, b"\xff"))) == [INTERNAL_ERROR]


class Odd(Toy):
    """Breaks the contract in ways of its own."""

    outcome: object = None

    def execute(self, rows: Rows, call: Call, operation: bytes) -> Outcome:
        super().execute(rows, call, operation)
        rows.put("accounts", (call.device,), (1,))
        return self.outcome  # type: ignore[return-value]  # on purpose

    def knows(self, rows: Reader, device: PublicKey) -> bool:
        raise RuntimeError(super().knows(rows, device))


@pytest.mark.parametrize("outcome", [None, Outcome("text"), Outcome(bytearray(b"x")), Outcome(b"", topics=([],))])  # type: ignore[arg-type]
def test_an_outcome_of_other_types_is_an_error_too(outcome: object) -> None:
    odd = Odd()
    odd.outcome = outcome
    executor = open_state(":memory:", odd, GROUP)
    before = executor._store.table_roots()
    assert answers(run(executor, request(ALICE, 0, op("add", 1)))) == [INTERNAL_ERROR]
    assert executor._store.table_roots() == before
    executor.close()


def test_an_interrupt_is_no_result_and_the_batch_may_be_executed_again(executor: Executor, toy: Toy) -> None:
    asked = batch(request(ALICE, 0, op("say", "log", "a"), op("say", "log", "b")))
    execute, broken, inner = Execute(sequence=SequenceNumber(1), batch=asked), True, toy.execute

    def interrupted(rows: Rows, call: Call, operation: bytes) -> Outcome:
        outcome = inner(rows, call, operation)
        if broken and call.index == 1:
            raise KeyboardInterrupt
        return outcome

    toy.execute = interrupted  # type: ignore[method-assign]  # a fault to inject
    before = executor.state_root()
    with pytest.raises(KeyboardInterrupt):
        executor.execute(execute, NOW)
    assert (executor.position.last_executed, executor.state_root()) == (0, before)
    broken = False
    assert answers(executor.execute(execute, NOW)) == [b"1", b"2"]


def test_a_storage_failure_is_never_a_result(executor: Executor) -> None:
    run(executor, request(ALICE, 0, op("add", 1), op("say", "log", "a")))
    executor._store.connection.execute("UPDATE rows_accounts SET row = x'ff'")
    executor._store._tables["accounts"].forget()
    with pytest.raises(StorageFailure, match="state in memory is damaged: table accounts: the row of key"):
        run(executor, request(ALICE, 2, op("add", 1)))
    assert executor.position.last_executed == 1


def test_a_storage_failure_is_no_answer_to_a_read_either(executor: Executor, toy: Toy) -> None:
    run(executor, request(ALICE, 0, op("join"), op("say", "log", "a")))
    for table in ("accounts", "lines"):
        executor._store.connection.execute(f"UPDATE rows_{table} SET row = x'01'")
        executor._store._tables[table].forget()
    with pytest.raises(StorageFailure, match="not a row"):
        executor.query(ALICE, b"log")
    with pytest.raises(StorageFailure, match="not a row"):
        executor.events(ALICE, b"log", EventIndex(0), 5)
    toy.open_to_all = False
    with pytest.raises(StorageFailure, match="not a row"):
        run(executor, request(ALICE, 2, op("fail", "log")))


# -- tidying ---------------------------------------------------------------------------------------------------


class Tidy(Toy):
    """Keeps the first line of the log only, and may fail after that."""

    def __init__(self, how: str | None = None) -> None:
        super().__init__()
        self.how = how
        self.tidied: list[tuple[int, int]] = []

    def tidy(self, rows: Rows, sequence: SequenceNumber, time: Milliseconds) -> None:
        self.tidied.append((sequence, time))
        count = rows.get("lines", ("log", 0)) or (0,)
        assert isinstance(count[0], int)
        for number in range(2, count[0] + 1):
            rows.delete("lines", ("log", number))
        if self.how is not None:
            self.fail(rows, self.how)


def run_to_checkpoint(application: Toy) -> tuple[Executor, list[str]]:
    """Execute batches 1 .. 4, of a line each, and return what a reader sees after each."""
    executor, seen = open_state(":memory:", application, GROUP), []
    for number in range(4):
        run(executor, request(ALICE, number, op("say", "log", f"line {number}")), timestamp=1000 + number)
        seen.append(
            " ".join(item.head.decode() for item in executor.events(ALICE, b"log", EventIndex(0), 9)[1] or ())
        )
    return executor, seen


def test_a_state_is_tidied_at_checkpoints_after_the_operations_and_before_the_root() -> None:
    application, kept = Tidy(), Toy()
    executor, seen = run_to_checkpoint(application)
    untidy, _ = run_to_checkpoint(kept)
    assert application.tidied == [(4, 1003)]
    assert seen == ["line 0", "line 0 line 1", "line 0 line 1 line 2", "line 0"]
    assert executor.checkpoint is not None
    assert executor.checkpoint.state_root == executor.recomputed_state_root() != untidy.state_root()
    executor.close()
    untidy.close()


@pytest.mark.parametrize("how", WAYS)
def test_a_failure_to_tidy_leaves_no_write_and_the_batch_stands(how: str) -> None:
    executor, seen = run_to_checkpoint(Tidy(how))
    untidy, told = run_to_checkpoint(Toy())
    assert seen == told
    assert executor.state_root() == untidy.state_root()
    assert answers(run(executor, request(ALICE, 4, op("say", "log", "on it goes")))) == [b"5"]
    executor.close()
    untidy.close()


# -- reads -----------------------------------------------------------------------------------------------------


def test_reads_answer_from_the_last_executed_batch(executor: Executor) -> None:
    run(executor, request(ALICE, 0, op("say", "log", "a"), op("say", "log", "b")))
    sequence, answer = executor.query(ALICE, b"log")
    assert sequence == 1
    assert b"'a'" in answer
    assert executor.events(ALICE, b"log", EventIndex(1), 5) == (1, (EventItem(head=b"b"),))
    assert executor.events(ALICE, b"log", EventIndex(2), 5) == (1, ())
    assert executor.events(ALICE, b"nowhere", EventIndex(0), 5) == (1, None)
    assert executor.events(STRANGER, b"log", EventIndex(0), 5) == (1, None)


@pytest.mark.parametrize("query", [b"raise", b"put", b"\xff"])
def test_a_query_can_neither_break_nor_change_anything(executor: Executor, query: bytes) -> None:
    before = executor.state_root()
    assert executor.query(ALICE, query) == (0, INTERNAL_ERROR)
    assert executor.events(ALICE, b"raise", EventIndex(0), 5) == (0, None)
    run(executor)
    fresh = open_state(":memory:", Toy(), GROUP)
    run(fresh)
    assert executor.state_root() == fresh.state_root() != before
    fresh.close()


def test_the_cache_and_sqlite_answer_alike(tmp_path: Path) -> None:
    """A row read again after a restart must equal the one that was put, or replicas would part at a restart."""
    executor = open_state(tmp_path / "state.sqlite", Toy(), GROUP)
    roots(executor, sample_batches())
    cached = {
        (name, key): row
        for name, held in executor._store._tables.items()
        for key, row in [*held.older.items(), *held.recent.items()]
    }
    executor.close()
    executor = open_state(tmp_path / "state.sqlite", Toy(), GROUP)
    for (name, key), row in cached.items():
        assert repr(executor._store.get(name, key)) == repr(row)
    executor.close()


def test_names_are_counted_per_session(executor: Executor) -> None:
    for session in (1, 2):
        assert answers(run(executor, request(ALICE, 0, op("add", 1), session=session))) == [b"%d" % session]
    assert executor.judge(ALICE, request(ALICE, 0, op("add", 1), session=SessionNumber(1)).message) != (Standing.NEW,)
