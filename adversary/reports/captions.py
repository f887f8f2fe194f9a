"""What a row says in a sentence, and the headings under which rows stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adversary.reports.choosing import (
    ACCEPTED,
    BREAKS,
    CUT,
    DOWN,
    EXECUTES,
    PROVES,
    UP,
    VIEW_CHANGES,
    WHOLE,
    Chosen,
)
from adversary.reports.folding import Row
from adversary.reports.words import clock, happening, listed, nobody


def about(row: Row, letters: dict[str, str]) -> str:
    """Place and batch, short: `7 A`."""
    place = "" if row.sequence is None else f" {short(row.sequence)}"
    if row.what in VIEW_CHANGES and row.view is not None:
        place = f" to view {short(row.view)}"
    letter = letters.get(row.digest)
    return place + (f" {letter}" if letter else "")


def short(value: int) -> str:
    """A number that fits into a picture: what liars make up may have twenty digits."""
    return str(value) if value < 10_000_000 else f"{value:.1e}"


def who(places: Sequence[str]) -> str:
    """`replicas 0, 1 and 3`, `ann`."""
    replicas = [place.removeprefix("replica ") for place in places if place.startswith("replica ")]
    others = [place.removeprefix("client ") for place in places if not place.startswith("replica ")]
    said = [] if not replicas else [f"replica{'s' * (len(replicas) > 1)} {listed(replicas)}"]
    return listed([other for other in (*others, *said) if other])


def subject(row: Row) -> str:
    """Who did it, or whom it befell."""
    return who(row.sources) or nobody(row.what)


def sentence(row: Row, letters: dict[str, str]) -> str:
    """For those who cannot see the picture, and for hovering over it."""
    name, when = subject(row), f"at {clock(row.at_ms)}"
    if not row.is_message:
        return f"{when}: {name} {_event(row, letters)}"
    place = "" if row.sequence is None else f" for place {row.sequence}"
    view = (
        "" if row.view is None else f" in view {row.view}" if row.what not in VIEW_CHANGES else f" to view {row.view}"
    )
    letter = f", {_thing(row)} {letters[row.digest]}" if row.digest in letters else ""
    verb = "send" if len(row.sources) > 1 else "sends"
    to = f" to {who(row.to)}" if row.to else ""
    lost = f"; lost on the way to {who(row.lost_to)}" if row.lost_to else ""
    times = f", {row.repeats} times" if row.repeats > 1 else ""
    lie = "a lie: " if row.lie else ""
    return f"{when}: {lie}{name} {verb} {row.what}{place}{view}{letter}{to}{lost}{times}"


def _thing(row: Row) -> str:
    return "state" if row.what.startswith("CHECKPOINT") else "batch"


def _event(row: Row, letters: dict[str, str]) -> str:
    many = len(row.sources) > 1
    match row.what:
        case "executes":
            letter = f", batch {letters[row.digest]}" if row.digest in letters else ""
            return f"{'execute' if many else 'executes'} place {row.sequence}{letter}"
        case "accepted":
            return f"{'have' if many else 'has'} it accepted, {row.text}".rstrip(", ")
        case "proves":
            return f"{'hold' if many else 'holds'} proof: {row.text}"
        case "partition":
            return f"is cut: {row.text}"
        case "heals":
            return f"is whole again: {row.text}".removesuffix(": ")
        case _:
            text = f": {row.text}" if row.text else ""
            return f"{happening(row.what, many=many)}{text}"


def captioned(chosen: Chosen) -> Iterator[tuple[str, Row]]:
    """Each row with the heading that begins at it, or an empty one. Every heading is said once."""
    said: set[str] = set()
    versions = {row.digest for row in chosen.rows if row.what == EXECUTES}
    twofold = set(map(id, chosen.contradiction))
    has_lied = False
    for row in chosen.rows:
        kind, text = _caption(row, chosen, has_lied=has_lied, is_twofold=id(row) in twofold)
        if kind == "executes" and len(versions) > 1:
            text = f"Place {short(row.sequence or 0)} is executed, and not alike"
        has_lied = has_lied or row.lie
        if kind in said:
            kind, text = "", ""
        said.add(kind)
        yield text, row


def _caption(row: Row, chosen: Chosen, *, has_lied: bool, is_twofold: bool) -> tuple[str, str]:
    """The kind of heading that fits, and its words."""
    if row.what == BREAKS:
        return "break", "The break: what must never happen did"
    if row.lie or is_twofold:
        return _caption_of_lie(row, chosen, is_twofold=is_twofold)
    if not row.is_message:
        return _caption_of_event(row, has_lied=has_lied)
    if row.what == "REQUEST":
        return "request", f"{who(row.sources)} asks for something"
    if row.what == "VIEW-CHANGE":
        return f"view {row.view}", f"Replicas give their primary up and ask for view {short(row.view or 0)}"
    if row.what == "NEW-VIEW":
        return f"new view {row.view}", f"{who(row.sources).capitalize()} takes over as primary of view {row.view}"
    if row.what == "PRE-PREPARE":
        again = f" again, in view {row.view}" if row.view else ""
        return f"proposal {row.view}", f"Place {row.sequence} is proposed{again}"
    if row.what == "REPLY":
        return "accepted", "People are told, once enough replicas say the same"
    if row.what in {"PREPARE", "COMMIT"}:
        return "votes", f"The others vote on place {row.sequence}"
    return "", ""


def _caption_of_lie(row: Row, chosen: Chosen, *, is_twofold: bool) -> tuple[str, str]:
    liar = who(row.sources)
    if is_twofold and chosen.contradiction:
        what = {"PRE-PREPARE": "proposes", "CHECKPOINT": "vouches for"}.get(row.what, "votes for")
        things = "two different states" if row.what == "CHECKPOINT" else "two different batches"
        place = "" if row.sequence is None else f" at place {row.sequence}"
        return f"lie {liar}", f"The lie: {liar} {what} {things}{place}"
    return f"lie {liar}", f"The lie: {liar} sends what no correct replica would"


def _caption_of_event(row: Row, *, has_lied: bool) -> tuple[str, str]:
    match row.what:
        case what if what == PROVES:
            if not has_lied:
                return "proof before", "Caught before, at another place"
            return "proof", "Caught: signatures that cannot both be honest"
        case what if what == EXECUTES:
            held = "Agreed all the same" if has_lied else "Agreed"
            return "executes", f"{held}: place {row.sequence} is executed"
        case what if what == ACCEPTED:
            return "accepted", "People are told, once enough replicas say the same"
        case what if what == CUT:
            return "cut", "The network is cut"
        case what if what == WHOLE:
            return "", ""
        case what if what in DOWN:
            return "down", _told(row)
        case what if what in UP:
            return "up", f"{who(row.sources).capitalize()} {'are' if len(row.sources) > 1 else 'is'} back"
        case _:
            return f"fault {row.what}", _told(row)


def _told(row: Row) -> str:
    name = subject(row)
    return f"{name[:1].upper()}{name[1:]} {happening(row.what, many=len(row.sources) > 1)}"
