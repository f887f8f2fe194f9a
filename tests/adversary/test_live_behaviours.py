"""The same behaviours in a real node among three honest ones: real sockets, real disks, real time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest

from adversary.behaviours.base import Behaviour, Means
from adversary.behaviours.catalogue import BEHAVIOURS, make_behaviour
from adversary.craft import Craft
from adversary.node import LATER, ByzantineReplica, played
from chatsvc.groupfile import GroupFile
from crypto.signing import Ed25519Signer
from pbft.core.codec import Opener
from pbft.core.effects import FromClient, FromPeer, Input, LinkUp, Received, Recovered, Timer, TimerExpired
from pbft.core.frames import wire_of
from pbft.core.messages import PeerMessage
from pbft.core.replica import Replica
from pbft.core.state_messages import FetchState, WantMeta
from pbft.core.types import Milliseconds, Now, ReplicaId, SequenceNumber
from pbft.core.voting_rules import VotingRules
from pbft.node.evidence import NAME
from tests.harness.executor import MemoryExecutor
from tests.harness.keys import make_group
from tests.node.network import Customer, client, running

Wanted = Sequence[tuple[str, Mapping[str, Any]]]
BYTES: Wanted = [
    ("replay", {}),
    ("sig_edge", {}),
    ("dual_encoding", {"to": [1]}),
    ("false_accuser", {}),
    ("fuzz", {}),
    ("cbor_bombs", {"rate": 50}),
]
VOTES: Wanted = [
    ("double_prepare", {}),
    ("double_commit", {"to": [0, 1]}),
    ("checkpoint_lie", {"both": 1}),
    ("ghost_vote", {}),
    ("view_storm", {"rate": 50}),
    ("reply_withhold", {}),
    ("mutate", {"message_type": "STATUS", "field": "last_executed", "change": "+1"}),
]
PRIMARY: Wanted = [("two_generals", {}), ("censor", {"victim": 0, "after": 2})]


@pytest.mark.parametrize(
    ("liar", "wanted"), [(3, BYTES), (3, VOTES), (0, PRIMARY)], ids=["bytes", "votes", "primary"]
)
async def test_a_liar_among_three_honest_nodes(group_file: GroupFile, liar: int, wanted: Wanted) -> None:
    """The honest agree and go on, and accuse nobody else."""
    honest = [replica for replica in range(4) if replica != liar]
    machines = {liar: played(group_file, wanted, seed=1)}
    async with running(group_file, range(4), machines), Customer.of(group_file, honest) as customer:
        for number in range(1, 7):
            assert await customer.say("hello") == [str(number).encode()] * 3
        for replica in honest:
            async with await client(group_file, replica, Ed25519Signer.generate()) as caller:
                report = await caller.inspect()
                assert not report["alarms"]
            assert accused_by(group_file, replica) <= {str(liar)}


def accused_by(file: GroupFile, replica: int) -> set[str]:
    """Whom a replica holds proofs against."""
    kept = (file.replica_directory(ReplicaId(replica)) / "evidence").glob("*.cbor")
    names = [NAME.fullmatch(path.name) for path in kept]
    return {name["replica"] for name in names if name is not None}


# -- the replica that is played, alone: every behaviour, without a network

START = Now(steady=Milliseconds(1_000), wall=Milliseconds(1_700_000_000_000))
MEMBERS = make_group(4, checkpoint_interval=4, pipeline_depth=1)
CRAFT = Craft(MEMBERS)
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "censor": {"victim": 0, "after": 0},
    "mutate": {"message_type": "PREPARE", "field": "sequence", "change": "+1"},
}


def at(ms: int) -> Now:
    return Now(steady=Milliseconds(START.steady + ms), wall=Milliseconds(START.wall + ms))


def machine_with(name: str, options: Mapping[str, Any], me: int) -> ByzantineReplica:
    """Started, with nothing in its ledger."""
    state = MemoryExecutor(MEMBERS.group)
    number = ReplicaId(me)
    inner = Replica(
        group=MEMBERS.group,
        me=number,
        rules=VotingRules(MEMBERS.group, number, MEMBERS.signers[me]),
        opener=Opener(MEMBERS.group, MEMBERS.verifier),
        executed=state,
    )
    means = Means(me=number, craft=Craft(MEMBERS.held_by([me])), random=Random(1))  # noqa: S311 - no secret
    machine = ByzantineReplica(inner, make_behaviour([(name, options)], means) or Behaviour(), state)
    machine.step(Recovered(now=START, records=(), last_executed=SequenceNumber(0), checkpoint=None))
    return machine


def conversation(me: int) -> list[Input]:
    """What a group of four says to replica `me` about one request, until it leaves for a view that it leads."""
    request = CRAFT.request("alice")
    batch = CRAFT.batch(request)
    others = [peer for peer in range(4) if peer != me]
    peers: list[tuple[int, PeerMessage]] = [(0, CRAFT.proposal(0, 1, batch))] if me else []
    peers += [(peer, CRAFT.prepare(peer, 1, batch.digest)) for peer in others if peer]
    peers += [(peer, CRAFT.commit(peer, 1, batch.digest)) for peer in others]
    wants = FetchState(number=1, sequence=SequenceNumber(4), state_root=batch.digest, wanted=WantMeta())
    peers += [(others[0], wants)]
    asked = FromClient(device=request.device, message=request)
    return [
        Received(now=at(1), messages=(asked,)),
        *(
            Received(now=at(2 + number), messages=(FromPeer(peer=ReplicaId(peer), message=message),))
            for number, (peer, message) in enumerate(peers)
        ),
        *(TimerExpired(now=at(1_000 * number), timer=Timer.STATUS) for number in (1, 2, 3)),
        LinkUp(now=at(3_500), peer=ReplicaId(others[0])),
        *(
            Received(
                now=at(4_000 + peer),
                messages=(FromPeer(peer=ReplicaId(peer), message=CRAFT.view_change(peer, me or 4)),),
            )
            for peer in others
        ),
        TimerExpired(now=at(9_000), timer=LATER),
    ]


def said_by(machine: ByzantineReplica, me: int) -> list[bytes]:
    """Everything that it sends in this conversation; what it executes is executed."""
    frames = []
    for given in conversation(me):
        effects = machine.step(given)
        assert not effects.serve_state, "what peers fetch goes through the behaviour"
        frames += [wire_of(MEMBERS.group.epoch, item.message) for item in effects.send for _ in item.to]
    return frames


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_every_behaviour_plays_a_live_replica(name: str) -> None:
    """All that it says is bytes that a node can send, and on some side of the conversation it lies."""
    lied = []
    for me in (0, 3):
        machine = machine_with(name, OPTIONS.get(name, {}), me)
        assert all(isinstance(frame, bytes) for frame in said_by(machine, me))
        lied.append(machine.played.lies)
    assert any(lied) or name in NEED_MORE


NEED_MORE = {"checkpoint_lie", "reply_lie", "reply_withhold"}
"""Of more than this conversation holds: executed batches."""


def test_a_live_liar_serves_a_state_as_it_likes() -> None:
    honest = said_by(machine_with("silent", {"until_ms": 0}, 3), 3)
    silent = said_by(machine_with("state_lie", {"how": "silent"}, 3), 3)
    answers = [frame for frame in honest if b"STATE" in frame and frame not in silent]
    assert len(answers) == 1


def test_it_knows_which_of_its_frames_no_honest_replica_made() -> None:
    machine = machine_with("double_prepare", {}, 3)
    machine.played.watch()
    said = said_by(machine, 3)
    prepares = dict.fromkeys(frame for frame in said if b"PREPARE" in frame[:10])
    assert [machine.played.lied(frame) for frame in prepares] == [False, True]


def test_what_is_only_late_is_no_lie() -> None:
    machine = machine_with("slow_primary", {"hold": 500}, 0)
    machine.played.watch()
    proposals = [frame for frame in said_by(machine, 0) if b"PROPOSAL" in frame[:12]]
    assert len(proposals) >= 3
    assert machine.played.lies
    assert not any(machine.played.lied(frame) for frame in proposals)
