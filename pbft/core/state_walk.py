"""The walk down from a certified state root to the pages that differ here. Knows nothing of peers or time.

meta -> tables with another root -> their buckets with another digest -> their pages with another digest -> rows.
Each answer is verified against what was verified above it, so a false one is known at once, and whose it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from crypto.digest import Digest
from pbft.core.effects import InstallPages
from pbft.core.errors import InvariantViolation
from pbft.core.group import Group
from pbft.core.messages import Checkpoint
from pbft.core.state_bodies import ANSWER_BYTES_MAX, ANSWER_ITEMS_MAX, part_bytes
from pbft.core.state_digest import bucket_digest, page_digest, state_root, table_root
from pbft.core.state_messages import (
    BucketDigests,
    Listings,
    Pages,
    StateContent,
    StateMeta,
    WantBuckets,
    Wanted,
    WantListings,
    WantMeta,
    WantPages,
)

BUCKETS_PER_QUESTION = 32
PAGES_PER_QUESTION = 64
QUESTION_BYTES_MAX = 64 * 1024
"""Of the page keys in one question."""
PAGES_WANTED_ENOUGH = 256
"""No more listings are asked for while the rows of so many pages are to be fetched: memory is bounded."""
PAGE_BYTES_MAX = 64 * 1024 * 1024
"""Of one page, or one bucket's listing, which travels in parts and can only be verified as a whole."""


class LocalState(Protocol):
    """Digests of the state as it is here, after all that was installed."""

    def table_roots(self) -> Mapping[str, Digest]:
        """By name, of all tables."""
        ...

    def bucket_digests(self, table: str) -> Sequence[Digest]: ...

    def page_digests(self, table: str, bucket: int) -> Mapping[bytes, Digest]: ...


class FalseState(Exception):  # noqa: N818 - it says what the peer served
    """An answer that is not of the certified state, or not what was asked for. The text says what was wrong."""


Part = tuple[bytes, bytes]
"""A row, or a page key with the page's digest."""

Item = TypeVar("Item", int, bytes)
"""What is asked for in one piece: a bucket, by number, or a page, by key."""


