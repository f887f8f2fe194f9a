"""Proofs as honest replicas would sign them, without any replica."""

from __future__ import annotations

from collections.abc import Sequence

from chatsvc.application.answers import Digests, Message, Reaction
from chatsvc.application.bodies import MessageText
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.schema import MessageIndex, MessageKind, MessageSerial
from chatsvc.application.wire import encode_wire
from clients.transcripts.proof import Form, Part, Proof
from clients.transcripts.rendering import render
from crypto.signing import PublicKey
from pbft.core.group import Group
from pbft.core.messages import Answer, OperationResult, Reply
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, ReplicaId, SequenceNumber, SessionNumber, View
from pbft.core.voting_rules import VotingRules
from tests.harness.keys import Members, make_group

MEMBERS = make_group(4, real=True)
DEVICE = PublicKey(b"D" * 32)
NOON = 1_482_148_800_000
ROOM = RoomName("garden")


def message(index: int, body: str | None = None, **changes: object) -> Message:
    fields: dict[str, object] = {
        "room": ROOM,
        "index": MessageIndex(index),
        "kind": MessageKind.TEXT,
        "author": DisplayName("Alice"),
        "body": MessageText(f"message {index}" if body is None else body),
        "time": Milliseconds(NOON + 1000 * index),
        "sequence": SequenceNumber(index + 3),
        "batch_index": 0,
        "serial": MessageSerial(index),
        "event": EventIndex(index + 2),
    }
    return Message(**(fields | changes))  # type: ignore[arg-type]  # as the fields are


MESSAGES = (
    message(0, "hello\nworld"),
    message(1, "waves", kind=MessageKind.ACTION, nonce=b"n", reply_to=MessageIndex(0)),
    message(2, "<b>&\u202e", thread="seeds", edits=1, edited_ms=Milliseconds(NOON), reactions=(Reaction("👍", 2),)),
    message(3, "", deleted_by=DisplayName("Bob")),
)


def answered(
    messages: Sequence[Message],
    *,
    by: Sequence[int] = (0, 2),
    count: int = 4,
    least: int = 0,
    sequence: int = 9,
    members: Members = MEMBERS,
    room: RoomName = ROOM,
) -> Part:
    """What replicas sign about these messages, which follow each other, of a room with `least` .. `count` - 1."""
    digests = Digests(
        room=room,
        first=messages[0].index,
        digests=b"".join(message.digest for message in messages),
        message_count=count,
        first_message=MessageIndex(least),
    )
    return signed(encode_wire(digests), by=by, sequence=sequence, members=members)


def signed(result: bytes, *, by: Sequence[int] = (0, 2), sequence: int = 9, members: Members = MEMBERS) -> Part:
    said = Answer(device=DEVICE, query_id=1, sequence=SequenceNumber(sequence), result=result)
    rules = [VotingRules(members.group, ReplicaId(replica), members.signers[replica]) for replica in by]
    return Part(operation=None, statements=tuple(each.sign_answer(said).wire for each in rules))


def ordered(result: bytes, *, by: Sequence[int] = (0, 2), sequence: int = 9) -> Part:
    said = Reply(
        device=DEVICE,
        session=SessionNumber(5),
        view=View(0),
        sequence=SequenceNumber(sequence),
        results=(OperationResult(client_sequence=ClientSequence(7), index=0, refused=False, result=result),),
    )
    rules = [VotingRules(MEMBERS.group, ReplicaId(replica), MEMBERS.signers[replica]) for replica in by]
    return Part(operation=ClientSequence(7), statements=tuple(each.sign_reply(said).wire for each in rules))


def proof_of(
    messages: Sequence[Message] = MESSAGES,
    *parts: Part,
    form: Form = Form.TEXT,
    room: RoomName = ROOM,
    group: Group = MEMBERS.group,
) -> Proof:
    return Proof(
        form=form,
        group_id=group.group_id,
        room=room,
        first=messages[0].index,
        messages=tuple(map(encode_wire, messages)),
        parts=parts or (answered(messages),),
    )


def file_of(form: Form, messages: Sequence[Message] = MESSAGES) -> bytes:
    return "".join(piece.text for piece in render(form, ROOM, messages[0].index, messages)).encode()
