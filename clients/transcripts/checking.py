"""What a proof proves, from the group alone: no network, no identity, nobody to believe.

Holds while at most f of the group's replicas are faulty: of f+1 that signed one thing, one is honest.
"""

from __future__ import annotations

from dataclasses import dataclass

from chatsvc.application.answers import MESSAGE_BYTES_MAX, Digests, Message, decode_answer, decode_message
from chatsvc.application.names import RoomName
from chatsvc.application.schema import MessageIndex
from clients.transcripts.proof import MESSAGE_DEPTH_MAX, Form, NotProven, Part, Proof
from clients.transcripts.rendering import Piece, render
from crypto.canonical import decode
from crypto.digest import DIGEST_BYTES, digest_of
from crypto.errors import MalformedEncoding
from crypto.signing import Ed25519Verifier
from pbft.client.offline import UnprovenAnswer, check_answer
from pbft.core.group import Group
from pbft.core.types import ReplicaId, SequenceNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One part: `replicas` signed for the messages `first` to `end` - 1, out of states at `sequence` or later.

    `ordered`: exactly at `sequence`. `message_count`, `first_message`: where the room ended and began then.
    """

    first: MessageIndex
    end: MessageIndex
    sequence: SequenceNumber
    ordered: bool
    replicas: tuple[ReplicaId, ...]
    message_count: int
    first_message: MessageIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """The messages are what the room held, without one missing among them."""

    form: Form
    room: RoomName
    first: MessageIndex
    messages: tuple[Message, ...]
    parts: tuple[Checked, ...]

    @property
    def end(self) -> MessageIndex:
        return MessageIndex(self.first + len(self.messages))

    @property
    def sequence(self) -> SequenceNumber:
        """Of the oldest state that anything here was read from."""
        return min(part.sequence for part in self.parts)

    @property
    def reaches_beginning(self) -> bool:
        """Whether the room kept nothing older."""
        return self.first <= self.parts[0].first_message

    @property
    def forgotten(self) -> int:
        """Messages that the room had forgotten by its retention."""
        return self.parts[0].first_message

    @property
    def reaches_end(self) -> bool:
        """Whether the room had nothing newer when the last part was read."""
        return self.end == self.parts[-1].message_count

    @property
    def replicas(self) -> tuple[ReplicaId, ...]:
        return tuple(sorted({replica for part in self.parts for replica in part.replicas}))


def check_proof(group: Group, proof: Proof) -> Proven:
    """Raises NotProven, naming the message, the part, or whose signature is wrong."""
    if proof.group_id != group.group_id:
        raise NotProven("the header of the proof", f"it is of another group than {group.name}")
    if proof.form is Form.RECEIPT and (len(proof.messages), len(proof.parts)) != (1, 1):
        raise NotProven("the header of the proof", "a receipt is of one message")
    digests = bytearray()
    parts: list[Checked] = []
    for number, part in enumerate(proof.parts, 1):
        expected = MessageIndex(proof.first + len(digests) // DIGEST_BYTES)
        where = f"part {number} of the proof (from message {expected} on)"
        answer, checked = _check_part(group, proof.room, where, part)
        if checked.first != expected:
            raise NotProven(where, f"it begins with message {checked.first}: a gap, or parts mixed up")
        if checked.first == checked.end:
            raise NotProven(where, "it is of no message at all")
        digests += answer.digests
        parts.append(checked)
    signed = len(digests) // DIGEST_BYTES
    if signed != len(proof.messages):
        raise NotProven("the proof", f"it has {len(proof.messages)} messages, and signatures for {signed}")
    messages = tuple(
        _check_message(proof, number, data, bytes(digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]))
        for number, data in enumerate(proof.messages)
    )
    return Proven(form=proof.form, room=proof.room, first=proof.first, messages=messages, parts=tuple(parts))


def _check_part(group: Group, room: RoomName, where: str, part: Part) -> tuple[Digests, Checked]:
    try:
        vouched = check_answer(group, Ed25519Verifier(), part.statements, operation=part.operation)
        answer = decode_answer(vouched.result)
    except (UnprovenAnswer, MalformedEncoding) as error:
        raise NotProven(where, str(error)) from error
    if vouched.ordered != (part.operation is not None):
        raise NotProven(where, "it names an operation, or none, where its statements do the contrary")
    if len(vouched.replicas) != group.honest_minimum:
        raise NotProven(where, f"{len(vouched.replicas)} replicas signed, where {group.honest_minimum} suffice")
    if not isinstance(answer, Digests):
        raise NotProven(where, "the replicas signed something else than digests of messages")
    if answer.room != room:
        raise NotProven(where, f"it is about the room {answer.room!r}, not {room!r}")
    if len(answer.digests) % DIGEST_BYTES:
        raise NotProven(where, "its digests are not whole")
    checked = Checked(
        first=answer.first,
        end=MessageIndex(answer.first + len(answer.digests) // DIGEST_BYTES),
        sequence=vouched.sequence,
        ordered=vouched.ordered,
        replicas=vouched.replicas,
        message_count=answer.message_count,
        first_message=answer.first_message,
    )
    return answer, checked


def _check_message(proof: Proof, number: int, data: bytes, digest: bytes) -> Message:
    where = proof.name_of(number)
    if digest_of(data) != digest:
        raise NotProven(where, "it is not the message that the replicas signed for")
    try:
        message = decode_message(decode(data, bytes_max=MESSAGE_BYTES_MAX, depth_max=MESSAGE_DEPTH_MAX))
    except MalformedEncoding as error:
        raise NotProven(where, f"this version cannot read it: {error}") from error
    if (message.room, message.index) != (proof.room, proof.first + number):
        raise NotProven(where, f"it calls itself message {message.index} of {message.room!r}")
    return message


def check_file(proven: Proven, data: bytes) -> None:
    """Check that the file shows what was proven, byte for byte. Raises NotProven, naming line and message."""
    position, line = 0, 1
    for piece in render(proven.form, proven.room, proven.first, proven.messages):
        expected = piece.text.encode()
        found = data[position : position + len(expected)]
        if found != expected:
            line += _common(found, expected).count(b"\n")
            raise NotProven(f"line {line} of the file{_whose(piece)}", "it is not what was signed for")
        position += len(expected)
        line += expected.count(b"\n")
    if position != len(data):
        raise NotProven(f"line {line} of the file", "the file goes on where the transcript ends")


def _whose(piece: Piece) -> str:
    return "" if piece.index is None else f" (message {piece.index})"


def _common(found: bytes, expected: bytes) -> bytes:
    """The beginning that they have in common."""
    for place, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            return expected[:place]
    return expected[: len(found)]
