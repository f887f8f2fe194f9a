"""When a replica fetches its state, what it keeps from doing meanwhile, and how it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    StateInstalled,
    Timer,
    TimerExpired,
)
from pbft.core.errors import InvariantViolation
from pbft.core.messages import PeerMessage
from pbft.core.replica import Replica
from pbft.core.state_digest import BUCKETS, EMPTY_BUCKET, EMPTY_TABLE, state_root
from pbft.core.state_messages import FetchState, NotHeld, StateAnswer, StateMeta, WantMeta
from pbft.core.types import Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules
from tests.harness.craft import Craft, digest
from tests.harness.executor import MemoryExecutor
from tests.harness.keys import make_group

K = 4
MEMBERS = make_group(4, checkpoint_interval=K, pipeline_depth=1)
GROUP = MEMBERS.group
CRAFT = Craft(MEMBERS)
ME = ReplicaId(1)
X = CRAFT.batch(CRAFT.request("a"))


class EmptyState:
    """A state of one table without rows: whatever is certified of such a state is installed at once."""

    def table_roots(self) -> Mapping[str, Digest]:
        return {"lines": EMPTY_TABLE}

    def bucket_digests(self, table: str) -> Sequence[Digest]:
        return {"lines": (EMPTY_BUCKET,) * BUCKETS}[table]

    def page_digests(self, table: str, bucket: int) -> Mapping[bytes, Digest]:
        nothing: Mapping[bytes, Digest] = {}
        return [nothing for _ in self.bucket_digests(table)][bucket]


META = StateMeta(history_head=digest("history"), agreed_time=Milliseconds(7), table_roots=(("lines", EMPTY_TABLE),))


def root_at(sequence: int) -> Digest:
    return state_root(
        history_head=META.history_head,
        agreed_time=META.agreed_time,
        table_roots=dict(META.table_roots),
        group_id=GROUP.group_id,
        epoch=GROUP.epoch,
        sequence=SequenceNumber(sequence),
    )


def now(at: int = 1000) -> Now:
    return Now(steady=Milliseconds(at), wall=Milliseconds(at))


def certified(kind: RecordKind, sequence: int) -> Record:
    return Record(
        kind, SequenceNumber(sequence), CRAFT.checkpoint_certificate(sequence, root_at(sequence), (0, 2, 3)).wire
    )


def start(
    *records: Record, last_executed: int = 0, is_whole: bool = True, able: bool = True
) -> tuple[Replica, Effects]:
    replica = Replica(
        group=GROUP,
        me=ME,
        rules=VotingRules(GROUP, ME, MEMBERS.signers[ME]),
        opener=Opener(GROUP, MEMBERS.verifier),
        executed=MemoryExecutor(GROUP),
        local=EmptyState() if able else None,
    )
    recovered = Recovered(
        now=now(),
        records=records,
        last_executed=SequenceNumber(last_executed),
        checkpoint=None,
        is_whole=is_whole,
    )
    return replica, replica.step(recovered)


def tell(replica: Replica, message: PeerMessage, *, peer: int = 2, at: int = 1000) -> Effects:
    return replica.step(Received(now=now(at), messages=(FromPeer(peer=ReplicaId(peer), message=message),)))


def fetches(effects: Effects) -> list[tuple[ReplicaId, FetchState]]:
    return [(send.to[0], send.message) for send in effects.send if isinstance(send.message, FetchState)]


def answer_all(replica: Replica, effects: Effects) -> Effects:
    ((peer, fetch),) = fetches(effects)
    assert isinstance(fetch.wanted, WantMeta)
    return tell(replica, StateAnswer(number=fetch.number, sequence=fetch.sequence, content=META), peer=peer)


def finish(replica: Replica, effects: Effects) -> Effects:
    """Installed as asked for."""
    (install,) = effects.install
    assert isinstance(install, InstallState)
    return replica.step(StateInstalled(now=now(), sequence=install.sequence, state_root=install.state_root))


def test_a_state_that_lost_a_stable_checkpoint_is_fetched_at_the_start() -> None:
    replica, effects = start(certified(RecordKind.STABLE, 2 * K))
    ((_, fetch),) = fetches(effects)
    assert (fetch.sequence, fetch.state_root) == (2 * K, root_at(2 * K))
    assert replica.describe()["role"] == "fetching"
    done = finish(replica, answer_all(replica, effects))
    assert [record.kind for record in done.persist] == [RecordKind.STABLE, RecordKind.REPAIRED]
    assert replica.describe()["role"] == "voting"
    assert replica.log.last_executed == replica.log.low_watermark == 2 * K


def test_votes_above_the_lost_checkpoint_bind_and_batches_wait_for_the_state() -> None:
    n = 2 * K + 1
    replica, effects = start(
        certified(RecordKind.STABLE, 2 * K),
        Record(RecordKind.PROPOSAL, SequenceNumber(n), CRAFT.proposal(0, n, X).wire),
        Record(RecordKind.PREPARE, SequenceNumber(n), CRAFT.prepare(ME, n, X.digest).wire),
        Record(RecordKind.COMMITTED, SequenceNumber(n), CRAFT.commit_certificate(n, X.digest, (0, 2, 3)).wire),
    )
    assert effects.execute == ()
    other = CRAFT.batch(CRAFT.request("b"))
    conflicting = tell(replica, CRAFT.proposal(0, n, other), peer=0)
    assert conflicting.persist == ()
    done = finish(replica, answer_all(replica, effects))
    assert [execute.sequence for execute in done.execute] == [n]


def test_without_the_means_to_fetch_it_the_replica_does_not_start() -> None:
    with pytest.raises(InvariantViolation, match="the state only reaches 0"):
        start(certified(RecordKind.STABLE, K), able=False)


def test_a_divergence_outlives_a_restart_and_its_repair_too() -> None:
    stable, diverged, repaired = (
        certified(RecordKind.STABLE, K),
        certified(RecordKind.DIVERGED, 2 * K),
        certified(RecordKind.REPAIRED, 2 * K),
    )
    replica, effects = start(stable, diverged, last_executed=2 * K)
    assert [fetch.sequence for _, fetch in fetches(effects)] == [2 * K]
    assert replica.describe()["role"] == "fetching"
    replica, effects = start(stable, diverged, repaired, last_executed=2 * K)
    assert fetches(effects) == []
    assert replica.describe()["role"] == "voting"
    replica, _ = start(stable, diverged, last_executed=2 * K, able=False)
    assert replica.describe()["role"] == "diverged"


@pytest.mark.parametrize(("sequence", "fetched"), [(2 * K, False), (3 * K, True)])
def test_beyond_the_window_the_state_is_fetched_and_inside_it_batches_are(sequence: int, fetched: bool) -> None:
    replica, _ = start()
    effects = tell(replica, CRAFT.checkpoint_certificate(sequence, root_at(sequence), (0, 2, 3)))
    assert bool(fetches(effects)) is fetched


def test_a_newer_certificate_leads_the_transfer_on() -> None:
    replica, effects = start(certified(RecordKind.STABLE, K))
    later = tell(replica, CRAFT.checkpoint_certificate(3 * K, root_at(3 * K), (0, 2, 3)))
    assert [fetch.sequence for _, fetch in fetches(later)] == [3 * K]
    ((peer, old),) = fetches(effects)
    late = tell(replica, StateAnswer(number=old.number, sequence=old.sequence, content=META), peer=peer)
    assert [ignored.reason for ignored in late.ignored] == [IgnoreReason.NOT_WANTED]
    finish(replica, answer_all(replica, later))
    assert replica.log.last_executed == 3 * K


def test_a_state_that_is_not_whole_before_any_checkpoint_begins_anew() -> None:
    replica, effects = start(is_whole=False)
    (install,) = effects.install
    assert isinstance(install, InstallState)
    assert install.sequence == 0
    done = finish(replica, effects)
    assert done.persist == ()
    assert replica.describe()["role"] == "voting"


def test_silence_is_waited_out_and_a_link_that_comes_up_is_used_at_once() -> None:
    replica, effects = start(certified(RecordKind.STABLE, K))
    ((peer, _),) = fetches(effects)
    up = replica.step(LinkUp(now=now(1001), peer=peer))
    assert len(fetches(up)) == 1
    (timer,) = [timer for timer in up.timers if timer.timer is Timer.TRANSFER]
    expired = replica.step(TimerExpired(now=now(timer.at), timer=Timer.TRANSFER))
    assert len(fetches(expired)) == 1


def test_one_without_the_checkpoint_is_passed_over_for_another() -> None:
    replica, effects = start(certified(RecordKind.STABLE, K))
    ((peer, fetch),) = fetches(effects)
    answer = StateAnswer(number=fetch.number, sequence=fetch.sequence, content=NotHeld(held=SequenceNumber(2 * K)))
    ((other, _),) = fetches(tell(replica, answer, peer=peer))
    assert other != peer


def test_answers_without_a_question_are_ignored_and_installations_a_defect() -> None:
    replica, _ = start()
    answer = StateAnswer(number=1, sequence=SequenceNumber(K), content=META)
    assert [ignored.reason for ignored in tell(replica, answer).ignored] == [IgnoreReason.NOT_WANTED]
    with pytest.raises(InvariantViolation, match="nobody asked for"):
        replica.step(StateInstalled(now=now(), sequence=SequenceNumber(K), state_root=digest("r")))


def test_questions_of_peers_are_passed_on_to_the_state() -> None:
    replica, _ = start()
    fetch = FetchState(number=1, sequence=SequenceNumber(K), state_root=digest("r"), wanted=WantMeta())
    effects = tell(replica, fetch)
    assert [(serve.to, serve.fetch) for serve in effects.serve_state] == [(2, fetch)]
    assert replica.step(TimerExpired(now=now(2000), timer=Timer.SERVE_STATE)).serve_state == ()
