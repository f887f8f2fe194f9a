"""When a replica fetches its state, what it keeps from doing meanwhile, and how it goes on. Protocol, section 7."""

from __future__ import annotations

import pytest

from crypto.digest import Digest
from pbft.core.codec import Opener
from pbft.core.effects import (
    Effects,
    FromPeer,
    IgnoreReason,
    InstallState,
    LinkUp,
    Received,
    Record,
    RecordKind,
    Recovered,
    StateDamaged,
    StateInstalled,
    Timer,
    TimerExpired,
)
from pbft.core.errors import InvariantViolation
from pbft.core.messages import Body, PeerMessage
from pbft.core.replica import Replica
from pbft.core.state_digest import EMPTY_TABLE, state_root
from pbft.core.state_messages import FetchState, NotHeld, StateAnswer, StateMeta, WantMeta
from pbft.core.state_repair import PATIENCE_MS
from pbft.core.types import Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules
from tests.harness.craft import Craft, digest
from tests.harness.executor import TABLES, MemoryExecutor
from tests.harness.keys import make_group

K = 4
WINDOW = 2 * K
MEMBERS = make_group(4, checkpoint_interval=K, pipeline_depth=1)
GROUP = MEMBERS.group
CRAFT = Craft(MEMBERS)
ME = ReplicaId(1)
OTHERS = (0, 2, 3)
START = 1000
X = CRAFT.batch(CRAFT.request("a"))

# The certified state of these tests has no rows, nor has the replica's own: only its meta data is to be fetched.
META = StateMeta(
    history_head=digest("history"),
    agreed_time=Milliseconds(7),
    table_roots=tuple((name, EMPTY_TABLE) for name in TABLES),
)


def root_at(sequence: int) -> Digest:
    return state_root(
        history_head=META.history_head,
        agreed_time=META.agreed_time,
        table_roots=dict(META.table_roots),
        group_id=GROUP.group_id,
        epoch=GROUP.epoch,
        sequence=SequenceNumber(sequence),
    )


def now(at: int) -> Now:
    return Now(steady=Milliseconds(at), wall=Milliseconds(at))


def certified(kind: RecordKind, sequence: int) -> Record:
    certificate = CRAFT.checkpoint_certificate(sequence, root_at(sequence), OTHERS)
    return Record(kind, SequenceNumber(sequence), certificate.wire)


REPAIRED = Record(RecordKind.REPAIRED, SequenceNumber(WINDOW), b"")


def start(*records: Record, last_executed: int = 0, is_whole: bool = True) -> tuple[Replica, Effects]:
    """A replica after a restart, and what it does at its first STATUS."""
    replica = Replica(
        group=GROUP,
        me=ME,
        rules=VotingRules(GROUP, ME, MEMBERS.signers[ME]),
        opener=Opener(GROUP, MEMBERS.verifier),
        executed=MemoryExecutor(GROUP),
    )
    recovered = Recovered(
        now=now(START),
        records=records,
        last_executed=SequenceNumber(last_executed),
        checkpoint=None,
        is_whole=is_whole,
    )
    assert replica.step(recovered).execute == ()
    return replica, wake(replica, START)


def wake(replica: Replica, at: int, timer: Timer = Timer.STATUS) -> Effects:
    return replica.step(TimerExpired(now=now(at), timer=timer))


def tell(replica: Replica, *messages: PeerMessage, peer: int = 2, at: int = START) -> Effects:
    items = tuple(FromPeer(peer=ReplicaId(peer), message=message) for message in messages)
    return replica.step(Received(now=now(at), messages=items))


def fetches(effects: Effects) -> list[tuple[ReplicaId, FetchState]]:
    return [(send.to[0], send.message) for send in effects.send if isinstance(send.message, FetchState)]


def answer(replica: Replica, effects: Effects, *, at: int = START) -> Effects:
    """Answer its question truly."""
    ((peer, fetch),) = fetches(effects)
    assert isinstance(fetch.wanted, WantMeta)
    return tell(replica, StateAnswer(number=fetch.number, sequence=fetch.sequence, content=META), peer=peer, at=at)


def finish(replica: Replica, effects: Effects) -> Effects:
    """Install what it asks to be installed."""
    (install,) = effects.install
    assert isinstance(install, InstallState)
    return replica.step(StateInstalled(now=now(START), sequence=install.sequence, state_root=install.state_root))


def role(replica: Replica) -> object:
    return replica.describe()["role"]


# -- when


def test_a_state_more_than_a_window_below_its_stable_checkpoint_is_fetched_at_once() -> None:
    replica, effects = start(certified(RecordKind.STABLE, 3 * K))
    ((_, fetch),) = fetches(effects)
    assert (fetch.sequence, fetch.state_root) == (3 * K, root_at(3 * K))
    assert role(replica) == "transferring"
    done = finish(replica, answer(replica, effects))
    assert [(record.kind, record.sequence) for record in done.persist] == [(RecordKind.REPAIRED, 3 * K)]
    assert role(replica) == "voting"
    assert replica.log.last_executed == replica.log.low_watermark == 3 * K


