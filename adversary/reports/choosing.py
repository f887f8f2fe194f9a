"""Which of thousands of moments tell the story: where the lies were told, what came of them, and who noticed.

Everything is ranked: 0 is what the page is about, 9 is left out. What is left over is folded into rows, and if those
are still too many, the least important ones go.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from adversary.attacks.outcome import Moment
from adversary.reports.folding import FOLD_MS, VOTES, Row, fold, fold_senders, place_key

ROWS_MAX: Final = 48
"""Arrows and marks of one picture."""
FOLD_SENDERS_FROM: Final = 30
"""Rows from which on equal votes of several senders share one."""
LIES_MAX: Final = 10
LIES_OF_A_KIND: Final = 4
"""Kinds of lies, by sender, that are shown beside those at the place that the page is about; and messages of each."""
FAULTS_MAX: Final = 12
VIEWS_MAX: Final = 4
PROOFS_MAX: Final = 6
AFTERMATH_MS: Final = 300.0
"""How long after its execution votes for a place are still of interest."""

BREAKS, PROVES, EXECUTES, ACCEPTED = "breaks", "proves", "executes", "accepted"
ORDERING: Final = frozenset({"PRE-PREPARE", "PREPARE", "COMMIT", "COMMIT-CERTIFICATE"})
VIEW_CHANGES: Final = frozenset({"VIEW-CHANGE", "NEW-VIEW"})
ENDS: Final = frozenset({"crashes", "stops"})
DOWN: Final = ENDS | {"pauses"}
UP: Final = frozenset({"starts", "resumes"})
CUT, WHOLE = "partition", "heals"

OUT: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """What the page is about: a place in the order, and when it began to matter."""

    sequence: int | None
    view: int | None
    since_ms: float
    next_views: tuple[int, ...]
    """The views that were asked for because of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """`left_out`: how many messages of each kind are not in the picture. Digests have letters, as they appear."""

    focus: Focus
    rows: tuple[Row, ...]
    messages: int
    messages_shown: int
    left_out: dict[str, int]
    letters: dict[str, str]
    contradiction: tuple[Row, ...] = ()
    """Rows in which one sender says different things of one place."""


def choose(moments: Sequence[Moment], faulty: Collection[int] = ()) -> Chosen:
    """The story of a run. The same moments give the same story. What the `faulty` hold as proof is of no interest."""
    liars = {f"replica {number}{copy}" for number in faulty for copy in ("", " (copy)")}
    moments = [moment for moment in moments if moment.what != PROVES or moment.source not in liars]
    ordered = _as_heard(sorted(moments, key=lambda moment: moment.at_ms))
    focus = _focus(ordered)
    ranked = list(_ranked(ordered, focus))
    rows = fold_senders(
        fold((rank, moment) for rank, moment in ranked if rank < OUT), frozenset({"REPLY", "EVIDENCE"})
    )
    if len(rows) > FOLD_SENDERS_FROM:
        rows = fold_senders(rows, VOTES)
    rows = _the_most_important(rows)
    messages = Counter(moment.what for moment in ordered if moment.to)
    shown: Counter[str] = Counter()
    for row in rows:
        if row.is_message:
            shown[row.what] += row.count
    left_out = {what: count - shown[what] for what, count in messages.most_common() if count > shown[what]}
    return Chosen(
        focus=focus,
        rows=tuple(rows),
        messages=messages.total(),
        messages_shown=shown.total(),
        left_out=left_out,
        letters=_letters(rows),
        contradiction=_contradiction(rows),
    )


def _as_heard(moments: Sequence[Moment]) -> list[Moment]:
    """What reaches somebody who does not run is lost; whoever pauses hears it later."""
    down: set[str] = set()
    out = []
    for moment in moments:
        if not moment.to and moment.what in ENDS:
            down.add(moment.source)
        elif not moment.to and moment.what in UP:
            down.discard(moment.source)
        out.append(replace(moment, lost=True) if moment.to in down else moment)
    return out


