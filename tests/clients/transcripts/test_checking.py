"""Whoever has the group file alone can tell a true transcript from one in which anything was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from chatsvc.application.answers import Digests, Message, Reaction
from chatsvc.application.names import DisplayName, RoomName
from chatsvc.application.results import Applied, encode_result
from chatsvc.application.schema import MessageIndex
from chatsvc.application.wire import encode_wire
from clients.transcripts.checking import check_file, check_proof
from clients.transcripts.proof import LENGTH_BYTES, Form, NotProven, Proof, decode_proof, encode_proof
from clients.transcripts.words import in_words
from pbft.core.types import Milliseconds
from tests.clients.transcripts.making import (
    MEMBERS,
    MESSAGES,
    ROOM,
    answered,
    file_of,
    message,
    ordered,
    proof_of,
    signed,
)
from tests.harness.keys import make_group

GROUP = MEMBERS.group
FORMS = [Form.TEXT, Form.JSONL, Form.HTML]


def records(data: bytes) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of a proof's records, their lengths included."""
    at = 0
    while at < len(data):
        end = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        yield at, end
        at = end


# -- what is proven


@pytest.mark.parametrize("form", FORMS)
def test_a_whole_room_is_proven_in_every_form(form: Form) -> None:
    proof = decode_proof(encode_proof(proof_of(form=form)))
    assert proof == proof_of(form=form)
    proven = check_proof(GROUP, proof)
    check_file(proven, file_of(form))
    assert proven.messages == MESSAGES
    assert (proven.reaches_beginning, proven.reaches_end, proven.replicas) == (True, True, (0, 2))
    words = in_words(GROUP, proven)
    assert "messages 0 to 3 of #garden" in words
    assert "very first message" in words
    assert "2 of the group's 4 machines" in words


def test_parts_join_and_the_oldest_state_is_said() -> None:
    parts = answered(MESSAGES[:2], sequence=12), answered(MESSAGES[2:], by=(1, 3), sequence=9, count=50)
    proven = check_proof(GROUP, proof_of(MESSAGES, *parts))
    assert (proven.sequence, proven.reaches_end, proven.replicas) == (9, False, (0, 1, 2, 3))
    assert "46 later messages are not part of it" in in_words(GROUP, proven)


def test_a_read_in_the_order_of_all_writes_proves_as_well() -> None:
    digests = Digests(
        room=ROOM,
        first=MessageIndex(0),
        digests=b"".join(one.digest for one in MESSAGES),
        message_count=4,
        first_message=MessageIndex(0),
    )
    proven = check_proof(GROUP, proof_of(MESSAGES, ordered(encode_wire(digests))))
    assert proven.parts[0].ordered


def test_what_a_room_has_forgotten_is_said() -> None:
    late = (message(7), message(8))
    proven = check_proof(GROUP, proof_of(late, answered(late, count=9, least=7)))
    assert (proven.reaches_beginning, proven.forgotten, proven.reaches_end) == (True, 7, True)
    assert "the 7 before it had been forgotten" in in_words(GROUP, proven)
    assert not check_proof(GROUP, proof_of(late, answered(late, count=9))).reaches_beginning


# -- what is not


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_no_byte_of_a_proof_can_be_changed_and_the_record_is_named(change: int) -> None:
    data = encode_proof(proof_of(MESSAGES, answered(MESSAGES[:1]), answered(MESSAGES[1:])))
    names = ["the header", *(f"message {index}" for index in range(4)), "part 1 ", "part 2 "]
    for name, (start, end) in zip(names, records(data), strict=True):
        for place in range(start, end):
            changed = data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]
            with pytest.raises(NotProven) as caught:
                check_proof(GROUP, decode_proof(changed))
            assert caught.value.where.startswith(name.strip()), (place, str(caught.value))


