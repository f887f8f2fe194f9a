"""How much an account may still do: a token bucket of operations over the agreed time, and a quota of bytes a day."""

from __future__ import annotations

from typing import Final, NamedTuple

from chatsvc.application.limits import ChatLimits
from chatsvc.application.names import AccountKey
from chatsvc.application.operations import Edit, OpenPoll, Post
from chatsvc.application.results import ErrorCode
from chatsvc.application.schema import ALLOWANCES, DEVICES, AllowanceRow, DeviceRow
from chatsvc.application.state import Refusal, State
from chatsvc.application.wire import Wire
from pbft.core.types import Milliseconds

CREDIT_OF_ONE: Final = 60_000
"""What an operation takes out of the bucket, into which a millisecond puts as much as operations a minute."""
DAY_MS: Final = 86_400_000


class Spending(NamedTuple):
    """What an account will have left once its operation has succeeded."""

    account: AccountKey
    left: AllowanceRow


def check(state: State, operation: Wire) -> Spending | None:
    """Return what the operation takes, None for nothing: without limits, and from a device that has no account.

    Raises Refusal when there is too little left. Changes no row, for an operation that is refused costs nothing.
    """
    limits, time = state.limits, state.call.time
    if not (limits.operations_per_minute or limits.message_bytes_per_day):
        return None
    device = state.rows.get(DEVICES, (state.call.device,))
    if device is None:
        return None
    account = DeviceRow.from_row(device).account
    row = state.rows.get(ALLOWANCES, (account,))
    left = refreshed(None if row is None else AllowanceRow.from_row(row), limits, time)
    if limits.operations_per_minute:
        left = left._replace(credit=_take_one(left.credit, limits, time))
    if limits.message_bytes_per_day:
        left = left._replace(bytes_today=_take_bytes(left, _said_bytes(operation), limits))
    return Spending(account, left)


def spend(state: State, spending: Spending | None) -> None:
    if spending is not None:
        state.rows.put(ALLOWANCES, (spending.account,), tuple(spending.left))


def refreshed(row: AllowanceRow | None, limits: ChatLimits, time: Milliseconds) -> AllowanceRow:
    """Return what is left at `time`, if the row says what was left before; None stands for a full allowance."""
    full, day = limits.operations_burst * CREDIT_OF_ONE, time // DAY_MS
    if row is None:
        return AllowanceRow(full, time, day, 0)
    credit = min(full, row.credit + (time - row.updated_ms) * limits.operations_per_minute)
    return AllowanceRow(credit, time, day, row.bytes_today if row.day == day else 0)


def _take_one(credit: int, limits: ChatLimits, time: Milliseconds) -> int:
    if credit < CREDIT_OF_ONE:
        per_minute = limits.operations_per_minute
        wait_ms = -((credit - CREDIT_OF_ONE) // per_minute)
        raise Refusal(
            ErrorCode.RATE_LIMITED,
            f"an account does at most {per_minute} things a minute, {limits.operations_burst} at once:"
            f" try again in {seconds(wait_ms)}",
            retry_ms=Milliseconds(time + wait_ms),
        )
    return credit - CREDIT_OF_ONE


def _take_bytes(left: AllowanceRow, said_bytes: int, limits: ChatLimits) -> int:
    after, most = left.bytes_today + said_bytes, limits.message_bytes_per_day
    if said_bytes and after > most:
        raise Refusal(
            ErrorCode.QUOTA_EXCEEDED,
            f"an account writes at most {most} bytes a day, of which {max(0, most - left.bytes_today)} are left and"
            f" this is {said_bytes}: try again after midnight UTC",
            retry_ms=Milliseconds((left.day + 1) * DAY_MS),
        )
    return after


def _said_bytes(operation: Wire) -> int:
    match operation:
        case Post(body=body) | Edit(body=body):
            return len(body.encode())
        case OpenPoll():
            return sum(len(line.encode()) + 1 for line in (operation.question, *operation.options)) - 1
        case _:
            return 0


def seconds(duration_ms: int) -> str:
    """Say a duration to a person, rounded up."""
    count = -(-duration_ms // 1000)
    return "1 second" if count == 1 else f"{count} seconds"
