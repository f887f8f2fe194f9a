"""People who do not behave: they hold a device's key, and sign with it what they like."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, Final

import msgspec

from adversary.simulator.clients import SESSION, SimulatedClient, operation_of
from adversary.simulator.network import REPLICA_ADDRESSES
from adversary.simulator.scenario import Action, Client
from adversary.simulator.surroundings import Surroundings
from chatsvc.application.operations import Create, Post, Read, Register, encode_operation
from crypto.canonical import encode
from crypto.signing import Signer
from pbft.core.frames import sign_request
from pbft.core.messages import Request
from pbft.core.types import ClientSequence, SessionNumber


class _Stranger(SimulatedClient):
    """Signs and sends by itself, and knows what it did: answers are of no interest to it."""

    is_honest = False

    def __init__(self, around: Surroundings, *, address: int, name: str, signer: Signer) -> None:
        super().__init__(around, address=address, name=name, signer=signer)
        around.checker.strangers.add(self.device)
        self._next = 0

    def receive(self, _frame: bytes) -> None: ...

    def _wire(self, operation: bytes, number: int, *, session: int = SESSION, ack: int = 0) -> bytes:
        request = Request(
            session=SessionNumber(session),
            first_client_sequence=ClientSequence(number),
            ack_below=ClientSequence(ack),
            operations=(operation,),
        )
        return sign_request(self._around.group, self._signer, request).wire

    def _to_all(self, wire: bytes) -> None:
        for replica in self._around.group.replicas:
            self._around.delivery.transmit_from_client(self, replica, wire)


class EquivocatingClient(_Stranger):
    """Signs two operations under each name, and sends each of them to a part of the replicas first."""

    def act(self, action: Action) -> None:
        around = self._around
        for twist in (0, 1):
            wire = self._wire(operation_of(_again(action, "x" * twist)), self._next)
            for replica in around.group.replicas:
                if replica % 2 == twist or action.id % 2:
                    around.delivery.transmit_from_client(self, replica, wire)
        self._next += 1
        self.misdeeds += 1


class FloodingClient(_Stranger):
    """Asks `times` times what it should ask once, of everybody, and waits for nothing."""

    def __init__(self, around: Surroundings, *, times: int = 10, **same: Any) -> None:
        super().__init__(around, **same)
        self._times = times

    def act(self, action: Action) -> None:
        for number in range(self._times if action.kind == "post" else 1):
            text = f" {number}" if action.kind == "post" else ""
            # Acknowledged, whatever came: so its session's window never ends.
            ack = max(0, self._next - self._around.group.parameters.client_window // 2)
            self._to_all(self._wire(operation_of(_again(action, text)), self._next, ack=ack))
            self._next += 1
            self.misdeeds += number > 0


OVERHEARD_MAX: Final = 200


class ReplayingClient(_Stranger):
    """Says again what others and itself said, over its own connections and in its sessions.

    For each thing that it does itself, `times` things that others asked, one of its own under the same name, and one
    in another session, older or younger.
    """

    def __init__(self, around: Surroundings, *, times: int = 4, random: Random, **same: Any) -> None:
        super().__init__(around, **same)
        self._times = times
        self._random = random
        self._others: deque[bytes] = deque(maxlen=OVERHEARD_MAX)
        self._own: list[tuple[int, bytes]] = []

    def overhear(self, wire: bytes) -> None:
        """A request on its way from somebody else."""
        self._others.append(wire)

    def act(self, action: Action) -> None:
        random, replicas = self._random, self._around.group.replicas
        operation = operation_of(action)
        self._own.append((self._next, operation))
        self._to_all(self._wire(operation, self._next))
        self._next += 1
        for _ in range(self._times if self._others else 0):
            self._around.delivery.transmit_from_client(self, random.choice(replicas), random.choice(self._others))
            self.misdeeds += 1
        number, operation = random.choice(self._own)
        self._to_all(self._wire(operation, number))
        self._to_all(self._wire(operation, number, session=random.choice((0, 2, 3, 2**62))))


class QueryOfDeath(SimulatedClient):
    """A client as any other, that asks besides what an executor could die of: `each` such operations with every thing
    that it does. What they give must be an error, the same everywhere."""

    def __init__(self, around: Surroundings, *, each: int = 2, random: Random, **same: Any) -> None:
        super().__init__(around, **same)
        self._each = each
        self._random = random
        self._most = around.group.parameters.operation_bytes_max

    def act(self, action: Action) -> None:
        super().act(action)
        if self._is_registered:
            for _ in range(self._each):
                self._submit(self._random.choice(DEADLY)[: self._most], is_read=True)
                self.misdeeds += 1
            self._flush()


def _again(action: Action, text: str) -> Action:
    return msgspec.structs.replace(action, text=action.text + text)


def _post(body: str, *, room: str = "main", reply_to: object = None, nonce: object = b"") -> bytes:
    return encode(["post", room, body, "text", reply_to, None, nonce, None])  # type: ignore[list-item]


BAD_NAMES: Final = ("", " ", "a b", "a\x00b", "#x", "\u202eevil", "x" * 200, "\U0001f4a9" * 40, "\ufdfa" * 64)
DEADLY: Final = (
    b"",
    b"\xff",
    b"\x81" * 300,  # lists in lists
    b"\x9b" + b"\xff" * 8,  # a list of 2**64 - 1 items
    b"\x9f" * 64,
    b"\x82\x68register\x63\xff\xff\xff",  # text that is no text
    b"\x82\x68register\x63\xed\xa0\x80",  # a lone surrogate
    b"\x82\x68register\xfb\x7f\xf8" + b"\x00" * 6,  # not a number
    b"\xa1\x61a\x61b",
    b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that holds itself
    b"\xc2\x58\x20" + b"\xff" * 32,  # a big number
    encode([]),
    encode(["post"]),
    encode(["execute", "rm -rf /"]),
    encode([2**64 - 1, -(2**63)]),
    encode(["register", 2**64 - 1]),
    encode(["register", None]),
    encode(["read", 1]),
    encode([["register"], "x"]),
    encode(["x" * 8000]),
    b"\x00" * 16_384,
    _post("x", reply_to=2**63 - 1),
    _post("x", reply_to=-1),
    _post("x", nonce=b"n" * 17),
    _post("x", nonce=2**64 - 1),
    _post("\x00"),
    _post("\x1b[2J"),
    _post("x" * 8000),
    _post(""),
    _post("x", room="\u202emain"),
    *(encode_operation(Register(name)) for name in BAD_NAMES),
    *(encode_operation(Create(name, "")) for name in BAD_NAMES),
    encode_operation(Create("plain", "\x00")),
    encode_operation(Create("plain", "x" * 4000)),
    encode_operation(Post(room="nowhere", body="x")),
    *(encode_operation(Read(query)) for query in (b"", b"\xff", b"\x81" * 300, b"\x9b" + b"\xff" * 8)),
    *(
        encode_operation(Read(encode(query)))  # type: ignore[arg-type]  # lists of what can be encoded
        for query in (
            ["history", "main", 2**63 - 1, 2**63 - 1, 2**63 - 1],
            ["history", "main", -1, None, -1],
            ["search", "(" * 1000, None, 50],
            ["search", '"' * 999, None, 50],
            ["search", "a*" * 900, None, 2**64 - 1],
            ["search", "\u0000", None, 0],
            ["nothing"],
        )
    ),
)
"""Nothing of it changes anything."""


def make_client(
    around: Surroundings, plan: Client, *, number: int, signer: Signer, random: Random
) -> SimulatedClient:
    """`number`: among the clients. `random`: dice of its own."""
    same: dict[str, Any] = {"address": REPLICA_ADDRESSES + number, "name": plan.name, "signer": signer}
    options: dict[str, Any] = plan.options
    match plan.behaves:
        case "equivocate":
            return EquivocatingClient(around, **same)
        case "flood":
            return FloodingClient(around, **same, **options)
        case "replay":
            return ReplayingClient(around, **same, **options, random=random)
        case "query_of_death":
            return QueryOfDeath(around, **same, **options, random=random)
        case _:
            return SimulatedClient(around, **same)
