"""Bodies of messages as canonical CBOR: one encoder and one strict decoder per message type.

A body never carries its type, group, epoch or signer: the envelope binds those (`crypto.signing.Domain`).
"""

from __future__ import annotations

from typing import Final

from crypto.canonical import Value, decode, encode, expect_bytes, expect_int, expect_list
from crypto.digest import DIGEST_BYTES, Digest
from crypto.errors import MalformedEncoding
from crypto.signing import PUBLIC_KEY_BYTES, PublicKey
from pbft.core.group import REPLICAS_MAX
from pbft.core.messages import (
    Answer,
    Checkpoint,
    Commit,
    Credit,
    Events,
    Fetch,
    NewView,
    OperationResult,
    Prepare,
    PrePrepare,
    Query,
    Rejoining,
    Reply,
    Request,
    SharedEvidence,
    SlotStatus,
    Status,
    Subscribe,
    Unsubscribe,
    ViewChange,
)
from pbft.core.types import ClientSequence, EventIndex, SequenceNumber, SessionNumber, View

REQUEST: Final = "REQUEST"
PRE_PREPARE: Final = "PRE-PREPARE"
PREPARE: Final = "PREPARE"
COMMIT: Final = "COMMIT"
CHECKPOINT: Final = "CHECKPOINT"
VIEW_CHANGE: Final = "VIEW-CHANGE"
NEW_VIEW: Final = "NEW-VIEW"
REPLY: Final = "REPLY"
ANSWER: Final = "ANSWER"
EVENTS: Final = "EVENTS"
STATUS: Final = "STATUS"
FETCH: Final = "FETCH"
QUERY: Final = "QUERY"
SUBSCRIBE: Final = "SUBSCRIBE"
CREDIT: Final = "CREDIT"
UNSUBSCRIBE: Final = "UNSUBSCRIBE"
EVIDENCE: Final = "EVIDENCE"

SMALL_BODY_BYTES_MAX = 64 * 1024
STATUS_SLOTS_MAX = 64
FETCH_MAX = 64
EVENTS_MAX = 1024
BITMAP_MAX = 2**62
EVIDENCE_BYTES_MAX = 256 * 1024
"""Of a proof that travels. Larger ones stay where they were found."""


def _digest(value: Value) -> Digest:
    return Digest(expect_bytes(value, length=DIGEST_BYTES))


def _sequence(value: Value) -> SequenceNumber:
    return SequenceNumber(expect_int(value))


def _flag(value: Value) -> bool:
    if value is True or value is False:
        return value
    msg = f"expected a boolean, not {type(value).__name__}"
    raise MalformedEncoding(msg)


def _fields(body: bytes, count: int, bytes_max: int) -> list[Value]:
    return expect_list(decode(body, bytes_max=bytes_max), count)


def _bounded(value: Value, most: int) -> list[Value]:
    items = expect_list(value)
    if len(items) > most:
        msg = f"list of {len(items)} items where at most {most} are allowed"
        raise MalformedEncoding(msg)
    return items


# -- requests and votes ------------------------------------------------------------------------------------------


def encode_request(request: Request) -> bytes:
    return encode([request.session, request.first_client_sequence, request.ack_below, list(request.operations)])


def decode_request(body: bytes, *, operations_max: int, operation_bytes_max: int) -> Request:
    session, first, ack_below, operations = _fields(body, 4, operations_max * (operation_bytes_max + 16) + 64)
    items = _bounded(operations, operations_max)
    request = Request(
        session=SessionNumber(expect_int(session)),
        first_client_sequence=ClientSequence(expect_int(first, maximum=2**62)),
        ack_below=ClientSequence(expect_int(ack_below, maximum=2**62)),
        operations=tuple(expect_bytes(item, bytes_max=operation_bytes_max) for item in items),
    )
    if not items or request.ack_below > request.first_client_sequence:
        msg = "request without operations, or one that acknowledges itself"
        raise MalformedEncoding(msg)
    return request


def encode_vote(vote: PrePrepare | Prepare | Commit) -> bytes:
    return encode([vote.view, vote.sequence, vote.batch_digest])


def _vote_fields(body: bytes) -> tuple[View, SequenceNumber, Digest]:
    view, sequence, digest = _fields(body, 3, 128)
    return View(expect_int(view)), SequenceNumber(expect_int(sequence, minimum=1)), _digest(digest)