def test_a_state_within_the_window_is_replayed_from_certificates_and_fetched_only_when_that_is_stuck() -> None:
    replica, effects = start(certified(RecordKind.STABLE, WINDOW))
    assert fetches(effects) == []
    certificate = CRAFT.commit_certificate(1, X.digest, OTHERS)
    replay = tell(replica, certificate, Body(sequence=SequenceNumber(1), batch=X), at=START + PATIENCE_MS - 1)
    assert [execute.sequence for execute in replay.execute] == [1]
    assert fetches(replay) == []


def test_stuck_below_its_stable_checkpoint_it_waits_out_its_patience_from_the_last_batch_on() -> None:
    replica, _ = start(certified(RecordKind.STABLE, WINDOW))
    assert fetches(wake(replica, START + PATIENCE_MS - 1)) == []
    assert len(fetches(wake(replica, START + PATIENCE_MS))) == 1
    later, _ = start(certified(RecordKind.STABLE, WINDOW), last_executed=1)
    later.log.executed(SequenceNumber(2))
    assert fetches(wake(later, START + PATIENCE_MS)) == [], "there was progress"
    assert len(fetches(wake(later, START + 2 * PATIENCE_MS))) == 1


@pytest.mark.parametrize(("sequence", "fetched"), [(WINDOW, False), (WINDOW + K, True)])
def test_a_certificate_leads_to_a_transfer_only_from_beyond_the_window(sequence: int, fetched: bool) -> None:
    replica, _ = start()
    effects = tell(replica, CRAFT.checkpoint_certificate(sequence, root_at(sequence), OTHERS))
    assert bool(fetches(effects)) is fetched


def test_a_divergence_outlives_a_restart_and_its_repair_too() -> None:
    stable, diverged = certified(RecordKind.STABLE, WINDOW), certified(RecordKind.DIVERGED, WINDOW)
    replica, effects = start(stable, diverged, last_executed=WINDOW)
    assert [fetch.sequence for _, fetch in fetches(effects)] == [WINDOW]
    assert role(replica) == "transferring"
    replica, effects = start(stable, diverged, REPAIRED, last_executed=WINDOW)
    assert fetches(effects) == []
    assert role(replica) == "voting"


def test_a_state_that_is_not_whole_before_any_checkpoint_begins_anew() -> None:
    replica, effects = start(is_whole=False)
    (install,) = effects.install
    assert isinstance(install, InstallState)
    assert install.sequence == 0
    done = finish(replica, effects)
    assert [(record.kind, record.sequence) for record in done.persist] == [(RecordKind.REPAIRED, 0)]
    assert role(replica) == "voting"


def test_a_state_that_is_not_whole_is_fetched_though_it_says_to_have_executed_enough() -> None:
    replica, effects = start(certified(RecordKind.STABLE, K), last_executed=K, is_whole=False)
    assert [fetch.sequence for _, fetch in fetches(effects)] == [K]
    assert role(replica) == "transferring"


def test_damage_is_mended_once_the_batch_under_way_is_executed() -> None:
    replica, _ = start(certified(RecordKind.STABLE, K), last_executed=K)
    n = K + 1
    begun = tell(replica, CRAFT.commit_certificate(n, X.digest, OTHERS), Body(sequence=SequenceNumber(n), batch=X))
    assert [execute.sequence for execute in begun.execute] == [n]
    damaged = replica.step(StateDamaged(now=now(START), what="page 7"))
    assert [alarm.text.startswith("page 7") for alarm in damaged.alarms] == [True]
    assert fetches(damaged) == []
    assert role(replica) == "diverged"
    executor = MemoryExecutor(GROUP)
    executor.state.last_executed = SequenceNumber(K)
    assert len(fetches(replica.step(executor.execute(begun.execute[0], now(START))))) == 1


# -- meanwhile


def test_votes_above_the_lost_checkpoint_bind_and_batches_wait_for_the_state() -> None:
    n = 3 * K + 1
    replica, effects = start(
        certified(RecordKind.STABLE, 3 * K),
        Record(RecordKind.PROPOSAL, SequenceNumber(n), CRAFT.proposal(0, n, X).wire),
        Record(RecordKind.PREPARE, SequenceNumber(n), CRAFT.prepare(ME, n, X.digest).wire),
        Record(RecordKind.COMMITTED, SequenceNumber(n), CRAFT.commit_certificate(n, X.digest, OTHERS).wire),
    )
    assert effects.execute == ()
    conflicting = tell(replica, CRAFT.proposal(0, n, CRAFT.batch(CRAFT.request("b"))), peer=0)
    assert conflicting.persist == ()
    done = finish(replica, answer(replica, effects))
    assert [execute.sequence for execute in done.execute] == [n]