@dataclass(slots=True)
class Held:
    """The beginning of a page, or of a bucket's listing, until the rest of it comes from the same peer."""

    parts: list[Part] = field(default_factory=list)
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What an answer came to. `rest`: what to ask the same peer next, with `held` as the beginning of its answer."""

    installs: tuple[InstallPages, ...] = ()
    pages: int = 0
    size: int = 0
    rest: Wanted | None = None
    held: Held | None = None


class Walk:
    """What is still wanted of the state at `checkpoint`."""

    def __init__(self, group: Group, local: LocalState, checkpoint: Checkpoint) -> None:
        self._group = group
        self._local = local
        self.checkpoint = checkpoint
        self.meta: StateMeta | None = None
        self._meta_asked = False
        self._buckets: dict[str, tuple[Digest, ...]] = {}
        """Verified bucket digests, of the tables walked so far that differ."""
        self._tables: deque[str] = deque()
        self._listings: dict[str, deque[int]] = {}
        self._digests: dict[tuple[str, bytes], Digest] = {}
        """Verified digests of the pages that are wanted, asked for or not."""
        self._pages: dict[str, deque[bytes]] = {}
        """Those not asked for."""

    @property
    def pages_wanted(self) -> int:
        """As far as is known yet."""
        return len(self._digests)

    @property
    def has_nothing_to_ask(self) -> bool:
        return self._meta_asked and not (self._tables or self._listings or self._pages)

    # -- what to ask

    def next(self) -> Wanted | None:
        """Take the next question off the list; None if nothing is to be asked before an answer comes."""
        if not self._meta_asked:
            self._meta_asked = True
            return WantMeta()
        if self._tables:
            return WantBuckets(table=self._tables.popleft())
        if self._listings and (self.pages_wanted < PAGES_WANTED_ENOUGH or not self._pages):
            table, buckets = _take_some(self._listings, BUCKETS_PER_QUESTION, lambda _: 0)
            return WantListings(table=table, buckets=buckets)
        if self._pages:
            table, pages = _take_some(self._pages, PAGES_PER_QUESTION, len)
            return WantPages(table=table, pages=pages)
        return None

    def give_back(self, wanted: Wanted) -> None:
        """A question that was not answered, or not to its end, is to be asked again, from its beginning."""
        match wanted:
            case WantMeta():
                self._meta_asked = False
            case WantBuckets():
                self._tables.appendleft(wanted.table)
            case WantListings():
                self._listings.setdefault(wanted.table, deque()).extendleft(reversed(wanted.buckets))
            case WantPages():
                self._pages.setdefault(wanted.table, deque()).extendleft(reversed(wanted.pages))

    # -- what came

    def take(self, wanted: Wanted, held: Held, content: StateContent) -> Taken:
        """Verify an answer and note what follows from it. Raises FalseState, and then nothing is noted."""
        match wanted, content:
            case WantMeta(), StateMeta():
                self._take_meta(content)
                return Taken()
            case WantBuckets(), BucketDigests() if content.table == wanted.table:
                self._take_buckets(content)
                return Taken()
            case WantListings(), Listings() if content.table == wanted.table:
                return self._take_listings(wanted, held, content)
            case WantPages(), Pages() if content.table == wanted.table:
                return self._take_pages(wanted, held, content)
            case _:
                raise FalseState("an answer to another question than the one asked")

    def _take_meta(self, meta: StateMeta) -> None:
        roots = dict(meta.table_roots)
        checkpoint = self.checkpoint
        root = state_root(
            history_head=meta.history_head,
            agreed_time=meta.agreed_time,
            table_roots=roots,
            group_id=self._group.group_id,
            epoch=self._group.epoch,
            sequence=checkpoint.sequence,
        )
        if root != checkpoint.state_root:
            raise FalseState("table roots that do not lead to the certified state root")
        local = self._local.table_roots()
        if local.keys() != roots.keys():
            msg = (
                f"the certified state at {checkpoint.sequence} has the tables {', '.join(sorted(roots))}, this "
                f"program has {', '.join(sorted(local))}: run the version that the group runs"
            )
            raise InvariantViolation(msg)
        self.meta = meta
        self._tables.extend(name for name, digest in meta.table_roots if local[name] != digest)

    def _take_buckets(self, content: BucketDigests) -> None:
        if self.meta is None:
            raise InvariantViolation("buckets were asked for before the table roots were known")
        roots = dict(self.meta.table_roots)
        if table_root(content.buckets) != roots[content.table]:
            raise FalseState(f"bucket digests of table {content.table} that do not lead to its root")
        local = self._local.bucket_digests(content.table)
        differing = [number for number, digest in enumerate(content.buckets) if local[number] != digest]
        if differing:
            self._buckets[content.table] = content.buckets
            self._listings[content.table] = deque(differing)

    def _take_listings(self, wanted: WantListings, held: Held, content: Listings) -> Taken:
        table = wanted.table
        answered, rest = _assemble(
            content.buckets,
            wanted.buckets,
            held,
            after=wanted.after,
            more=content.more,
            what=f"buckets of table {table}",
        )
        listed: list[tuple[int, dict[bytes, Digest]]] = []
        for number, parts in answered:
            pages = {page: Digest(digest) for page, digest in parts}
            if bucket_digest(pages) != self._buckets[table][number]:
                raise FalseState(f"a listing of bucket {number} of table {table} that does not lead to its digest")
            listed.append((number, pages))
        installs = [self._compare(table, number, pages) for number, pages in listed]
        left = wanted.buckets[len(answered) :]
        size = _size(pages for _, pages in content.buckets)
        installs = [install for install in installs if install.pages]
        if rest is not None:
            again = WantListings(table=table, buckets=left, after=rest.parts[-1][0])
            return Taken(installs=tuple(installs), size=size, rest=again, held=rest)
        if left:
            self.give_back(WantListings(table=table, buckets=left))
        return Taken(installs=tuple(installs), size=size)

    def _compare(self, table: str, number: int, pages: Mapping[bytes, Digest]) -> InstallPages:
        """Note which pages of a bucket to fetch; return which ones to remove."""
        local = self._local.page_digests(table, number)
        differing = [page for page, digest in pages.items() if local.get(page) != digest]
        self._digests.update({(table, page): pages[page] for page in differing})
        if differing:
            self._pages.setdefault(table, deque()).extend(differing)
        return InstallPages(table=table, pages=tuple((page, ()) for page in sorted(local) if page not in pages))

    def _take_pages(self, wanted: WantPages, held: Held, content: Pages) -> Taken:
        table = wanted.table
        answered, rest = _assemble(
            content.pages, wanted.pages, held, after=wanted.after, more=content.more, what=f"pages of table {table}"
        )
        for page, rows in answered:
            if page_digest(rows) != self._digests[table, page]:
                raise FalseState(f"rows of page {page.hex()} of table {table} that do not lead to its digest")
        for page, _ in answered:
            del self._digests[table, page]
        installs = (InstallPages(table=table, pages=tuple(answered)),) if answered else ()
        size = _size(rows for _, rows in content.pages)
        left = wanted.pages[len(answered) :]
        if rest is not None:
            again = WantPages(table=table, pages=left, after=rest.parts[-1][0])
            return Taken(installs=installs, pages=len(answered), size=size, rest=again, held=rest)
        if left:
            self.give_back(WantPages(table=table, pages=left))
        return Taken(installs=installs, pages=len(answered), size=size)


def _assemble(
    items: Sequence[tuple[Item, tuple[Part, ...]]],
    asked: tuple[Item, ...],
    held: Held,
    *,
    after: bytes | None,
    more: bool,
    what: str,
) -> tuple[list[tuple[Item, tuple[Part, ...]]], Held | None]:
    """Put an answer together with what came before: the items that are whole, and the beginning of the one that
    goes on. Raises FalseState for an answer that is not the beginning of what was asked for, or was cut short."""
    named = tuple(item for item, _ in items)
    if not named or named != asked[: len(named)]:
        raise FalseState(f"other {what} than those asked for, or none")
    whole = list(items)
    is_full = _size(parts for _, parts in whole) >= ANSWER_BYTES_MAX
    is_full = is_full or sum(len(parts) for _, parts in whole) >= ANSWER_ITEMS_MAX
    if (more or len(named) < len(asked)) and not is_full:
        raise FalseState(f"an answer about {what} that was cut short")
    if after is not None:
        item = whole[0][0]
        going_on: tuple[Part, ...] = whole[0][1]
        if going_on and going_on[0][0] <= after:
            raise FalseState(f"{what} from another place than the one asked for")
        whole[0] = (item, (*held.parts, *going_on))
    if not more:
        return whole, None
    _, begun = whole.pop()
    size = _size((begun,))
    if not begun or size > PAGE_BYTES_MAX:
        raise FalseState(f"{what} without end")
    return whole, Held(parts=list(begun), size=size)


def _size(items: Iterable[Sequence[Part]]) -> int:
    return sum(part_bytes(key, data) for parts in items for key, data in parts)


def _take_some(
    queues: dict[str, deque[Item]], most: int, bytes_of: Callable[[Item], int]
) -> tuple[str, tuple[Item, ...]]:
    """Take the next few off the first table's queue, as many as one question may name."""
    table, queue = next(iter(queues.items()))
    taken = [queue.popleft()]
    size = bytes_of(taken[0])
    while queue and len(taken) < most and size + bytes_of(queue[0]) <= QUESTION_BYTES_MAX:
        size += bytes_of(queue[0])
        taken.append(queue.popleft())
    if not queue:
        del queues[table]
    return table, tuple(taken)
