"""All trackers of one client as one pure object: inputs with the time, outputs to be carried out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crypto.signing import Signer
from pbft.client.quorums.knowledge import ContradictionLog, Knowledge
from pbft.client.quorums.model import Output, QueryId, Settings, SubscriptionId, Ticket, earliest
from pbft.client.quorums.operations import FIRST_NAME
from pbft.client.quorums.queries import QueryTracker
from pbft.client.quorums.requests import RequestTracker
from pbft.client.quorums.subscriptions import SubscriptionTracker
from pbft.core.group import Group
from pbft.core.messages import Answer, Events, Reply, Signed, ToClient
from pbft.core.readers import QUERIES_PER_DEVICE_MAX, SUBSCRIPTIONS_PER_DEVICE_MAX
from pbft.core.types import ClientSequence, EventIndex, Milliseconds, ReplicaId, SessionNumber

QUERIES_MAX = QUERIES_PER_DEVICE_MAX
"""Outstanding queries: more a replica would not keep waiting."""
SUBSCRIPTIONS_MAX = SUBSCRIPTIONS_PER_DEVICE_MAX
IDS_PER_SESSION = 2**20
_SESSIONS = 2**42
"""Sessions after which query ids repeat: as milliseconds they last until the year 2109."""


class ClientCore:
    """Owned by one task. Two clients of one device need two sessions."""

    def __init__(
        self,
        group: Group,
        signer: Signer,
        session: SessionNumber,
        settings: Settings | None = None,
        *,
        resume_at: ClientSequence = FIRST_NAME,
    ) -> None:
        settings = settings or Settings()
        first_id = (session % _SESSIONS) * IDS_PER_SESSION
        self.group = group
        self.knowledge = Knowledge(group)
        self.requests = RequestTracker(self.knowledge, signer, session, settings, resume_at=resume_at)
        self.queries = QueryTracker(self.knowledge, signer.public_key, QueryId(first_id), settings)
        self.subscriptions: dict[SubscriptionId, SubscriptionTracker] = {}
        self._device = signer.public_key
        self._settings = settings
        self._next_subscription = first_id
        self._out = Output()

    @property
    def contradictions(self) -> ContradictionLog:
        return self.knowledge.lies

    @property
    def next_at(self) -> Milliseconds | None:
        """When `on_time` is due, or earlier."""
        subscriptions = (subscription.next_at for subscription in self.subscriptions.values())
        return earliest(self.requests.next_at, self.queries.next_at, *subscriptions)

    def take(self) -> Output:
        """What the inputs since the last call led to."""
        out, self._out = self._out, Output()
        return out

    # -- what the caller wants

    def submit(
        self,
        now: Milliseconds,
        operations: Sequence[bytes],
        *,
        within_ms: int | None = None,
        repeatable: bool = False,
        keep_statements: bool = False,
    ) -> tuple[Ticket, ...]:
        """As `RequestTracker.submit`."""
        return self.requests.submit(
            self._out, now, operations, within_ms=within_ms, repeatable=repeatable, keep_statements=keep_statements
        )

    def retry(self, now: Milliseconds, ticket: Ticket, *, within_ms: int | None = None) -> None:
        """As `RequestTracker.retry`."""
        self.requests.retry(self._out, now, ticket, within_ms=within_ms)

    def ask(self, now: Milliseconds, query: bytes, *, within_ms: int | None = None) -> QueryId:
        """As `QueryTracker.ask`."""
        return self.queries.ask(self._out, now, query, within_ms=within_ms)

    def subscribe(self, now: Milliseconds, topic: bytes, start: EventIndex) -> SubscriptionId:
        """Events of `topic` from `start` on. Raises ValueError beyond SUBSCRIPTIONS_MAX."""
        if len(self.subscriptions) >= SUBSCRIPTIONS_MAX:
            msg = f"a client has at most {SUBSCRIPTIONS_MAX} subscriptions"
            raise ValueError(msg)
        number = SubscriptionId(self._next_subscription)
        self._next_subscription += 1
        subscription = SubscriptionTracker(
            self.knowledge,
            self._device,
            number,
            self._settings,
            topic=topic,
            start=start,
            streamer=ReplicaId(number % self.group.size),
        )
        self.subscriptions[number] = subscription
        subscription.open(self._out, now)
        return number

    def on_taken(self, number: SubscriptionId, taken: EventIndex) -> None:
        subscription = self.subscriptions.get(number)
        if subscription is not None:
            subscription.on_taken(self._out, taken)

    def unsubscribe(self, number: SubscriptionId) -> None:
        subscription = self.subscriptions.pop(number, None)
        if subscription is not None and not subscription.is_closed:
            subscription.close(self._out)

    def give_up(self) -> None:
        """Report everything that is waited for as unknown or unanswered."""
        self.requests.give_up(self._out)
        self.queries.give_up(self._out)

    # -- what happens

    def on_link(self, now: Milliseconds, replica: ReplicaId, *, up: bool) -> None:
        """A replica can be sent to now, or no more."""
        self.knowledge.on_link(replica, up=up)
        if up:
            self.requests.on_link_up(self._out, now, replica)
            self.queries.on_link_up(self._out, replica)
        else:
            self.requests.on_link_down(self._out, now, replica)
        for subscription in self.subscriptions.values():
            subscription.on_link(self._out, now, replica, up=up)

    def is_surplus(self, message: Reply | Answer | Events) -> bool:
        """Whether a message cannot change anything, even if its signature is good: it need not be verified.

        Looks and changes nothing.
        """
        match message:
            case Reply():
                return self.requests.is_surplus(message)
            case Answer():
                return self.queries.is_surplus(message)
            case Events():
                subscription = self.subscriptions.get(SubscriptionId(message.subscription))
                return subscription is None or subscription.is_surplus(message)

    def on_heard(self, now: Milliseconds, messages: Iterable[ToClient]) -> None:
        """Verified messages that arrived together."""
        replies: list[Signed[Reply]] = []
        answers: list[Signed[Answer]] = []
        for signed in messages:
            message = signed.message
            if isinstance(message, Reply):
                replies.append(signed)  # type: ignore[arg-type]  # isinstance does not narrow what contains it
            elif isinstance(message, Answer):
                answers.append(signed)  # type: ignore[arg-type]
            else:
                subscription = self.subscriptions.get(SubscriptionId(message.subscription))
                if subscription is not None:
                    subscription.on_events(self._out, now, signed)  # type: ignore[arg-type]
        if replies:
            self.requests.on_replies(self._out, now, replies)
        if answers:
            self.queries.on_answers(self._out, now, answers)

    def on_time(self, now: Milliseconds) -> None:
        """Does what is due. May be called at any time."""
        next_at = self.next_at
        if next_at is None or next_at > now:
            return
        self.requests.on_time(self._out, now)
        self.queries.on_time(self._out, now)
        for subscription in self.subscriptions.values():
            subscription.on_time(self._out, now)