def test_a_newer_certificate_leads_the_transfer_on() -> None:
    replica, effects = start(certified(RecordKind.STABLE, 3 * K))
    later = tell(replica, CRAFT.checkpoint_certificate(4 * K, root_at(4 * K), OTHERS))
    assert [fetch.sequence for _, fetch in fetches(later)] == [4 * K]
    ((peer, old),) = fetches(effects)
    late = tell(replica, StateAnswer(number=old.number, sequence=old.sequence, content=META), peer=peer)
    assert [ignored.reason for ignored in late.ignored] == [IgnoreReason.NOT_WANTED]
    finish(replica, answer(replica, later))
    assert replica.log.last_executed == 4 * K


def test_what_is_certified_during_the_installation_is_reached_afterwards() -> None:
    replica, effects = start(certified(RecordKind.STABLE, 3 * K))
    installing = answer(replica, effects)
    tell(replica, CRAFT.checkpoint_certificate(6 * K, root_at(6 * K), OTHERS))
    again = finish(replica, installing)
    assert replica.log.last_executed == 3 * K
    assert [fetch.sequence for _, fetch in fetches(again)] == [6 * K]


def test_a_state_that_f_plus_one_peers_vouch_for_is_fetched_too_and_its_own_vote_makes_it_stable() -> None:
    """Those who go on hold the state of the last checkpoint that they executed, which may lack this very vote."""
    replica, _ = start(certified(RecordKind.STABLE, 3 * K))
    for alone in (CRAFT.checkpoint(0, 4 * K, root_at(4 * K)), CRAFT.checkpoint(3, 4 * K, digest("a lie"))):
        assert fetches(tell(replica, alone)) == []
    led_on = tell(replica, CRAFT.checkpoint(2, 4 * K, root_at(4 * K)))
    assert [(fetch.sequence, fetch.state_root) for _, fetch in fetches(led_on)] == [(4 * K, root_at(4 * K))]
    assert led_on.persist == (), "the word of f + 1 makes nothing stable"
    done = finish(replica, answer(replica, led_on))
    kinds = [(record.kind, record.sequence) for record in done.persist]
    assert kinds == [(kind, 4 * K) for kind in (RecordKind.REPAIRED, RecordKind.CHECKPOINT, RecordKind.STABLE)]
    assert replica.log.last_executed == replica.log.low_watermark == 4 * K


def test_silence_is_waited_out_and_a_link_that_comes_up_is_used_at_once() -> None:
    replica, effects = start(certified(RecordKind.STABLE, 3 * K))
    ((peer, _),) = fetches(effects)
    up = replica.step(LinkUp(now=now(START + 1), peer=peer))
    assert len(fetches(up)) == 1
    (timer,) = [timer for timer in up.timers if timer.timer is Timer.TRANSFER]
    assert len(fetches(wake(replica, timer.at, Timer.TRANSFER))) == 1


def test_one_without_the_checkpoint_is_passed_over_for_another() -> None:
    replica, effects = start(certified(RecordKind.STABLE, 3 * K))
    ((peer, fetch),) = fetches(effects)
    refusal = StateAnswer(number=fetch.number, sequence=fetch.sequence, content=NotHeld(held=SequenceNumber(K)))
    ((other, _),) = fetches(tell(replica, refusal, peer=peer))
    assert other != peer


def test_when_nobody_holds_the_checkpoint_it_wishes_for_the_next_one() -> None:
    """After a restart of all nobody may have a snapshot, and an idle group makes none by itself."""
    replica, _ = start(certified(RecordKind.STABLE, 3 * K))
    wake(replica, START + 2 * PATIENCE_MS - 1)
    assert replica.repair.status().rejoining is None
    wake(replica, START + 2 * PATIENCE_MS)
    wished = replica.repair.status().rejoining
    assert wished is not None
    assert (wished.checkpoint, wished.view) == (4 * K, None)
    late = START + 2 * PATIENCE_MS
    led_on = tell(replica, CRAFT.checkpoint_certificate(4 * K, root_at(4 * K), OTHERS), at=late)
    finish(replica, answer(replica, led_on, at=late))
    assert replica.repair.status().rejoining is None


def test_answers_without_a_question_are_ignored_and_installations_a_defect() -> None:
    replica, _ = start()
    unasked = StateAnswer(number=1, sequence=SequenceNumber(K), content=META)
    assert [ignored.reason for ignored in tell(replica, unasked).ignored] == [IgnoreReason.NOT_WANTED]
    with pytest.raises(InvariantViolation, match="nobody asked for"):
        replica.step(StateInstalled(now=now(START), sequence=SequenceNumber(K), state_root=digest("r")))


def test_questions_of_peers_are_passed_on_to_the_state() -> None:
    replica, _ = start()
    fetch = FetchState(number=1, sequence=SequenceNumber(K), state_root=digest("r"), wanted=WantMeta())
    effects = tell(replica, fetch)
    assert [(serve.to, serve.fetch) for serve in effects.serve_state] == [(2, fetch)]
    assert wake(replica, START + 1000, Timer.SERVE_STATE).serve_state == ()
