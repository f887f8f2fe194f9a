"""The file that proves a transcript or a receipt: docs/transcripts.md has the format.

Records, each a length (4 bytes, big endian) and so many bytes of canonical CBOR: a header, the messages, the parts.
So damage stays where it is, and can be named.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from chatsvc.application.answers import MESSAGE_BYTES_MAX
from chatsvc.application.names import RoomName
from chatsvc.application.schema import MessageIndex
from crypto.canonical import decode, encode, expect_bytes, expect_int, expect_list, expect_text
from crypto.digest import DIGEST_BYTES, digest_of
from crypto.errors import MalformedEncoding
from pbft.core.types import ClientSequence

MAGIC = "quorate/transcript/2"
LENGTH_BYTES = 4
HEADER_BYTES_MAX = 1024
MESSAGE_DEPTH_MAX = 3
PART_BYTES_MAX = 16 * 1024 * 1024
STATEMENTS_MAX = 256
MESSAGES_MAX = 1_000_000
PARTS_MAX = 100_000
PROOF_BYTES_MAX = 2 * 1024 * 1024 * 1024
ROOM_BYTES_MAX = 256


class Form(Enum):
    """What the proof is of: one message, or a file in one of these forms."""

    RECEIPT = "receipt"
    JSONL = "jsonl"
    TEXT = "text"
    HTML = "html"


class NotProven(Exception):  # noqa: N818 - named for what it is
    """Something is not as the replicas signed it. `where` names it, as a person would."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What f+1 replicas signed about the digests of some messages that follow each other.

    `operation`: for REPLYs, which of the results in them is meant; None for ANSWERs.
    """

    operation: ClientSequence | None
    statements: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """`messages` are encoded; the first of them has index `first`."""

    form: Form
    group_id: bytes
    room: RoomName
    first: MessageIndex
    messages: tuple[bytes, ...]
    parts: tuple[Part, ...]

    def name_of(self, number: int) -> str:
        """What the message at place `number` is called in errors."""
        return f"message {self.first + number}"


def encode_proof(proof: Proof) -> bytes:
    header = [
        MAGIC,
        proof.form.value,
        proof.group_id,
        proof.room,
        proof.first,
        len(proof.messages),
        len(proof.parts),
    ]
    records = [encode([*header, digest_of(encode(header))]), *proof.messages]
    records += [encode([part.operation, part.statements]) for part in proof.parts]
    return b"".join(len(record).to_bytes(LENGTH_BYTES, "big") + record for record in records)


def is_proof(data: bytes) -> bool:
    """Whether `data`, or its beginning, looks like a proof."""
    return data[LENGTH_BYTES + 1 :].startswith(encode(MAGIC))


def decode_proof(data: bytes) -> Proof:
    """Total: raises NotProven only, naming the record that cannot be read."""
    records = _Records(data)
    where = "the header of the proof"
    try:
        value = decode(records.take(where, HEADER_BYTES_MAX), bytes_max=HEADER_BYTES_MAX, depth_max=1)
        *header, digest = expect_list(value, 8)
        magic, form, group_id, room, first, message_count, part_count = header
        if magic != MAGIC:
            raise NotProven(where, f"it does not begin with {MAGIC}: no proof, or one for another version")
        if digest != digest_of(encode(header)):
            raise NotProven(where, "it was changed: its digest is another one")
        proof = Proof(
            form=Form(expect_text(form, bytes_max=16)),
            group_id=expect_bytes(group_id, length=DIGEST_BYTES),
            room=RoomName(expect_text(room, bytes_max=ROOM_BYTES_MAX)),
            first=MessageIndex(expect_int(first)),
            messages=(),
            parts=(),
        )
        messages_held = expect_int(message_count, minimum=1, maximum=MESSAGES_MAX)
        parts_held = expect_int(part_count, minimum=1, maximum=PARTS_MAX)
    except (MalformedEncoding, ValueError) as error:
        raise NotProven(where, str(error)) from error
    messages = [_message(proof.name_of(number), records) for number in range(messages_held)]
    parts = [_part(f"part {number} of the proof", records) for number in range(1, parts_held + 1)]
    records.finish()
    return Proof(
        form=proof.form,
        group_id=proof.group_id,
        room=proof.room,
        first=proof.first,
        messages=tuple(messages),
        parts=tuple(parts),
    )


def _message(where: str, records: _Records) -> bytes:
    """Decoded at once, so that damage to a length is not blamed on the next one."""
    record = records.take(where, MESSAGE_BYTES_MAX)
    try:
        decode(record, bytes_max=MESSAGE_BYTES_MAX, depth_max=MESSAGE_DEPTH_MAX)
    except MalformedEncoding as error:
        raise NotProven(where, f"it cannot be read: {error}") from error
    return record


def _part(where: str, records: _Records) -> Part:
    record = records.take(where, PART_BYTES_MAX)
    try:
        operation, statements = expect_list(decode(record, bytes_max=PART_BYTES_MAX, depth_max=2), 2)
        return Part(
            operation=None if operation is None else ClientSequence(expect_int(operation)),
            statements=tuple(
                expect_bytes(statement) for statement in expect_list(statements, length_max=STATEMENTS_MAX)
            ),
        )
    except MalformedEncoding as error:
        raise NotProven(where, f"it cannot be read: {error}") from error


class _Records:
    """Takes one record after the other off the data."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, where: str, bytes_max: int) -> bytes:
        start = self._position + LENGTH_BYTES
        length = int.from_bytes(self._data[self._position : start], "big")
        end = start + length
        if start > len(self._data) or end > len(self._data) or not 0 < length <= bytes_max:
            raise NotProven(where, f"its record at byte {self._position} of the proof is damaged or cut short")
        self._position = end
        return self._data[start:end]

    def finish(self) -> None:
        if self._position != len(self._data):
            left = len(self._data) - self._position
            raise NotProven("the end of the proof", f"{left} bytes follow that belong to nothing")
