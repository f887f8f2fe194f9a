"""What a search must find, by looking at every message."""

from __future__ import annotations

from dataclasses import dataclass

from chatsvc.application.names import parse_account
from chatsvc.application.schema import MESSAGES, MessageIndex, MessageRow
from chatsvc.application.search_language import Phrase, SearchPlan
from chatsvc.application.tokens import tokens
from tests.chatsvc.fakes import FakeRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    room: str
    index: MessageIndex
    message: MessageRow
    tokens: tuple[str, ...]


def scan_messages(rows: FakeRows) -> list[Scanned]:
    """Return all messages but deleted ones, newest first."""
    found = [
        Scanned(
            room=str(change.key[0]),
            index=MessageIndex(int(change.key[1])),
            message=(message := MessageRow.from_row(change.row)),
            tokens=tuple(tokens(message.body)),
        )
        for change in rows.all_rows()
        if change.table == MESSAGES and change.row is not None
    ]
    found = [scanned for scanned in found if scanned.message.deleted_by is None]
    return sorted(found, key=lambda scanned: -scanned.message.serial)


def plain_find(
    messages: list[Scanned], plan: SearchPlan, before_serial: int | None, limit: int
) -> list[tuple[str, MessageIndex]]:
    return [
        (scanned.room, scanned.index)
        for scanned in messages
        if (before_serial is None or scanned.message.serial < before_serial) and _matches(plan, scanned)
    ][:limit]


def _matches(plan: SearchPlan, scanned: Scanned) -> bool:
    author = parse_account(scanned.message.author).key
    mentioned = {parse_account(str(name)).key for name in scanned.message.mentions}
    traits = {"link"} if any(start in scanned.message.body for start in ("http://", "https://", "www.")) else set()
    traits |= {"poll"} if scanned.message.kind == "poll" else set()
    shown = scanned.message.time if scanned.message.claimed_ms is None else scanned.message.claimed_ms
    return (
        all(term in scanned.tokens for term in plan.terms)
        and all(_has(scanned.tokens, phrase) for phrase in plan.phrases)
        and (not plan.authors or author in plan.authors)
        and (not plan.rooms or scanned.room in plan.rooms)
        and not any(term in scanned.tokens for term in plan.excluded_terms)
        and not any(_has(scanned.tokens, phrase) for phrase in plan.excluded_phrases)
        and author not in plan.excluded_authors
        and scanned.room not in plan.excluded_rooms
        and (not plan.mentions or not mentioned.isdisjoint(plan.mentions))
        and traits.issuperset(plan.traits)
        and mentioned.isdisjoint(plan.excluded_mentions)
        and traits.isdisjoint(plan.excluded_traits)
        and (plan.before_ms is None or shown < plan.before_ms)
        and (plan.after_ms is None or shown >= plan.after_ms)
    )


def _has(found: tuple[str, ...], phrase: Phrase) -> bool:
    size = len(phrase)
    return any(found[start : start + size] == phrase for start in range(len(found) - size + 1))
