"""A valid frame of every kind that anybody may send."""

from __future__ import annotations

from functools import cache

from pbft.core.effects import Evidence
from pbft.core.evidence import encode_evidence
from pbft.core.frames import wire_of
from pbft.core.handshake import (
    ReplicaHello,
    Welcome,
    encode_client_hello,
    encode_inspect,
    encode_inspection,
    encode_refused,
    encode_replica_hello,
    encode_welcome,
)
from pbft.core.messages import (
    Answer,
    Body,
    ClientMessage,
    Credit,
    Events,
    Fetch,
    OperationResult,
    PeerMessage,
    Query,
    Reply,
    SharedEvidence,
    SlotStatus,
    Status,
    Subscribe,
    ToClient,
    Unsubscribe,
)
from pbft.core.state_messages import (
    BucketDigests,
    FetchState,
    Listings,
    NotHeld,
    Pages,
    StateAnswer,
    StateContent,
    StateMeta,
    WantBuckets,
    Wanted,
    WantListings,
    WantMeta,
    WantPages,
)
from pbft.core.types import (
    ClientSequence,
    EventIndex,
    Milliseconds,
    ReplicaId,
    SequenceNumber,
    SessionNumber,
    View,
)
from pbft.core.voting_rules import VotingRules
from tests.harness.craft import Craft, digest
from tests.harness.keys import make_group

REAL = make_group(4, real=True)
MEMBERS = make_group(4)
GROUP = MEMBERS.group
CRAFT = Craft(MEMBERS)
DEVICE = MEMBERS.device("a").public_key
WELCOME = Welcome(replica=ReplicaId(1), nonce=bytes(32))


@cache
def peer_messages() -> dict[str, PeerMessage]:
    request = CRAFT.request("a", 0, b"one", b"two")
    batch = CRAFT.batch(request, CRAFT.request("b"))
    status = Status(
        view=View(3),
        stable_checkpoint=SequenceNumber(128),
        last_executed=SequenceNumber(130),
        slots=(SlotStatus(sequence=SequenceNumber(131), has_proposal=True, prepares=6, commits=1),),
    )
    return {
        "PROPOSAL": CRAFT.proposal(0, 1, batch),
        "null PROPOSAL": CRAFT.proposal(0, 1, CRAFT.batch(timestamp=0)),
        "PREPARE": CRAFT.prepare(1, 1, digest("x")),
        "COMMIT": CRAFT.commit(2, 2**63 - 1, digest("x"), view=2**63 - 1),
        "CHECKPOINT": CRAFT.checkpoint(3, 128, digest("r")),
        "COMMIT-CERTIFICATE": CRAFT.commit_certificate(1, digest("x"), (0, 2, 3)),
        "CHECKPOINT-CERTIFICATE": CRAFT.checkpoint_certificate(128, digest("r"), (0, 1, 2, 3)),
        "STATUS": status,
        "FETCH": Fetch(wanted=((SequenceNumber(1), digest("x")),)),
        "BODY": Body(sequence=SequenceNumber(1), batch=batch),
        "REQUEST": request,
        "EVIDENCE": SharedEvidence(
            data=encode_evidence(
                GROUP,
                Evidence(
                    code="E2",
                    culprit=ReplicaId(1),
                    statements=(CRAFT.prepare(1, 1, digest("x")).wire, CRAFT.prepare(1, 1, digest("y")).wire),
                ),
            )
        ),
        **state_messages(),
    }


def state_messages() -> dict[str, PeerMessage]:
    """Every question about a state, and every answer."""
    asked: dict[str, Wanted] = {
        "meta": WantMeta(),
        "buckets": WantBuckets(table="lines"),
        "listings": WantListings(table="lines", buckets=(0, 255), after=b"page"),
        "pages": WantPages(table="lines", pages=(b"page", b"another")),
    }
    told: dict[str, StateContent] = {
        "nothing": NotHeld(held=SequenceNumber(256)),
        "meta": StateMeta(
            history_head=digest("h"),
            agreed_time=Milliseconds(9),
            table_roots=(("a", digest("a")), ("b", digest("b"))),
        ),
        "buckets": BucketDigests(table="lines", buckets=(digest("b"),) * 256),
        "listings": Listings(table="lines", buckets=((0, ((b"p", digest("p")),)), (255, ())), more=False),
        "pages": Pages(table="lines", pages=((b"p", ((b"k", b"row"), (b"l", b"row"))), (b"q", ())), more=True),
    }
    at = SequenceNumber(128)
    questions = {
        name: FetchState(number=7, sequence=at, state_root=digest("r"), wanted=wanted)
        for name, wanted in asked.items()
    }
    answers = {name: StateAnswer(number=7, sequence=at, content=content) for name, content in told.items()}
    return {
        **{f"FETCH-STATE {name}": question for name, question in questions.items()},
        **{f"STATE {name}": answer for name, answer in answers.items()},
    }


@cache
def frames() -> dict[str, bytes]:
    """A valid frame of every kind that anybody may send."""
    rules = VotingRules(GROUP, ReplicaId(1), MEMBERS.signers[1])
    result = OperationResult(client_sequence=ClientSequence(1), index=0, refused=False, result=b"ok")
    at = SequenceNumber(9)
    for_clients: dict[str, ToClient] = {
        "REPLY": rules.sign_reply(
            Reply(device=DEVICE, session=SessionNumber(1), view=View(0), sequence=at, results=(result,))
        ),
        "ANSWER": rules.sign_answer(Answer(device=DEVICE, query_id=1, sequence=at, result=b"ok")),
        "EVENTS": rules.sign_events(
            Events(device=DEVICE, subscription=1, sequence=at, first=EventIndex(0), bodies=True, items=(b"e",))
        ),
        "DIGESTS": rules.sign_events(
            Events(
                device=DEVICE, subscription=1, sequence=at, first=EventIndex(0), bodies=False, items=(digest("e"),)
            )
        ),
    }
    of_clients: dict[str, ClientMessage] = {
        "QUERY": Query(query_id=1, minimum_sequence=at, query=b"q"),
        "SUBSCRIBE": Subscribe(subscription=1, topic=b"t", start=EventIndex(0), bodies=True),
        "CREDIT": Credit(subscription=1, taken=EventIndex(5)),
        "UNSUBSCRIBE": Unsubscribe(subscription=1),
    }
    messages: dict[str, PeerMessage | ClientMessage | ToClient] = {**peer_messages(), **for_clients, **of_clients}
    prepared = CRAFT.prepared(1, digest("x"), (1, 2))
    handshakes = {
        "HELLO": encode_replica_hello(GROUP, ReplicaHello(replica=ReplicaId(1), to=ReplicaId(2))),
        "WELCOME": encode_welcome(GROUP, WELCOME),
        "CLIENT-HELLO": encode_client_hello(GROUP, MEMBERS.device("a"), WELCOME),
        "REFUSED": encode_refused("no"),
        "INSPECT": encode_inspect(GROUP.epoch),
        "INSPECTION": encode_inspection(GROUP.epoch, b"{}"),
        "PREPARED": prepared.wire,
        "batch": CRAFT.batch(CRAFT.request("a")).wire,
        "nothing": b"",
    }
    return {name: wire_of(GROUP.epoch, message) for name, message in messages.items()} | handshakes
