"""The language of searches: words, "phrases", from:NAME, in:ROOM, mentions:NAME, has:link, has:poll, before:DATE,
after:DATE, and -exclusions.

All parts must hold, except that several from: are alternatives, and several in: and mentions: too. `-` excludes a
word, a phrase, an author, a room, a mention or what a message has. NAME may be `me`, which stands for the one who
asks. DATE is YYYY-MM-DD in UTC: `before:` means earlier than that day, `after:` that day or later. A word that is
several tokens (`foo-bar`, Chinese) is a phrase; one that has none (`:-)`) is no part. What is asked for must include
something other than dates and exclusions, which only narrow it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from chatsvc.application.names import AccountKey, BadName, RoomName, parse_account, parse_room
from chatsvc.application.tokens import blank_out, tokens
from pbft.core.types import Milliseconds

SEARCH_BYTES_MAX = 1024
SEARCH_PARTS_MAX = 16
SEARCH_TOKENS_MAX = 256
"""Over all words and phrases; only Chinese, Japanese or Korean text comes near."""

LINK = "link"
POLL = "poll"
TRAITS = (LINK, POLL)
"""What a message may have, by `has:`."""

DAY_MS = 86_400_000

Phrase = tuple[str, ...]
"""Tokens that follow each other; two or more."""

_PART = re.compile(r'(?P<minus>-?)(?:"(?P<phrase>[^"]*)(?P<closed>"?)|(?P<word>[^ ]+))')
_OPERATOR = re.compile(r"(?ai:(from|in|mentions|has|before|after)):(.*)", re.DOTALL)
_ME = "me"
_LINK = re.compile(r"(?ai:https?://|www\.)[^ ]")
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_DAYS_OF_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class SearchError(ValueError):
    """A search that means nothing. The text is for the person who typed it; `position` counts characters from 0."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(f"{problem} (at character {position + 1})")
        self.position = position


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What a search asks for: every term, phrase and trait, one of the authors, rooms and mentions if there are any,
    and no exclusion."""

    terms: tuple[str, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    authors: tuple[AccountKey, ...] = ()
    rooms: tuple[RoomName, ...] = ()
    mentions: tuple[AccountKey, ...] = ()
    traits: tuple[str, ...] = ()
    excluded_terms: tuple[str, ...] = ()
    excluded_phrases: tuple[Phrase, ...] = ()
    excluded_authors: tuple[AccountKey, ...] = ()
    excluded_rooms: tuple[RoomName, ...] = ()
    excluded_mentions: tuple[AccountKey, ...] = ()
    excluded_traits: tuple[str, ...] = ()
    before_ms: Milliseconds | None = None
    """Said earlier than this."""
    after_ms: Milliseconds | None = None
    """Said at this time or later."""


def traits_of(body: str, *, is_poll: bool) -> list[str]:
    """Return what `has:` finds in a message."""
    found = [LINK] if _LINK.search(body) else []
    return [*found, POLL] if is_poll else found


def parse_search(text: str, *, me: AccountKey | None = None) -> SearchPlan:
    """Return what `text` asks for, if `me` asks. Raises SearchError."""
    if len(text) > SEARCH_BYTES_MAX or len(text.encode(errors="replace")) > SEARCH_BYTES_MAX:
        raise SearchError(f"a search has at most {SEARCH_BYTES_MAX} bytes", 0)
    draft = _Draft(me)
    for count, part in enumerate(_PART.finditer(blank_out(text))):
        if count == SEARCH_PARTS_MAX:
            raise SearchError(f"a search has at most {SEARCH_PARTS_MAX} parts", part.start())
        draft.add(part)
    if not draft.wanted.has_parts():
        raise SearchError("a search needs a word, a phrase, from:, in:, mentions: or has:", 0)
    return draft.plan()


def midnight(year: int, month: int, day: int) -> Milliseconds | None:
    """Return when that day begins in UTC, in milliseconds since 1970; None for a day that no calendar has."""
    if year < 1970 or not 1 <= month <= 12:
        return None
    leap_day = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= day <= _DAYS_OF_MONTH[month - 1] + leap_day:
        return None
    # Years begin in March here, so that the leap day is the last (H. Hinnant, days_from_civil).
    march_year = year - (month <= 2)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = march_year * 365 + march_year // 4 - march_year // 100 + march_year // 400 + day_of_year
    return Milliseconds((days - 719_468) * DAY_MS)


@dataclass(slots=True)
class _Parts:
    """Dictionaries stand for ordered sets: a part said twice is one part."""

    terms: dict[str, None] = field(default_factory=dict)
    phrases: dict[Phrase, None] = field(default_factory=dict)
    authors: dict[AccountKey, None] = field(default_factory=dict)
    rooms: dict[RoomName, None] = field(default_factory=dict)
    mentions: dict[AccountKey, None] = field(default_factory=dict)
    traits: dict[str, None] = field(default_factory=dict)

    def has_parts(self) -> bool:
        return bool(self.terms or self.phrases or self.authors or self.rooms or self.mentions or self.traits)


@dataclass(slots=True)
class _Draft:
    """A SearchPlan as far as it is read."""

    me: AccountKey | None
    wanted: _Parts = field(default_factory=_Parts)
    excluded: _Parts = field(default_factory=_Parts)
    before: list[Milliseconds] = field(default_factory=list)
    after: list[Milliseconds] = field(default_factory=list)
    tokens_left: int = SEARCH_TOKENS_MAX

    def add(self, part: re.Match[str]) -> None:
        excludes = part["minus"] == "-"
        parts = self.excluded if excludes else self.wanted
        if part["phrase"] is not None:
            if not part["closed"]:
                raise SearchError("this quotation mark is never closed", part.start("phrase") - 1)
            self._add_words(parts, part["phrase"], part.start())
            return
        operator = _OPERATOR.fullmatch(part["word"])
        if operator is None:
            self._add_words(parts, part["word"], part.start())
        else:
            position = part.start("word")
            self._add_operator(parts, operator[1].lower(), operator[2], position, excludes=excludes)

    def _add_words(self, parts: _Parts, text: str, position: int) -> None:
        found = tokens(text)
        self.tokens_left -= len(found)
        if self.tokens_left < 0:
            raise SearchError(f"a search has at most {SEARCH_TOKENS_MAX} words", position)
        if len(found) == 1:
            parts.terms[found[0]] = None
        elif found:
            parts.phrases[tuple(found)] = None

    def _add_operator(self, parts: _Parts, operator: str, value: str, position: int, *, excludes: bool) -> None:
        try:
            if operator == "from":
                parts.authors[self._account(value, position)] = None
                return
            if operator == "mentions":
                parts.mentions[self._account(value, position)] = None
                return
            if operator == "in":
                parts.rooms[parse_room(value)] = None
                return
        except BadName as error:
            raise SearchError(f"{operator}: {error}", position) from error
        if operator == "has":
            trait = value.lower()
            if trait not in TRAITS:
                raise SearchError(f"has: wants one of {', '.join(TRAITS)}", position)
            parts.traits[trait] = None
            return
        if excludes:
            raise SearchError(f"{operator}: cannot be excluded; use the other of before: and after:", position)
        moment = _parse_date(value)
        if moment is None:
            raise SearchError(f"{operator}: wants a day of the calendar as YYYY-MM-DD", position)
        (self.before if operator == "before" else self.after).append(moment)

    def _account(self, value: str, position: int) -> AccountKey:
        """Raises BadName and SearchError."""
        if value.lower() != _ME:
            return parse_account(value.removeprefix("@")).key
        if self.me is None:
            raise SearchError("me: this device has no account, so say a name", position)
        return self.me

    def plan(self) -> SearchPlan:
        return SearchPlan(
            terms=tuple(self.wanted.terms),
            phrases=tuple(self.wanted.phrases),
            authors=tuple(self.wanted.authors),
            rooms=tuple(self.wanted.rooms),
            mentions=tuple(self.wanted.mentions),
            traits=tuple(self.wanted.traits),
            excluded_terms=tuple(self.excluded.terms),
            excluded_phrases=tuple(self.excluded.phrases),
            excluded_authors=tuple(self.excluded.authors),
            excluded_rooms=tuple(self.excluded.rooms),
            excluded_mentions=tuple(self.excluded.mentions),
            excluded_traits=tuple(self.excluded.traits),
            before_ms=min(self.before, default=None),
            after_ms=max(self.after, default=None),
        )


def _parse_date(text: str) -> Milliseconds | None:
    found = _DATE.fullmatch(text)
    return None if found is None else midnight(int(found[1]), int(found[2]), int(found[3]))