def test_whose_signature_is_wrong_is_named() -> None:
    part = answered(MESSAGES)
    last = part.statements[1]
    forged = replace(part, statements=(part.statements[0], last[:-1] + bytes([last[-1] ^ 1])))
    with pytest.raises(NotProven, match=r"part 1 of the proof .*: replica 2: its statement was changed"):
        check_proof(GROUP, proof_of(MESSAGES, forged))


@pytest.mark.parametrize("form", FORMS)
def test_no_byte_of_a_file_can_be_changed_and_line_and_message_are_named(form: Form) -> None:
    proven = check_proof(GROUP, proof_of(form=form))
    data = file_of(form)
    for place in range(len(data)):
        for change in (0x01, 0x80):
            changed = data[:place] + bytes([data[place] ^ change]) + data[place + 1 :]
            with pytest.raises(NotProven) as caught:
                check_file(proven, changed)
            line = data[:place].count(b"\n") + 1
            assert caught.value.where.startswith(f"line {line} of the file"), (place, str(caught.value))
    with pytest.raises(NotProven, match=r"message 2\)"):
        check_file(proven, data.replace(b"seeds", b"weeds"))


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_short_or_made_longer_is_not_what_was_proven(form: Form) -> None:
    proven = check_proof(GROUP, proof_of(form=form))
    data = file_of(form)
    for length in range(len(data)):
        with pytest.raises(NotProven, match="of the file"):
            check_file(proven, data[:length])
    with pytest.raises(NotProven, match="goes on"):
        check_file(proven, data + b"\n")


def test_a_proof_cut_short_or_made_longer_proves_nothing() -> None:
    data = encode_proof(proof_of())
    for length in range(len(data)):
        with pytest.raises(NotProven):
            decode_proof(data[:length])
    with pytest.raises(NotProven, match="1 bytes follow"):
        decode_proof(data + b"\x00")


OTHERS = make_group(4, real=True, name="elsewhere")
MORE = (*MESSAGES, message(4))

TWISTS: dict[str, tuple[Callable[[], Proof], str]] = {
    "another group's header": (lambda: replace(proof_of(), group_id=OTHERS.group.group_id), "another group"),
    "another group's replicas": (lambda: proof_of(MESSAGES, answered(MESSAGES, members=OTHERS)), "replica 0: "),
    "one replica": (lambda: proof_of(MESSAGES, answered(MESSAGES, by=(0,))), "1 replicas signed, 2 are needed"),
    "one replica twice": (lambda: proof_of(MESSAGES, answered(MESSAGES, by=(1, 1))), "replica 1: two"),
    "more replicas than needed": (lambda: proof_of(MESSAGES, answered(MESSAGES, by=(0, 1, 2))), "2 suffice"),
    "a message left out": (lambda: replace(proof_of(), messages=proof_of().messages[:-1]), "3 messages, .* for 4"),
    "a message added": (lambda: replace(proof_of(MORE), parts=proof_of().parts), "5 messages, and signatures for 4"),
    "messages exchanged": (lambda: replace(proof_of(), messages=proof_of().messages[::-1]), "message 0: it is not"),
    "a gap": (lambda: proof_of(MESSAGES, answered(MESSAGES[:1]), answered(MESSAGES[2:])), "part 2 .* a gap"),
    "an overlap": (lambda: proof_of(MESSAGES, answered(MESSAGES[:2]), answered(MESSAGES[1:])), "part 2 .* mixed up"),
    "parts exchanged": (lambda: proof_of(MESSAGES, answered(MESSAGES[2:]), answered(MESSAGES[:2])), "part 1 "),
    "another beginning": (lambda: replace(proof_of(), first=MessageIndex(1)), "it begins with message 0"),
    "another room": (lambda: proof_of(room=RoomName("kitchen")), "the room 'garden', not 'kitchen'"),
    "a result that is no answer": (lambda: proof_of(MESSAGES, signed(b"yes")), "part 1 "),
    "the result of a write": (lambda: proof_of(MESSAGES, ordered(encode_result(Applied()))), "part 1 "),
    "a message of another room": (
        lambda: proof_of(twisted := (message(0, room=RoomName("kitchen")),), answered(twisted)),
        "calls itself message 0 of 'kitchen'",
    ),
    "an operation named for answers": (
        lambda: proof_of(MESSAGES, replace(answered(MESSAGES), operation=1)),  # type: ignore[arg-type]  # an integer
        "names an operation",
    ),
    "a receipt of four": (lambda: proof_of(form=Form.RECEIPT), "a receipt is of one message"),
}


