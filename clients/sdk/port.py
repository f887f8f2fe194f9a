"""Writing and reading: the two ways in which everything else reaches the replicas."""

from __future__ import annotations

from typing import NoReturn, TypeVar, assert_never

from chatsvc.application import answers, operations, queries, results
from chatsvc.application.names import BadName, RoomName, parse_room
from chatsvc.application.results import ErrorCode
from clients.sdk.values import ChatError, ClientFailure, Done, Reading, Receipt
from crypto.errors import MalformedEncoding
from crypto.signing import Signer
from pbft.client.answers import Answer
from pbft.client.driver import ReplicaClient
from pbft.client.errors import ExitCode, OutcomeUnknown, RequestRejected
from pbft.client.quorums import Accepted, Outcome, Rejected, Unknown

R = TypeVar("R")
A = TypeVar("A")

DIRECT_MARK = "@"


class Port:
    """One user's connection. Methods may be called from several tasks at once."""

    def __init__(self, client: ReplicaClient, signer: Signer, *, timeout: float) -> None:
        self.client = client
        self.signer = signer
        self._timeout = timeout
        self._is_registered = False

    async def write(self, operation: operations.Operation, kind: type[R]) -> Done[R]:
        """Have an operation carried out that gives a `kind`. Raises as said at `Chat`."""
        # What a device without account does is not remembered, and may run again at another sequence.
        repeatable = not self._is_registered
        try:
            encoded = operations.encode_operation(operation)
            outcome = await self.client.submit(encoded, within_s=self._timeout, repeatable=repeatable)
        except (MalformedEncoding, ValueError) as error:
            raise ChatError(ErrorCode.MALFORMED, str(error)) from error
        done = self.done(outcome)
        if not isinstance(done.value, kind):
            refuse_nonsense(f"{type(done.value).__name__} in place of {kind.__name__}")
        return Done(done.value, done.receipt)

    def done(self, outcome: Outcome) -> Done[results.Result]:
        """Return what an operation gave. Raises ChatError, RequestRejected, OutcomeUnknown."""
        match outcome:
            case Accepted():
                at, needed = outcome.sequence, self.client.group.honest_minimum
                receipt = Receipt(sequence=at, index=outcome.index, vouchers=outcome.vouchers, needed=needed)
            case Rejected():
                msg = "refused under its name: this session was ended by later ones of the same key"
                raise RequestRejected(msg)
            case Unknown():
                msg = f"no outcome within {self._timeout:g} s; it may have been carried out, or be carried out still"
                if not outcome.sent:
                    msg = f"not sent within {self._timeout:g} s: too many operations wait, or too few replicas answer"
                raise OutcomeUnknown(msg, outcome)
            case _:
                assert_never(outcome)
        try:
            result = results.decode_result(outcome.result)
        except MalformedEncoding as error:
            refuse_nonsense(str(error))
        if isinstance(result, results.Rejected):
            raise ChatError(result.code, result.detail, retry_ms=result.retry_ms)
        self._is_registered = True
        return Done(result, receipt)

    async def retry(self, unknown: OutcomeUnknown) -> Done[results.Result]:
        """Wait again for a write whose outcome was unknown; it is carried out once at most.

        Raises ValueError for the OutcomeUnknown of a read, UnknownTicket for one that was retried already.
        """
        if not isinstance(unknown.outcome, Unknown):
            msg = "only a write can be retried; a read is simply asked again"
            raise ValueError(msg)  # noqa: TRY004 - it is no matter of types
        return self.done(await self.client.retry(unknown.outcome, within_s=self._timeout))

    async def ask(self, query: queries.Query, *, linearizable: bool = False) -> Reading[answers.Answer]:
        """Ask anything, and be told what makes the answer true. Raises ChatError for an answer that is an error."""
        try:
            encoded = queries.encode_query(query)
            answer = await self.client.query(encoded, linearizable=linearizable, within_s=self._timeout)
        except (MalformedEncoding, ValueError) as error:
            raise ChatError(ErrorCode.BAD_QUERY, str(error)) from error
        return Reading(
            value=value_of(answer.result),
            sequence=answer.sequence,
            vouchers=answer.vouchers,
            needed=self.client.group.honest_minimum,
            ordered=answer.ordered,
        )

    async def ask_to_keep(self, query: queries.Query) -> tuple[answers.Answer, Answer]:
        """Ask, and get beside the answer what replicas signed: for `pbft.client.offline`. Raises as `ask` does."""
        encoded = queries.encode_query(query)
        answer = await self.client.query(encoded, within_s=self._timeout, keep_statements=True)
        return value_of(answer.result), answer

    async def read(self, query: queries.Query, kind: type[A]) -> A:
        """Ask for an answer of one kind."""
        value = (await self.ask(query)).value
        if not isinstance(value, kind):
            refuse_nonsense(f"{type(value).__name__} in place of {kind.__name__}")
        return value


def value_of(result: bytes) -> answers.Answer:
    """Return the answer that f+1 replicas gave. Raises ChatError for an error."""
    try:
        value = answers.decode_answer(result)
    except MalformedEncoding as error:
        refuse_nonsense(str(error))
    if isinstance(value, results.Rejected):
        raise ChatError(value.code, value.detail, retry_ms=value.retry_ms)
    return value


def ordered_read(query: bytes) -> bytes:
    """Make an operation of a query, for when replicas cannot agree on an answer otherwise."""
    return operations.encode_operation(operations.Read(query))


def room_name(text: str) -> RoomName:
    """Return the room that a person calls `text`; a direct conversation by its whole name. Raises ChatError."""
    if text.startswith(DIRECT_MARK):
        return RoomName(text)
    try:
        return parse_room(text)
    except BadName as error:
        raise ChatError(ErrorCode.BAD_NAME, f"room {text[:40]!r}: {error}") from error


def refuse_nonsense(what: str) -> NoReturn:
    """f+1 replicas say something that this version of the program does not know."""
    msg = f"the replicas agree on something that this client does not understand: {what}"
    raise ClientFailure(msg, exit_code=ExitCode.DISAGREE)