def decode_pre_prepare(body: bytes) -> PrePrepare:
    view, sequence, digest = _vote_fields(body)
    return PrePrepare(view=view, sequence=sequence, batch_digest=digest)


def decode_prepare(body: bytes) -> Prepare:
    view, sequence, digest = _vote_fields(body)
    return Prepare(view=view, sequence=sequence, batch_digest=digest)


def decode_commit(body: bytes) -> Commit:
    view, sequence, digest = _vote_fields(body)
    return Commit(view=view, sequence=sequence, batch_digest=digest)


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    return encode([checkpoint.sequence, checkpoint.state_root])


def decode_checkpoint(body: bytes) -> Checkpoint:
    sequence, root = _fields(body, 2, 128)
    return Checkpoint(sequence=SequenceNumber(expect_int(sequence, minimum=1)), state_root=_digest(root))


# -- view change: the messages inside are whole frames, which pbft.core.codec opens ---------------------------------


def encode_view_change(change: ViewChange) -> bytes:
    checkpoint = change.checkpoint.wire if change.checkpoint is not None else None
    return encode([change.view, change.stable_checkpoint, checkpoint, [held.wire for held in change.prepared]])


def decode_view_change(body: bytes, *, bytes_max: int) -> tuple[View, SequenceNumber, bytes | None, list[bytes]]:
    """View, stable checkpoint, its certificate's frame and the prepared certificates' frames."""
    view, stable, checkpoint, prepared = _fields(body, 4, bytes_max)
    return (
        View(expect_int(view, minimum=1)),
        _sequence(stable),
        None if checkpoint is None else expect_bytes(checkpoint),
        [expect_bytes(frame) for frame in expect_list(prepared)],
    )


def encode_new_view(new_view: NewView) -> bytes:
    changes = [change.wire for change in new_view.view_changes]
    return encode([new_view.view, changes, [proposal.wire for proposal in new_view.pre_prepares]])


def decode_new_view(body: bytes, *, bytes_max: int) -> tuple[View, list[bytes], list[bytes]]:
    """View, VIEW-CHANGE frames and PRE-PREPARE frames."""
    view, changes, proposals = _fields(body, 3, bytes_max)
    return (
        View(expect_int(view, minimum=1)),
        [expect_bytes(frame) for frame in expect_list(changes)],
        [expect_bytes(frame) for frame in expect_list(proposals)],
    )


# -- statements for clients --------------------------------------------------------------------------------------


def encode_reply(reply: Reply) -> bytes:
    results: list[Value] = [[r.client_sequence, r.index, r.refused, r.result] for r in reply.results]
    return encode([reply.device, reply.session, reply.view, reply.sequence, results])


def decode_reply(body: bytes, *, bytes_max: int) -> Reply:
    device, session, view, sequence, results = _fields(body, 5, bytes_max)
    return Reply(
        device=_device(device),
        session=SessionNumber(expect_int(session)),
        view=View(expect_int(view)),
        sequence=_sequence(sequence),
        results=tuple(_result(item) for item in expect_list(results)),
    )


def _device(value: Value) -> PublicKey:
    return PublicKey(expect_bytes(value, length=PUBLIC_KEY_BYTES))


def _result(value: Value) -> OperationResult:
    client_sequence, index, refused, result = expect_list(value, 4)
    return OperationResult(
        client_sequence=ClientSequence(expect_int(client_sequence)),
        index=expect_int(index),
        refused=_flag(refused),
        result=expect_bytes(result),
    )


def encode_answer(answer: Answer) -> bytes:
    return encode([answer.device, answer.query_id, answer.sequence, answer.result])


def decode_answer(body: bytes, *, bytes_max: int) -> Answer:
    device, query_id, sequence, result = _fields(body, 4, bytes_max)
    return Answer(
        device=_device(device),
        query_id=expect_int(query_id),
        sequence=_sequence(sequence),
        result=expect_bytes(result),
    )


def encode_events(events: Events) -> bytes:
    items: list[Value] = list(events.items)
    return encode(
        [
            events.device,
            events.subscription,
            events.sequence,
            events.first,
            events.bodies,
            items,
            events.closed,
        ]
    )


