"""What was proven, for people who have never heard of replicas."""

from __future__ import annotations

from clients.transcripts.checking import Proven
from clients.transcripts.proof import Form, NotProven
from clients.transcripts.rendering import as_text, room_title
from pbft.core.group import Group


def in_words(group: Group, proven: Proven) -> str:
    room = room_title(proven.room)
    lines: list[str] = []
    if proven.form is Form.RECEIPT:
        lines += [f"Proven: message {proven.first} of {room} was ordered by the group {group.name}, and said:", ""]
        lines += [as_text(proven.messages[0]), ""]
    else:
        lines += [
            f"Proven: the file shows messages {proven.first} to {proven.end - 1} of {room} as {group.name} has them:",
            "every one of them, in this order, none added, none left out, not a character changed.",
            "",
            _extent(proven),
        ]
    lines += ["", *_why(group, proven), "", *_limits(proven)]
    return "\n".join(lines)


def _extent(proven: Proven) -> str:
    if not proven.reaches_beginning:
        begins = "It does not begin with the room's first message: what was said before is not part of it."
    elif proven.forgotten:
        begins = (
            f"It begins with the oldest message that the room kept; the {proven.forgotten} before it had been "
            "forgotten under the room's own rule."
        )
    else:
        begins = "It begins with the very first message of the room."
    if proven.reaches_end:
        return f"{begins}\nIt reaches the end of the room as it was then (batch {proven.parts[-1].sequence})."
    left = proven.parts[-1].message_count - proven.end
    return f"{begins}\nThe room went on after it: {left} later messages are not part of it."


def _why(group: Group, proven: Proven) -> list[str]:
    names = " and ".join(str(replica) for replica in proven.replicas)
    parts = "" if len(proven.parts) == 1 else f", for each of the {len(proven.parts)} parts of the proof"
    return [
        f"Why you can believe it: {group.honest_minimum} of the group's {group.size} machines signed for it{parts}:",
        f"replicas {names}. One of them at least is honest, unless more than {group.faulty_max} of all are not.",
        "Nothing else was trusted: not the network, and not whoever gave you the file.",
    ]


def _limits(proven: Proven) -> list[str]:
    if len(proven.parts) == 1:
        when = f"This is how it stood at batch {proven.sequence} of the group's work or later"
    else:
        newest = max(part.sequence for part in proven.parts)
        when = f"This is how it stood at batches {proven.sequence} to {newest} of the group's work or later"
    return [
        f"{when}; edits, deletions and reactions since are not in it.",
        *_claims(proven),
        "Names belong to keys: who is the person behind one, the group cannot say.",
    ]


def _claims(proven: Proven) -> list[str]:
    """The times that are shown are the group's; those that are claimed say so themselves."""
    claimed = sum(message.claimed_ms is not None for message in proven.messages)
    times = "The times are the group's own, of when it ordered each message."
    if not claimed:
        return [times]
    which = "it" if proven.form is Form.RECEIPT else f"{claimed} of the messages"
    return [times, f"For {which} another time is claimed as well: it is marked so, and nobody vouches for it."]


def in_record(group: Group, proven: Proven) -> dict[str, object]:
    """The same for programs."""
    return {
        "verified": True,
        "kind": "receipt" if proven.form is Form.RECEIPT else "transcript",
        "form": proven.form.value,
        "group": group.name,
        "group_id": group.group_id.hex(),
        "room": proven.room,
        "first": proven.first,
        "last": proven.end - 1,
        "reaches_beginning": proven.reaches_beginning,
        "forgotten": proven.forgotten,
        "reaches_end": proven.reaches_end,
        "needed": group.honest_minimum,
        "parts": [
            {
                "first": part.first,
                "last": part.end - 1,
                "sequence": part.sequence,
                "ordered": part.ordered,
                "replicas": list(part.replicas),
                "message_count": part.message_count,
                "first_message": part.first_message,
            }
            for part in proven.parts
        ],
    }


def refusal_record(error: NotProven) -> dict[str, object]:
    return {"verified": False, "where": error.where, "problem": error.problem}


def refusal_in_words(error: NotProven) -> str:
    return (
        f"NOT proven. {error.where[:1].upper()}{error.where[1:]}: {error.problem}.\n"
        "Do not rely on this file: it was damaged or changed after it was made, or it belongs to another group."
    )
