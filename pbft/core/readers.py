"""Reads and subscriptions: what is answered out of executed state, without being ordered."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import assert_never

from crypto.signing import PublicKey
from pbft.core.application import EventItem
from pbft.core.bodies import CREDIT, EVENTS_MAX, QUERY, SUBSCRIBE, UNSUBSCRIBE
from pbft.core.effects import ClientGone, EventsDone, IgnoreReason, QueryDone, ReadEvents, RunQuery
from pbft.core.events import encode_item, item_digest
from pbft.core.messages import Answer, Credit, Events, Query, Subscribe, Unsubscribe
from pbft.core.output import Output
from pbft.core.places import Places
from pbft.core.types import EventIndex, SequenceNumber
from pbft.core.voting_rules import VotingRules

QUERIES_MAX = 4096
QUERIES_PER_DEVICE_MAX = 64
QUERIES_AT_ONCE = 8
STRANGERS_TURN = 8
"""While others ask, each so many-th turn is of a device that the application does not know."""
RESTARTS_MAX = 4
"""Reads under way for one subscription number: more restarts than that are refused."""
QUERY_AHEAD_MAX = 10_000
"""Sequence numbers that a query may wait for: one for a state that never comes must not keep a place."""
SUBSCRIPTIONS_MAX = 8192
SUBSCRIPTIONS_PER_DEVICE_MAX = 64
READS_PER_DEVICE_MAX = 2 * SUBSCRIPTIONS_PER_DEVICE_MAX
"""Of events, under way for subscriptions of one device, also for those that are gone."""
EVENTS_PER_FRAME_MAX = min(256, EVENTS_MAX)
EVENTS_BYTES_MAX = 512 * 1024
"""Of bodies in one frame, unless the first alone is larger."""
CREDIT_EVENTS = 1024
"""How far a stream may run ahead of what its client has taken."""
DROPPED_REMEMBERED = 4096
FORGIVEN_MAX = 8
"""What a client may say of a subscription of which it does not know that it is gone: there are credits for as much
as it was sent, and an end."""


@dataclass(slots=True)
class _Subscription:
    topic: bytes
    next: EventIndex
    taken: EventIndex
    bodies: bool
    reading: int = 0
    """How many events the read under way asked for; 0 when none is."""
    behind: bool = False
    """Events came while the read was under way."""

    @property
    def room(self) -> int:
        return self.taken + CREDIT_EVENTS - self.next


class Readers:
    """Bounded in queries and subscriptions, in all and per device; few reads are under way at once, in turn.

    So a device that asks a thousand things waits for its own turns, and ordering waits for at most a few reads. When
    all places are taken, the device that holds most at the host that holds most loses one (`Places`): of queries one
    that waits, of subscriptions the oldest.
    """

    def __init__(self, rules: VotingRules, *, knows: Callable[[PublicKey], bool] = lambda _: True) -> None:
        self._rules = rules
        self._early: dict[PublicKey, list[Query]] = {}
        """Queries for a state that this replica has not reached."""
        self._ready: dict[PublicKey, deque[Query]] = {}
        self._turns: deque[PublicKey] = deque()
        """Devices with ready queries, each once; strangers have a ring of their own."""
        self._strangers_turns: deque[PublicKey] = deque()
        self._beat = 0
        self._open = Places(QUERIES_MAX, knows)
        """Queries of a device that wait: early or ready."""
        self._under_way = 0
        self._subscriptions: dict[PublicKey, dict[int, _Subscription]] = {}
        self._subscribed = Places(SUBSCRIPTIONS_MAX, knows)
        self._dropped: OrderedDict[tuple[PublicKey, int], int] = OrderedDict()
        """Subscriptions that had to make room for others, and how much more said of each is nobody's fault."""
        self._is_suspended = False
        self._may_resume = False
        """The state is whole again, but stands below what was read out of it before."""
        self._reached = SequenceNumber(0)
        self._reads: Counter[tuple[PublicKey, int]] = Counter()
        """Reads under way by device and number, also those of subscriptions that are gone: answered in order."""
        self._reading: Counter[PublicKey] = Counter()
        """The same by device."""

    def on_input(self, out: Output, given: QueryDone | EventsDone | ClientGone) -> None:
        match given:
            case QueryDone() | EventsDone() if self._is_suspended:
                pass  # read before the state was replaced
            case QueryDone():
                self.on_query_done(out, given)
            case EventsDone():
                self.on_events_done(out, given)
            case ClientGone():
                self.on_client_gone(given.device)
            case _:
                assert_never(given)

    # -- queries

    def on_query(
        self, out: Output, device: PublicKey, query: Query, last_executed: SequenceNumber, host: str = ""
    ) -> None:
        """Answer in turn, once the state has reached what the client has already seen. `host`: from where it came."""
        if query.minimum_sequence > last_executed + QUERY_AHEAD_MAX:
            out.ignore(IgnoreReason.TOO_FAR_AHEAD, device, QUERY)
            return
        if self._open.of(device) >= QUERIES_PER_DEVICE_MAX:
            out.ignore(IgnoreReason.DEVICE_FULL, device, QUERY)
            return
        fullest = self._open.who_makes_room(device, host)
        if fullest is not None:
            out.ignore(IgnoreReason.TOO_MANY_READS, fullest, QUERY)
            if fullest == device:
                return
            self._drop_query(fullest)
        self._open.take(device, host)
        if query.minimum_sequence > last_executed:
            self._early.setdefault(device, []).append(query)
        else:
            self._line_up(device, query)
            self._start(out)

    def _drop_query(self, device: PublicKey) -> None:
        """The last one that waits, of those that cannot be answered yet if there are any."""
        waiting = self._early if device in self._early else self._ready
        waiting[device].pop()
        if not waiting[device]:
            del waiting[device]
            if waiting is self._ready:
                self._leave_turns(device)
        self._open.give_back(device)

    def on_query_done(self, out: Output, done: QueryDone) -> None:
        self._under_way -= 1
        if done.result is not None:
            answer = Answer(device=done.device, query_id=done.query_id, sequence=done.sequence, result=done.result)
            out.reply_to(done.device, self._rules.sign_answer(answer))
        self._start(out)

    def _line_up(self, device: PublicKey, query: Query) -> None:
        queue = self._ready.setdefault(device, deque())
        if not queue:
            self._take_turn(device)
        queue.append(query)

    def _take_turn(self, device: PublicKey) -> None:
        (self._strangers_turns if self._open.is_stranger(device) else self._turns).append(device)

    def _next_turn(self) -> PublicKey | None:
        self._beat += 1
        rings = (self._turns, self._strangers_turns)
        for ring in rings if self._beat % STRANGERS_TURN else reversed(rings):
            if ring:
                return ring.popleft()
        return None

    def _start(self, out: Output) -> None:
        if self._is_suspended:
            return
        while self._under_way < QUERIES_AT_ONCE and (device := self._next_turn()) is not None:
            queue = self._ready[device]
            query = queue.popleft()
            if queue:
                self._take_turn(device)
            else:
                del self._ready[device]
            self._open.give_back(device)
            self._under_way += 1
            out.read.append(RunQuery(device=device, query_id=query.query_id, query=query.query))

    # -- subscriptions

    def on_subscribe(self, out: Output, device: PublicKey, subscribe: Subscribe, host: str = "") -> None:
        """Start, or restart at another place, the subscription with this number."""
        number = subscribe.subscription
        if self._reads[device, number] >= RESTARTS_MAX or self._reading[device] >= READS_PER_DEVICE_MAX:
            out.ignore(IgnoreReason.DEVICE_FULL, device, SUBSCRIBE)
            return
        if number not in self._subscriptions.get(device, {}) and not self._make_place(out, device, host):
            out.ignore(IgnoreReason.TOO_MANY_SUBSCRIPTIONS, device, SUBSCRIBE)
            return
        subscription = _Subscription(
            topic=subscribe.topic, next=subscribe.start, taken=subscribe.start, bodies=subscribe.bodies
        )
        self._subscriptions.setdefault(device, {})[number] = subscription
        self._dropped.pop((device, number), None)
        self._read(out, device, number, subscription)

    def _make_place(self, out: Output, device: PublicKey, host: str) -> bool:
        """For one more subscription. Clients may have left without a word, over one of several connections: so it is
        the oldest that makes room."""
        if self._subscribed.of(device) >= SUBSCRIPTIONS_PER_DEVICE_MAX:
            self._drop_oldest(device)
        fullest = self._subscribed.who_makes_room(device, host)
        if fullest == device:
            return False
        if fullest is not None:
            out.ignore(IgnoreReason.TOO_MANY_SUBSCRIPTIONS, fullest, SUBSCRIBE)
            self._dropped[fullest, self._drop_oldest(fullest)] = FORGIVEN_MAX
            if len(self._dropped) > DROPPED_REMEMBERED:
                self._dropped.popitem(last=False)
        self._subscribed.take(device, host)
        return True

    def _drop_oldest(self, device: PublicKey) -> int:
        mine = self._subscriptions[device]
        oldest = next(iter(mine))
        del mine[oldest]
        if not mine:
            del self._subscriptions[device]
        self._subscribed.give_back(device)
        return oldest

    def on_credit(self, out: Output, device: PublicKey, credit: Credit) -> None:
        subscription = self._subscriptions.get(device, {}).get(credit.subscription)
        if subscription is None:
            out.ignore(self._why_no_subscription(device, credit.subscription), device, CREDIT)
            return
        was_full = subscription.room <= 0
        subscription.taken = EventIndex(min(max(subscription.taken, credit.taken), subscription.next))
        if was_full and not subscription.reading:
            self._read(out, device, credit.subscription, subscription)

    def on_unsubscribe(self, out: Output, device: PublicKey, unsubscribe: Unsubscribe) -> None:
        mine = self._subscriptions.get(device, {})
        if mine.pop(unsubscribe.subscription, None) is None:
            out.ignore(self._why_no_subscription(device, unsubscribe.subscription), device, UNSUBSCRIBE)
            return
        self._subscribed.give_back(device)
        if not mine:
            del self._subscriptions[device]

    def _why_no_subscription(self, device: PublicKey, number: int) -> IgnoreReason:
        """One that had to make room is not missed by its client's doing: it may give credit, and end it."""
        left = self._dropped.get((device, number), 0)
        if not left:
            return IgnoreReason.NO_SUBSCRIPTION
        self._dropped[device, number] = left - 1
        return IgnoreReason.TOO_MANY_SUBSCRIPTIONS

    def on_events_done(self, out: Output, done: EventsDone) -> None:
        key = (done.device, done.subscription)
        self._reads[key] -= 1
        self._reading[done.device] -= 1
        if self._reading[done.device] <= 0:
            del self._reading[done.device]
        if self._reads[key] > 0:
            return  # read for an earlier subscription of this number
        del self._reads[key]
        subscription = self._subscriptions.get(done.device, {}).get(done.subscription)
        if subscription is None or not subscription.reading or subscription.next != done.start:
            return  # closed or restarted while the read was under way
        asked, subscription.reading = subscription.reading, 0
        found = done.events or ()
        items = _fitting(found) if subscription.bodies else tuple(map(item_digest, found))
        if items or done.events is None:
            events = Events(
                device=done.device,
                subscription=done.subscription,
                sequence=done.sequence,
                first=done.start,
                bodies=subscription.bodies,
                items=items,
                closed=done.events is None,
            )
            out.reply_to(done.device, self._rules.sign_events(events))
        if done.events is None:
            self.on_unsubscribe(out, done.device, Unsubscribe(subscription=done.subscription))
            return
        subscription.next = EventIndex(subscription.next + len(items))
        if len(items) == asked or len(items) < len(found) or subscription.behind:
            self._read(out, done.device, done.subscription, subscription)

    # -- the state moved on, or a client left

    def on_executed(self, out: Output, topics: Iterable[bytes], last_executed: SequenceNumber) -> None:
        if self._is_suspended:
            if self._may_resume and last_executed >= self._reached:
                self.resume(out, last_executed)
            return
        for device in list(self._early):
            queries = self._early.pop(device)
            later = [query for query in queries if query.minimum_sequence > last_executed]
            if later:
                self._early[device] = later
            for query in queries:
                if query.minimum_sequence <= last_executed:
                    self._line_up(device, query)
        self._start(out)
        touched = frozenset(topics)
        if not touched:
            return
        for device, mine in self._subscriptions.items():
            for number, subscription in mine.items():
                if subscription.topic not in touched:
                    continue
                if subscription.reading:
                    subscription.behind = True
                else:
                    self._read(out, device, number, subscription)

    def suspend(self, last_executed: SequenceNumber) -> None:
        """The state is damaged, or replaced: nothing is read out of it. Clients ask their queries again."""
        self._may_resume = False
        if self._is_suspended:
            return
        self._is_suspended = True
        self._reached = last_executed
        for queries in (self._early, self._ready):
            queries.clear()
        self._turns.clear()
        self._strangers_turns.clear()
        self._open.clear()
        self._reads.clear()
        self._reading.clear()
        self._under_way = 0
        for mine in self._subscriptions.values():
            for subscription in mine.values():
                subscription.reading = 0

    def resume(self, out: Output, last_executed: SequenceNumber) -> None:
        """Another state is in place: every topic may have events that nobody was told of. One that stands below what
        was read before goes on first: topics may be missing in it that were there."""
        self._may_resume = last_executed < self._reached
        if self._may_resume:
            return
        self._is_suspended = False
        topics = {subscription.topic for mine in self._subscriptions.values() for subscription in mine.values()}
        self.on_executed(out, topics, last_executed)

    def on_client_gone(self, device: PublicKey) -> None:
        self._open.give_back(device, len(self._early.pop(device, ())) + len(self._ready.pop(device, ())))
        self._leave_turns(device)
        self._subscribed.give_back(device, len(self._subscriptions.pop(device, {})))

    def _leave_turns(self, device: PublicKey) -> None:
        for ring in (self._turns, self._strangers_turns):
            if device in ring:
                ring.remove(device)

    def _read(self, out: Output, device: PublicKey, number: int, subscription: _Subscription) -> None:
        limit = min(subscription.room, EVENTS_PER_FRAME_MAX)
        subscription.behind = False
        if limit <= 0 or self._is_suspended:
            return
        subscription.reading = limit
        self._reads[device, number] += 1
        self._reading[device] += 1
        out.read.append(
            ReadEvents(
                device=device, subscription=number, topic=subscription.topic, start=subscription.next, limit=limit
            )
        )


def _fitting(found: tuple[EventItem, ...]) -> tuple[bytes, ...]:
    """As many of the first items as a frame holds, encoded; the others are read again."""
    items: list[bytes] = []
    size = 0
    for each in found:
        item = encode_item(each)
        size += len(item) + 16
        if items and size > EVENTS_BYTES_MAX:
            break
        items.append(item)
    return tuple(items)