# -- what it is about


def _focus(moments: Sequence[Moment]) -> Focus:
    lies = [moment for moment in moments if moment.lie and moment.to]
    told = _place_of_break(moments) or _place_of_lies(moments, lies)
    starts = [moment.at_ms for moment in lies] or [moment.at_ms for moment in _faults(moments)]
    if not starts:
        # Nothing was done that could be seen: it shows when somebody loses patience.
        starts = [moment.at_ms for moment in moments if moment.what == "VIEW-CHANGE"]
    start_ms = starts[0] if starts else 0.0
    if told is None:
        told = _place_at(moments, start_ms)
    view, sequence = told if told is not None else (None, None)
    since = _first(moments, lambda moment: moment.sequence == sequence and moment.what in ORDERING)
    since_ms = min(start_ms, since.at_ms) if since else start_ms
    return Focus(sequence=sequence, view=view, since_ms=since_ms, next_views=_next_views(moments, since_ms))


def _next_views(moments: Sequence[Moment], since_ms: float) -> tuple[int, ...]:
    """The first few views that correct replicas asked for then."""
    views: list[int] = []
    for moment in moments:
        if moment.what not in VIEW_CHANGES or moment.lie or moment.view is None or moment.at_ms < since_ms:
            continue
        if moment.view not in views and len(views) < VIEWS_MAX:
            views.append(moment.view)
    return tuple(views)


def _place_of_break(moments: Sequence[Moment]) -> tuple[int | None, int] | None:
    for moment in moments:
        if moment.what == BREAKS and moment.sequence is not None:
            return moment.view, moment.sequence
    broken = _first(moments, lambda moment: moment.what == BREAKS)
    if broken is None:
        return None
    # The break is noticed where somebody executes what others did not.
    done: dict[int, str] = {}
    for moment in moments:
        if moment.what != EXECUTES or moment.sequence is None or moment.at_ms > broken.at_ms:
            continue
        if done.setdefault(moment.sequence, moment.digest) != moment.digest:
            return None, moment.sequence
    return None


def _place_of_lies(moments: Sequence[Moment], lies: Sequence[Moment]) -> tuple[int | None, int] | None:
    """The place that was proven to be lied about; else where one sender said different things; else the first."""
    proof = _first(moments, lambda moment: moment.what == PROVES)
    if proof is not None and proof.sequence is not None:
        return proof.view, proof.sequence
    real = {moment.sequence for moment in moments if moment.what in ORDERING | {EXECUTES} and not moment.lie}
    lies = [lie for lie in lies if lie.sequence in real]
    said: defaultdict[tuple[str, str, int | None, int], set[str]] = defaultdict(set)
    lied = {(lie.source, lie.what, lie.view, lie.sequence) for lie in lies}
    for moment in moments:
        about = (moment.source, moment.what, moment.view, moment.sequence)
        if about in lied and moment.sequence is not None and moment.to:
            said[moment.source, moment.what, moment.view, moment.sequence].add(moment.digest)
    twofold = [(moment.view, moment.sequence) for moment in lies if _is_twofold(said, moment)]
    if proof is not None:
        # What is proven was said just before.
        before = [lie for lie in lies if lie.at_ms <= proof.at_ms and _is_twofold(said, lie)]
        if before and before[-1].sequence is not None:
            return before[-1].view, before[-1].sequence
    ordering = [(lie.view, lie.sequence) for lie in lies if lie.what in ORDERING]
    for view, sequence in (*twofold, *ordering, *((lie.view, lie.sequence) for lie in lies)):
        if sequence is not None:
            return view, sequence
    return None


def _is_twofold(said: dict[tuple[str, str, int | None, int], set[str]], lie: Moment) -> bool:
    return lie.sequence is not None and len(said.get((lie.source, lie.what, lie.view, lie.sequence), ())) > 1