def decode_events(body: bytes, *, bytes_max: int) -> Events:
    device, subscription, sequence, first, bodies, items, closed = _fields(body, 7, bytes_max)
    with_bodies = _flag(bodies)
    length = None if with_bodies else DIGEST_BYTES
    return Events(
        device=_device(device),
        subscription=expect_int(subscription),
        sequence=_sequence(sequence),
        first=EventIndex(expect_int(first, maximum=2**62)),
        bodies=with_bodies,
        items=tuple(expect_bytes(item, length=length) for item in _bounded(items, EVENTS_MAX)),
        closed=_flag(closed),
    )


# -- what travels unsigned on an authenticated link --------------------------------------------------------------


def encode_status(status: Status) -> bytes:
    slots: list[Value] = [[s.sequence, s.has_proposal, s.prepares, s.commits] for s in status.slots]
    rejoining = status.rejoining
    return encode(
        [
            status.view,
            status.in_view,
            list(status.view_changes),
            None if rejoining is None else [rejoining.checkpoint, rejoining.view],
            status.stable_checkpoint,
            status.last_executed,
            slots,
        ]
    )


def decode_status(body: bytes) -> Status:
    view, in_view, changes, rejoining, stable, executed, slots = _fields(body, 7, SMALL_BODY_BYTES_MAX)
    return Status(
        view=View(expect_int(view)),
        in_view=_flag(in_view),
        view_changes=tuple(View(expect_int(item)) for item in expect_list(changes, length_max=REPLICAS_MAX)),
        rejoining=_rejoining(rejoining),
        stable_checkpoint=_sequence(stable),
        last_executed=_sequence(executed),
        slots=tuple(_slot_status(item) for item in _bounded(slots, STATUS_SLOTS_MAX)),
    )


def _rejoining(value: Value) -> Rejoining | None:
    if value is None:
        return None
    checkpoint, view = expect_list(value, 2)
    return Rejoining(
        checkpoint=None if checkpoint is None else _sequence(checkpoint),
        view=None if view is None else View(expect_int(view)),
    )


def _slot_status(value: Value) -> SlotStatus:
    sequence, has_proposal, prepares, commits = expect_list(value, 4)
    return SlotStatus(
        sequence=_sequence(sequence),
        has_proposal=_flag(has_proposal),
        prepares=expect_int(prepares, maximum=BITMAP_MAX),
        commits=expect_int(commits, maximum=BITMAP_MAX),
    )


def encode_fetch(fetch: Fetch) -> bytes:
    return encode([[sequence, digest] for sequence, digest in fetch.wanted])


def decode_fetch(body: bytes) -> Fetch:
    wanted = []
    for item in _bounded(decode(body, bytes_max=SMALL_BODY_BYTES_MAX), FETCH_MAX):
        sequence, digest = expect_list(item, 2)
        wanted.append((_sequence(sequence), _digest(digest)))
    return Fetch(wanted=tuple(wanted))


def decode_shared_evidence(body: bytes) -> SharedEvidence:
    """What the proof says is decoded when it is verified, if it ever is."""
    return SharedEvidence(data=expect_bytes(body, bytes_max=EVIDENCE_BYTES_MAX))


def encode_query(query: Query) -> bytes:
    return encode([query.query_id, query.minimum_sequence, query.query])


def decode_query(body: bytes) -> Query:
    query_id, minimum, query = _fields(body, 3, SMALL_BODY_BYTES_MAX)
    return Query(query_id=expect_int(query_id), minimum_sequence=_sequence(minimum), query=expect_bytes(query))


def encode_subscribe(subscribe: Subscribe) -> bytes:
    return encode([subscribe.subscription, subscribe.topic, subscribe.start, subscribe.bodies])


def decode_subscribe(body: bytes) -> Subscribe:
    subscription, topic, start, bodies = _fields(body, 4, 4096)
    return Subscribe(
        subscription=expect_int(subscription),
        topic=expect_bytes(topic, bytes_max=1024),
        start=EventIndex(expect_int(start, maximum=2**62)),
        bodies=_flag(bodies),
    )


def encode_credit(credit: Credit) -> bytes:
    return encode([credit.subscription, credit.taken])


def decode_credit(body: bytes) -> Credit:
    subscription, taken = _fields(body, 2, 64)
    return Credit(subscription=expect_int(subscription), taken=EventIndex(expect_int(taken, maximum=2**62)))


def encode_unsubscribe(unsubscribe: Unsubscribe) -> bytes:
    return encode([unsubscribe.subscription])


def decode_unsubscribe(body: bytes) -> Unsubscribe:
    (subscription,) = _fields(body, 1, 64)
    return Unsubscribe(subscription=expect_int(subscription))
