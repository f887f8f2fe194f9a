"""What the bench makes of a primary that was killed. Time is trio's MockClock's."""

from __future__ import annotations

import time
from typing import cast

import pytest
from trio.testing import MockClock

from chatsvc.application.names import RoomName
from chatsvc.application.results import ErrorCode, Posted, Result, encode_result
from chatsvc.application.results import Rejected as Refused
from chatsvc.application.schema import MessageIndex
from chatsvc.closed_loop import Loop
from clients.sdk import ClientFailure, ExitCode
from clients.takeover import ECHO_SECONDS, RESUME_SECONDS, gap, until_resumed, without_outcome
from crypto.signing import Ed25519Signer, SecretSeed
from pbft.client.commands import OnOutcome
from pbft.client.driver import ReplicaClient
from pbft.client.quorums.model import Accepted, Outcome, Ticket, Unknown
from pbft.client.quorums.model import Rejected as Stale
from pbft.core.types import ClientSequence, ReplicaId, SequenceNumber

SIGNER = Ed25519Signer(SecretSeed(bytes(32)))


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([1.0, 9.9, 12.5, 12.6], 2.5),
        ([9.9, 10.01, 10.02, 13.0, 13.5], 3.0),
        ([10.5], 0.5),
        ([10.1, 10.15, 10.2], 0.1),
    ],
    ids=["a plain pause", "replies that were under way do not end it", "one only", "hardly any"],
)
def test_the_gap_ends_with_the_longest_pause_after_the_kill(moments: list[float], expected: float) -> None:
    assert gap(moments, killed_at=10.0) == pytest.approx(expected)


def loop_with(*moments: float) -> Loop:
    nobody = cast("ReplicaClient", None)  # these loops have run already
    journal = [(moment, b"nonce") for moment in moments]
    return Loop(client=nobody, signer=SIGNER, room="room", body="x", number=0, journal=journal)


async def test_replies_that_were_under_way_are_no_sign_that_another_took_over(autojump_clock: MockClock) -> None:
    killed_at = time.perf_counter()
    loops = [loop_with(killed_at - 1, killed_at + ECHO_SECONDS / 2), loop_with()]
    with pytest.raises(ClientFailure, match=f"in {RESUME_SECONDS:g} s after replica 0.* 2 operations") as failure:
        await until_resumed(loops, killed_at, 0)
    assert failure.value.exit_code is ExitCode.UNKNOWN


async def test_a_later_acceptance_is(autojump_clock: MockClock) -> None:
    killed_at = time.perf_counter()
    await until_resumed([loop_with(), loop_with(killed_at + 2 * ECHO_SECONDS)], killed_at, 0)


# -- what became of each operation


class Submitted:
    """A client whose operations have the outcomes that a test gives them."""

    def __init__(self) -> None:
        self.open: list[OnOutcome] = []

    def submit_nowait(self, _operation: bytes, on_outcome: OnOutcome, *, within_s: float) -> None:
        assert within_s > 0
        self.open.append(on_outcome)


def accepted(result: Result) -> Accepted:
    sequence, encoded = SequenceNumber(1), encode_result(result)
    return Accepted(client_sequence=CLIENT_SEQUENCE, sequence=sequence, index=0, result=encoded, vouchers=VOUCHERS)


CLIENT_SEQUENCE = ClientSequence(0)
VOUCHERS = (ReplicaId(0), ReplicaId(1))
OUTCOMES: list[Outcome] = [
    accepted(Posted(RoomName("room"), MessageIndex(0))),
    accepted(Refused(ErrorCode.NOT_A_MEMBER, "not in the room")),
    Unknown(ticket=Ticket(7), sent=True),
    Stale(client_sequence=CLIENT_SEQUENCE, vouchers=VOUCHERS),
]


async def test_what_the_chat_rejected_has_an_outcome_and_what_was_never_heard_of_again_has_none() -> None:
    client = Submitted()
    loop = Loop(
        client=cast("ReplicaClient", client),
        signer=SIGNER,
        room="room",
        body="x",
        number=0,
        journal=[],
        running=False,
    )
    loop.start(len(OUTCOMES) + 1)
    for on_outcome, outcome in zip(client.open, OUTCOMES, strict=False):
        on_outcome(outcome)
    assert (loop.accepted, loop.rejected, loop.unknown, loop.outstanding) == (1, 1, 2, 1)
    assert loop.failed == 3
    assert len(loop.journal or ()) == 1
    assert without_outcome([loop]) == 3