def _place_at(moments: Sequence[Moment], at_ms: float) -> tuple[int | None, int] | None:
    """What was ordered then; else what was ordered last."""
    last = None
    for moment in moments:
        if moment.what in {*ORDERING, EXECUTES} and moment.sequence is not None:
            last = moment.view, moment.sequence
            if moment.at_ms >= at_ms:
                break
    return last


def _faults(moments: Sequence[Moment]) -> list[Moment]:
    """What befalls places: not that they start at first."""
    down: set[str] = set()
    out = []
    for moment in moments:
        if moment.to or moment.what in {EXECUTES, ACCEPTED, PROVES, BREAKS, WHOLE}:
            continue
        if moment.what in UP and moment.source not in down:
            continue
        (down.add if moment.what in DOWN else down.discard)(moment.source)
        out.append(moment)
    return out


def _first(moments: Sequence[Moment], is_it: Callable[[Moment], bool]) -> Moment | None:
    return next((moment for moment in moments if is_it(moment)), None)


# -- how much each moment matters


class _Ranks:
    """Ranks moments one after another: what was shown often enough is left out."""

    def __init__(self, moments: Sequence[Moment], focus: Focus) -> None:
        self._focus = focus
        faults = _faults(moments)[:FAULTS_MAX]
        self._faults = {id(moment) for moment in faults}
        self._was_cut = any(moment.what == CUT for moment in faults)
        here = [moment for moment in moments if moment.sequence == focus.sequence is not None]
        self._lies_here = {(moment.source, moment.what) for moment in here if moment.lie}
        self._lies: Counter[tuple[str, str]] = Counter()
        self._proofs: dict[str, float] = {}
        """When each was found first."""
        self._leaders: dict[int | None, str] = {}
        self._said: dict[tuple[object, ...], float] = {}
        self._digests: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        done = [moment.at_ms for moment in here if moment.what == EXECUTES] or [float("inf")]
        self._done_ms = min(done) + AFTERMATH_MS
        self._all_done_ms = max(done) + AFTERMATH_MS
        self._first_view = min((moment.view for moment in here if moment.view is not None), default=0)
        begins = here[0].at_ms if here else focus.since_ms
        accepted = [moment for moment in moments if moment.what == ACCEPTED and moment.at_ms >= begins]
        self._accepted = {id(moment) for moment in [*(m for m in here if m.what == ACCEPTED), *accepted[-1:]]}
        self._asked = _request_before(moments, here)

    def rank(self, moment: Moment) -> int:
        if moment.what == BREAKS:
            return 0
        if moment.what == PROVES:
            return self._of_proof(moment)
        if moment.to:
            return self._of_lie(moment) if moment.lie else self._of_message(moment)
        return self._of_event(moment)

    def _of_proof(self, moment: Moment) -> int:
        if moment.text not in self._proofs and len(self._proofs) >= PROOFS_MAX:
            return OUT
        # Those who find the same at once share one mark; who finds it later adds nothing.
        found_ms = self._proofs.setdefault(moment.text, moment.at_ms)
        return 1 if moment.at_ms <= found_ms + FOLD_MS else OUT

    def _of_event(self, moment: Moment) -> int:
        if moment.what == EXECUTES:
            return 1 if moment.sequence == self._focus.sequence is not None else OUT
        if moment.what == ACCEPTED:
            return 3 if id(moment) in self._accepted else OUT
        if id(moment) in self._faults or (moment.what == WHOLE and self._was_cut):
            return 2
        return OUT

    def _of_lie(self, moment: Moment) -> int:
        kind = (moment.source, moment.what)
        if moment.sequence == self._focus.sequence is not None:
            self._digests[kind].add(moment.digest)
            return 0 if len(self._digests[kind]) <= LIES_OF_A_KIND else OUT
        if kind in self._lies_here or (kind not in self._lies and len(self._lies) >= LIES_MAX):
            return OUT
        self._lies[kind] += 1
        return 1 if self._lies[kind] <= LIES_OF_A_KIND else OUT

    def _of_message(self, moment: Moment) -> int:
        focus = self._focus
        if moment.what in VIEW_CHANGES and moment.view in focus.next_views and moment.at_ms >= focus.since_ms:
            if moment.what == "NEW-VIEW" and self._leaders.setdefault(moment.view, moment.source) != moment.source:
                return OUT  # passed on by others
            return self._unless_again(moment, 2)
        if moment.what == "REQUEST":
            asked = (moment.source, moment.text) == self._asked and moment.at_ms <= self._done_ms
            return self._unless_again(moment, 3) if asked else OUT
        if moment.sequence == focus.sequence is not None:
            if moment.what in ORDERING:
                later = moment.view is not None and moment.view > self._first_view
                is_of_interest = moment.at_ms <= (self._all_done_ms if later else self._done_ms)
                return self._unless_again(moment, 2) if is_of_interest else OUT
            if moment.what == "REPLY":
                return self._unless_again(moment, 5)
        return self._unless_again(moment, 4) if moment.what == "EVIDENCE" else OUT

    def _unless_again(self, moment: Moment, rank: int) -> int:
        """What is sent once more, long after, says nothing new; if it is lost once more, still less."""
        about = (moment.source, moment.what, moment.view, moment.sequence, moment.digest, moment.text)
        first_ms = self._said.setdefault(about, moment.at_ms)
        if moment.at_ms <= first_ms + FOLD_MS:
            return rank
        return OUT if moment.lost else 6