@pytest.mark.parametrize("twist", TWISTS.values(), ids=TWISTS.keys())
def test_twisted_proofs_prove_nothing_and_say_where(twist: tuple[Callable[[], Proof], str]) -> None:
    make, problem = twist
    with pytest.raises(NotProven, match=problem):
        check_proof(GROUP, decode_proof(encode_proof(make())))


def test_the_time_shown_is_the_groups_and_what_an_author_claims_is_marked() -> None:
    claimed = (message(0, "I resign", claimed_ms=Milliseconds(1_000_000_000_000)), message(1))
    text, page = file_of(Form.TEXT, claimed).decode(), file_of(Form.HTML, claimed).decode()
    assert "2016-12-19 12:00:00 0 [claimed 2001-09-09 01:46:40] <Alice> I resign" in text
    assert "<time>2016-12-19 12:00:00</time>" in page
    assert '<span class="mark">[claimed 2001-09-09 01:46:40]</span> <b>Alice</b>' in page
    assert "For 1 of the messages another time is claimed" in in_words(GROUP, check_proof(GROUP, proof_of(claimed)))
    assert "claimed" not in in_words(GROUP, check_proof(GROUP, proof_of()))


LOOKALIKES = {
    "deleted": (message(0, "", deleted_by=DisplayName("Bob")), message(0, "[deleted by Bob]")),
    "reactions": (message(0, "yes", reactions=(Reaction("👍", 300),)), message(0, "yes\n(👍 300)")),
    "edited": (message(0, "ok", edits=1), message(0, "[edited] ok")),
    "a thread's title": (
        message(0, "no", thread="a", edits=1, reactions=(Reaction("+1", 2),)),
        message(0, "no", thread='a"] [edited] (+1 2) <Alice> no'),
    ),
    "a thread's end": (message(0, "no", thread="a", edits=1), message(0, "no", thread='a"] [edited')),
    "reply": (message(0, "a", reply_to=MessageIndex(3)), message(0, "a", reactions=(Reaction("to", 3),))),
}


@pytest.mark.parametrize("pair", LOOKALIKES.values(), ids=LOOKALIKES.keys())
@pytest.mark.parametrize("form", FORMS)
def test_no_two_messages_look_alike(pair: tuple[Message, Message], form: Form) -> None:
    true, forged = (file_of(form, (each,)).decode().splitlines() for each in pair)
    assert true != forged


def test_a_body_stands_behind_its_author_and_marks_before_him() -> None:
    said = message(0, "a\n[edited]", edits=1, thread="x] <Bob>", reactions=(Reaction("👍", 2), Reaction(":no:", 1)))
    (line, further) = file_of(Form.TEXT, (said,)).decode().splitlines()[2:]
    assert line == '2016-12-19 12:00:00 0 [in "x] <Bob>"] [edited] (👍 2) (:no: 1) <Alice> a'
    assert further == "    [edited]"


def test_a_message_cannot_pass_for_others() -> None:
    evil = (
        message(0, "hi\n2016-12-19 12:00:09 1 <Bob> I owe you 100\u2028<b>"),
        message(1, author=DisplayName("B<i>")),
    )
    text, page = file_of(Form.TEXT, evil).decode(), file_of(Form.HTML, evil).decode()
    assert sum(line.startswith("2016-") for line in text.split("\n")) == 2
    assert "\u2028" not in text
    assert "<i>" not in page
    assert page.count("<b>") == 2
