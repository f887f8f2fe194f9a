"""State transfer between executors: from nothing, from an old state, over bad networks, through crashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbft.core import state_walk
from pbft.core.application import Call, Outcome, Rows
from pbft.core.effects import InstallPages, InstallState
from pbft.core.errors import InvariantViolation
from pbft.core.state_digest import EMPTY_TABLE
from pbft.core.state_messages import FetchState, NotHeld, StateAnswer, WantListings, WantMeta, WantPages
from pbft.core.transfer import ANSWER_TIMEOUT_MS
from pbft.core.types import SequenceNumber
from pbft.state import snapshot
from pbft.state.executor import Executor
from tests.state.exchange import Exchange, Said, certificate, new_state, same, scrub_all, sources, talk
from tests.state.toy import Toy, answers, device, op, request, run


def test_an_empty_state_becomes_that_of_the_checkpoint() -> None:
    holders, fetcher = sources(40), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1])).run()
    same(fetcher, holders[1])
    assert exchange.alarms == []
    assert all(exchange.bytes_by.values()), "every source served a part"
    talk(fetcher, 4)
    talk(holders[1], 4)
    assert fetcher.state_root() == holders[1].state_root()


def test_an_old_state_fetches_what_differs_and_drops_what_is_gone() -> None:
    holders, fetcher = sources(40), new_state()
    talk(fetcher, 37)
    for executor in holders.values():
        run(executor, request(device(1), 0, op("leave"), session=99))
        talk(executor, 3)
    run(fetcher, request(device(77), 0, op("add", 5), op("say", "nowhere", "a page that nobody else has")))
    whole = Exchange(holders, new_state(), certificate(holders[1])).run().transfer.progress
    part = Exchange(holders, fetcher, certificate(holders[1])).run().transfer.progress
    same(fetcher, holders[1])
    assert part.pages_removed >= 1
    assert part.pages_fetched < whole.pages_fetched


def test_one_differing_page_is_the_only_one_fetched() -> None:
    """A diverged replica: one of its rows is another than at its peers."""
    holders, fetcher = sources(40), new_state()
    talk(fetcher, 40)
    fetcher._store.connection.execute("UPDATE rows_lines SET row = x'820101' WHERE key = ?", (line_key(fetcher),))
    (damaged,) = scrub_all(fetcher)
    exchange = Exchange(holders, fetcher, certificate(holders[1])).run()
    same(fetcher, holders[1])
    assert exchange.transfer.progress.pages_fetched == 1
    asked = [fetch.wanted for _, fetch in exchange.fetches if isinstance(fetch.wanted, WantPages)]
    assert [(wanted.table, wanted.pages) for wanted in asked] == [(damaged[0], (damaged[1],))]


def line_key(executor: Executor) -> bytes:
    (key,) = executor._store.connection.execute("SELECT max(key) FROM rows_lines").fetchone()
    assert isinstance(key, bytes)
    return key


@pytest.mark.parametrize("seed", range(8))
def test_over_a_network_that_loses_a_fifth_of_all_messages(seed: int) -> None:
    holders, fetcher = sources(24), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]), seed=seed, loss=0.2).run(within_ms=300_000)
    same(fetcher, holders[1])
    assert exchange.alarms == []


def test_a_transfer_is_led_on_to_a_newer_checkpoint_and_keeps_what_is_installed() -> None:
    holders, fetcher = sources(120, logs=40), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]))
    exchange.start()
    while exchange.transfer.progress.pages_fetched < 100:
        assert exchange.step()
    for executor in holders.values():
        talk(executor, 4, logs=40)
    exchange.retarget(certificate(holders[1]))
    exchange.finish()
    same(fetcher, holders[1])
    whole = Exchange(holders, new_state(), certificate(holders[1])).run().transfer.progress
    led_on = exchange.transfer.progress
    assert led_on.pages_fetched < whole.pages_fetched + 50, "not all over again"
    assert exchange.alarms == []


def test_an_older_certificate_leads_nowhere() -> None:
    holders, fetcher = sources(8), new_state()
    old = certificate(holders[1])
    for executor in holders.values():
        talk(executor, 4)
    exchange = Exchange(holders, fetcher, certificate(holders[1]))
    exchange.start()
    exchange.retarget(old)
    assert exchange.transfer.sequence == 12


def test_peers_that_moved_on_are_not_blamed_and_their_checkpoint_is_made_known() -> None:
    holders, fetcher = sources(8), new_state()
    target = certificate(holders[1])
    for executor in holders.values():
        talk(executor, 4)
    exchange = Exchange(holders, fetcher, target)
    exchange.start()
    for _ in range(40):
        assert exchange.step()
    assert not exchange.transfer.is_finished
    assert exchange.transfer.newest_held == 12
    assert exchange.transfer.progress.blamed == ()
    assert len(exchange.fetches) < 40, "they are asked again now and then only"
    exchange.retarget(certificate(holders[1]))
    exchange.finish()
    same(fetcher, holders[1])


def test_one_source_that_holds_the_checkpoint_is_enough() -> None:
    holders, fetcher = sources(8), new_state()
    target = certificate(holders[1])
    for replica in (1, 2):
        talk(holders[replica], 4)
    exchange = Exchange(holders, fetcher, target).run()
    same(fetcher, holders[3])
    assert exchange.alarms == []


def test_before_the_first_checkpoint_the_state_is_emptied() -> None:
    fetcher = new_state()
    talk(fetcher, 3)
    exchange = Exchange({}, fetcher, None).run()
    assert exchange.fetches == []
    assert fetcher.position.last_executed == 0
    assert fetcher.position.is_whole
    assert set(fetcher.table_roots().values()) == {EMPTY_TABLE}
    again = new_state()
    talk(again, 5)
    talk(fetcher, 5)
    assert fetcher.state_root() == again.state_root()


class Verbose(Toy):
    """Every operation writes a long line to one log."""

    def execute(self, rows: Rows, call: Call, operation: bytes) -> Outcome:
        rows.put("lines", ("log", call.sequence), (operation * 200_000,))
        return Outcome(b"", remember=False)


def test_a_page_larger_than_an_answer_comes_in_parts_from_one_peer() -> None:
    """Four lines of 200,000 bytes are one page."""
    holders, fetcher = {number: new_state(application=Verbose()) for number in (1, 2, 3)}, new_state()
    for executor in holders.values():
        for number in range(8):
            run(executor, request(device(1), number, op()))
    exchange = Exchange(holders, fetcher, certificate(holders[1])).run()
    same(fetcher, holders[1])
    parts = [(peer, fetch.wanted) for peer, fetch in exchange.fetches if isinstance(fetch.wanted, WantPages)]
    assert any(wanted.after is not None for _, wanted in parts)
    assert exchange.alarms == []


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_answers_of_two_items_each_put_together(monkeypatch: pytest.MonkeyPatch, loss: float) -> None:
    """Nearly every page and every listing comes in parts."""
    for module in (snapshot, state_walk):
        monkeypatch.setattr(module, "ANSWER_ITEMS_MAX", 2)
    holders, fetcher = sources(16, logs=3000), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]), loss=loss).run(within_ms=600_000)
    same(fetcher, holders[1])
    parts = [fetch.wanted for _, fetch in exchange.fetches if isinstance(fetch.wanted, WantListings | WantPages)]
    continued = {type(wanted) for wanted in parts if wanted.after is not None}
    assert continued == {WantListings, WantPages}
    assert exchange.alarms == []


def test_pitfall_22_a_retry_after_state_transfer_is_not_executed_twice() -> None:
    holders, fetcher = {number: new_state() for number in (1, 2, 3)}, new_state()
    order = request(device(5), 0, op("add", 100))
    for executor in holders.values():
        run(executor, order)
        talk(executor, 3)
    Exchange(holders, fetcher, certificate(holders[1])).run()
    same(fetcher, holders[1])
    (verdict,) = fetcher.judge(device(5), order.message)
    assert verdict == holders[1].judge(device(5), order.message)[0]
    for executor in (fetcher, holders[1]):
        assert answers(run(executor, order)) == []
        assert answers(run(executor, request(device(5), 1, op("add", 1)))) == [b"101"]
    assert fetcher.state_root() == holders[1].state_root()


# -- not whole


def test_while_pages_are_missing_nothing_is_executed_or_read_also_after_a_restart(tmp_path: Path) -> None:
    holders, path = sources(24), tmp_path / "state.sqlite"
    fetcher = new_state(path=path)
    talk(fetcher, 9)
    exchange = Exchange(holders, fetcher, certificate(holders[1]))
    exchange.start()
    while not exchange.installs:
        assert exchange.step()
    for _ in range(2):
        assert not fetcher.position.is_whole
        assert fetcher.position.last_executed == 0
        assert fetcher.checkpoint is None
        with pytest.raises(InvariantViolation, match="not whole"):
            fetcher.query(device(1), b"log 1")
        with pytest.raises(InvariantViolation, match="not whole"):
            run(fetcher, request(device(1), 0, op("read")))
        fetch = FetchState(number=1, sequence=SequenceNumber(8), state_root=EMPTY_TABLE, wanted=WantMeta())
        assert fetcher.serve_state(fetch).content == NotHeld(held=SequenceNumber(0))
        fetcher.close()
        fetcher = new_state(path=path)
    Exchange(holders, fetcher, certificate(holders[1]), now_ms=9000).run()
    same(fetcher, holders[1])
    fetcher.close()
    fetcher = new_state(path=path)
    same(fetcher, holders[1])
    fetcher.close()


class Crash(Exception):  # noqa: N818 - what happens
    """The process ends here."""


def test_a_crash_before_every_single_installation_is_made_good(tmp_path: Path) -> None:
    """Each run gets one step further; pages that were installed are not fetched again."""
    holders, path = sources(24, logs=30), tmp_path / "state.sqlite"
    target = certificate(holders[1])
    whole = Exchange(holders, new_state(), target).run().transfer.progress.pages_fetched

    def crash(install: InstallPages | InstallState) -> None:
        if exchange.installs == 1:
            raise Crash

    fetched, runs = 0, 0
    while True:
        runs += 1
        fetcher = new_state(path=path)
        exchange = Exchange(holders, fetcher, target, now_ms=1000 * runs)
        exchange.before_install = crash
        try:
            exchange.run()
        except Crash:
            assert not fetcher.position.is_whole
        else:
            break
        finally:
            fetcher.close()
        fetched += exchange.transfer.progress.pages_fetched
        assert runs < 100
    assert runs > 5
    fetcher = new_state(path=path)
    same(fetcher, holders[1])
    fetcher.close()
    assert fetched <= 64 * runs + whole


def test_a_state_that_is_there_already_travels_not_at_all() -> None:
    holders, fetcher = sources(8), new_state()
    talk(fetcher, 8)
    exchange = Exchange(holders, fetcher, certificate(holders[1])).run()
    same(fetcher, holders[1])
    assert [type(fetch.wanted) for _, fetch in exchange.fetches] == [WantMeta]


def test_a_row_changed_during_the_transfer_is_found_at_its_end_and_fetched_again() -> None:
    holders, fetcher = sources(8), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]))

    def spoil(install: InstallPages | InstallState) -> None:
        if isinstance(install, InstallState) and not exchange.alarms:
            page = next(iter(fetcher._store.digests.stored("lines")))
            fetcher._installer.pages(InstallPages(table="lines", pages=((page, ()),)))

    exchange.before_install = spoil
    exchange.run()
    same(fetcher, holders[1])
    (alarm,) = exchange.alarms
    assert "came to another root than the certified one" in alarm


def test_a_state_that_never_comes_to_its_root_stops_the_node() -> None:
    """Which no fault of a disk or a peer brings about: this program hashes otherwise than its peers."""
    holders, fetcher = sources(8), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]))

    def spoil(install: InstallPages | InstallState) -> None:
        if isinstance(install, InstallState):
            object.__setattr__(install, "agreed_time", install.agreed_time + 1)

    exchange.before_install = spoil
    with pytest.raises(InvariantViolation, match="equal page by page, but not its root"):
        exchange.run()


def test_tables_that_this_program_does_not_have_are_said_to_be_so() -> None:
    holders, fetcher = sources(8), new_state()
    del fetcher._store.digests._trees["lines"]
    del fetcher._store.digests._dirty["lines"]
    with pytest.raises(InvariantViolation, match="run the version that the group runs"):
        Exchange(holders, fetcher, certificate(holders[1])).run()


def test_what_was_asked_before_a_link_was_up_is_asked_again_at_once() -> None:
    holders, fetcher = sources(8), new_state()
    exchange = Exchange(holders, fetcher, certificate(holders[1]), loss=1.0)
    exchange.start()
    exchange._loss = 0.0
    began = exchange.now_ms
    for peer in holders:
        exchange.link_up(peer)
    exchange.finish()
    same(fetcher, holders[1])
    assert exchange.now_ms - began < ANSWER_TIMEOUT_MS


def test_answers_that_nobody_waits_for_change_nothing() -> None:
    holders, fetcher = sources(8), new_state()

    def twice(_fetch: FetchState, honest: StateAnswer) -> Said:
        return [(0, honest), (1, honest), (5000, honest)]

    exchange = Exchange(holders, fetcher, certificate(holders[1]), liars={1: twice, 2: twice, 3: twice}).run()
    same(fetcher, holders[1])
    assert exchange.alarms == []