def _request_before(moments: Sequence[Moment], here: Sequence[Moment]) -> tuple[str, str] | None:
    """The request that the batch in question may hold: the last one before it was proposed."""
    proposed = _first(here, lambda moment: moment.what in ORDERING)
    if proposed is None:
        return None
    asked = [
        m for m in moments if m.what == "REQUEST" and m.source.startswith("client ") and m.at_ms <= proposed.at_ms
    ]
    return (asked[-1].source, asked[-1].text) if asked else None


def _ranked(moments: Sequence[Moment], focus: Focus) -> Iterator[tuple[int, Moment]]:
    ranks = _Ranks(moments, focus)
    for moment in moments:
        yield ranks.rank(moment), moment


def _the_most_important(rows: list[Row]) -> list[Row]:
    """At most ROWS_MAX: of equals the earlier ones stay."""
    if len(rows) <= ROWS_MAX:
        return rows
    by_rank = sorted(range(len(rows)), key=lambda index: (rows[index].rank, index))
    kept = set(by_rank[:ROWS_MAX])
    return [row for index, row in enumerate(rows) if index in kept]


def _letters(rows: Sequence[Row]) -> dict[str, str]:
    letters: dict[str, str] = {}
    for row in rows:
        if row.digest and row.digest not in letters:
            letters[row.digest] = _letter(len(letters))
    return letters


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"{chr(ord('A') + index // 26 - 1)}{chr(ord('A') + index % 26)}"


def _contradiction(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The first rows in which one sender says two things of one place."""
    said: dict[tuple[tuple[str, ...], str, int | None, int | None], Row] = {}
    for row in rows:
        if not row.is_message or not row.digest or len(row.sources) != 1:
            continue
        key = (row.sources, row.what, row.view, row.sequence)
        first = said.setdefault(key, row)
        if first.digest != row.digest and (first.lie or row.lie):
            return first, row
    return ()


def lanes_of(rows: Sequence[Row], replicas: int) -> tuple[str, ...]:
    """All replicas, and whoever else appears: people, and twins of replicas."""
    seen = {place for row in rows for place in (*row.sources, *row.to, *row.lost_to)}
    seen = {place for place in seen if place_key(place)[0] < 2}
    return tuple(sorted(seen | {f"replica {number}" for number in range(replicas)}, key=place_key))
