"""The chat for Python programs: `async with Chat.connect(directory, signer) as chat`.

Nothing here believes one replica: whatever is returned, f+1 of them have signed, and writes say which.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chatsvc.application.events import notices_topic
from chatsvc.application.names import parse_account
from clients.sdk.accounts import AccountCalls
from clients.sdk.port import ordered_read, room_name
from clients.sdk.streams import MessageStream, NoticeStream, Reader, RoomEventStream
from crypto.signing import Signer
from pbft.client.connection import Dial, dial_tcp
from pbft.client.directory import GroupDirectory
from pbft.client.driver import open_client
from pbft.client.errors import LinkState
from pbft.client.quorums import ContradictionLog, Settings
from pbft.core.effects import Evidence
from pbft.core.types import ReplicaId

TIMEOUT_S = 10.0


class Chat(AccountCalls, Reader):
    """One user's connection to a group. Methods may be called from several tasks at once.

    All raise ChatError for what the chat refuses, OutcomeUnknown when nothing is known in time,
    AuthenticationFailed when a quorum turns this user away; reads ReplicasDisagree, if even ordering did not help.
    """

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        directory: GroupDirectory,
        signer: Signer,
        *,
        timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - not of this call, which has none
        settings: Settings | None = None,
        dial: Dial = dial_tcp,
    ) -> AsyncIterator[Chat]:
        """`timeout`: seconds for reaching f+1 replicas, and then for every outcome.

        Raises NotEnoughReplicas, AuthenticationFailed, and CertificateError for a pinned certificate that is none.
        """
        client = open_client(directory, signer, settings=settings, ordered_read=ordered_read, dial=dial)
        async with client:
            await client.wait_connected(within_s=timeout)
            yield cls(client, signer, timeout=timeout)

    @property
    def contradictions(self) -> ContradictionLog:
        """Who lied, how often, and the evidence."""
        return self.client.contradictions

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Proofs of lies that anybody can verify from the group alone (`pbft.core.evidence`)."""
        return self.client.evidence

    def lies(self) -> dict[ReplicaId, int]:
        """How often each replica contradicted what f+1 of them signed; those that did only."""
        return self.client.contradictions.counts

    def links(self) -> tuple[LinkState, ...]:
        return self.client.links()

    def subscribe(self, room: str, start: int = 0) -> MessageStream:
        """Messages of a room from index `start` on, and then those to come."""
        return MessageStream(self, room_name(room), start)

    def follow(self, room: str, start: int | None = None) -> RoomEventStream:
        """Everything that happens in a room: from event `start` on, or from now on."""
        return RoomEventStream(self, room_name(room), start)

    async def follow_notices(self, start: int | None = None) -> NoticeStream:
        """What this user is told: from notice `start` on, or from now on."""
        account = parse_account((await self.whoami()).name).key
        if start is None:
            start = (await self.notices(limit=1)).end
        return NoticeStream(self, notices_topic(account), start)
