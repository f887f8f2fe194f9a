"""Against decoders and verifiers: bytes that are no message, messages in other bytes, and signatures made for another
place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from adversary.behaviours.base import Behaviour, Means, Puppet, Twist, parted
from adversary.behaviours.fuzzer import Fuzzer
from crypto.canonical import decode, encode, expect_list
from crypto.merkle import leaf_digest
from crypto.signing import Domain, Signature
from pbft.core import bodies
from pbft.core.effects import Effects, FromPeer, Input, Received, Send
from pbft.core.frames import encode_signed, make_batch, wire_of
from pbft.core.messages import Checkpoint, Commit, PeerMessage, Prepare, Proposal, Signed, SignedRequest
from pbft.core.types import Epoch, ReplicaId

FUZZ_RATE: Final = 300
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024


class Fuzz(Behaviour):
    """Does its work, and between it says whatever comes to its mind. `rate`: in thousandths of its steps."""

    def __init__(self, means: Means, *, rate: int = FUZZ_RATE) -> None:
        self._fuzzer = Fuzzer(means.craft, means.me, means.random)
        self._random = means.random
        self._rate = rate

    def rewrite(self, puppet: Puppet, given: Input, effects: Effects) -> Effects:
        for frame in heard(self._fuzzer.group.epoch, given):
            self._fuzzer.overhear(frame)
        if self._random.random() * 1000 < self._rate:
            to = self._random.choice(self._fuzzer.group.others(puppet.me))
            puppet.say(to, self._fuzzer.frame(wall_ms=puppet.now().wall, top=puppet.replica.log.last_executed))
        return effects


def heard(epoch: Epoch, given: Input) -> Iterable[bytes]:
    """The frames of other replicas in an input."""
    if isinstance(given, Received):
        for item in given.messages:
            if isinstance(item, FromPeer):
                yield wire_of(epoch, item.message)


class Interject(Behaviour):
    """Says more in some of its steps. `rate`: in thousandths. `times`: so many frames. `to`: each to one of these; by
    default of all."""

    def __init__(self, means: Means, *, rate: int = 200, times: int = 1, to: Sequence[int] = ()) -> None:
        self._means = means
        self._random = means.random
        self._rate = rate
        self._times = times
        self._to = tuple(ReplicaId(peer) for peer in to if peer != means.me) or means.group.others(means.me)

    def rewrite(self, puppet: Puppet, given: Input, effects: Effects) -> Effects:
        self.overhear(given, effects)
        for _ in range(self._times if self._random.random() * 1000 < self._rate else 0):
            frame = self.frame(puppet)
            if frame is not None:
                puppet.say(self._random.choice(self._to), frame)
        return effects

    def overhear(self, given: Input, effects: Effects) -> None: ...

    def frame(self, puppet: Puppet) -> bytes | None:
        raise NotImplementedError


def bombs(size: int) -> tuple[bytes, ...]:
    """Frames that a careless decoder dies of; `size` is about how many bytes the largest have."""
    return (
        b"\x81" * size,  # lists in lists
        b"\x9b" + b"\xff" * 8,  # a list of 2**64 - 1 items
        b"\x5b\x7f" + b"\xff" * 7 + b"x",  # a byte string longer than memory
        b"\x9f" * size,  # lists that do not end
        b"\x9f" + b"\x00" * size + b"\xff",  # one that does
        b"\x5f" + b"\x41x" * (size // 2) + b"\xff",  # a byte string in pieces
        b"\xc0" * size,  # tags on tags
        b"\xd8\x1c\x82\x80" + b"\xd8\x1d\x00" * (size // 3),  # shared references
        b"\xc2\x59\xff\xff" + b"\xff" * 0xFFFF,  # a big number
        b"\xd8\x23\x78\x20" + b"(a+)+" * 6 + b"$!",  # a regular expression
        b"\xbf" + b"\x00\x00" * (size // 2) + b"\xff",  # a map with one key many times
        b"\x85\x66COMMIT\xf9\x7e\x00\x00\x40\x40",  # an epoch that is no number
        b"\x81\x63\xff\xff\xff",  # text that is no text
        b"\x85\x67PREPARE\x20\x3b" + b"\xff" * 8 + b"\x40\x40",  # negative epoch and signer
        b"\xfb\x7f\xf0" + b"\x00" * 6,  # infinity
        b"",
    )


class CborBombs(Interject):
    """Says what a careless decoder dies of, over its authenticated link: deep, huge, tagged, endless, cut short.

    `size`: bytes of the larger ones.
    """

    def __init__(
        self, means: Means, *, rate: int = 200, times: int = 1, to: Sequence[int] = (), size: int = 4096
    ) -> None:
        super().__init__(means, rate=rate, times=times, to=to)
        self._frames = bombs(size)
        self._last = b""

    def overhear(self, given: Input, _effects: Effects) -> None:
        self._last = next(iter(heard(self._means.group.epoch, given)), self._last)

    def frame(self, _puppet: Puppet) -> bytes:
        cut = self._last[: len(self._last) // 2]
        return self._random.choice((*self._frames, cut, self._last + b"\x00"))


Reencoding = Callable[[bytes], bytes]
REENCODINGS: Final[tuple[Reencoding, ...]] = (
    lambda wire: b"\x98" + bytes([wire[0] & 0x1F]) + wire[1:],  # the length in two bytes
    lambda wire: b"\x9f" + wire[1:] + b"\xff",  # no length, but an end
    lambda wire: b"\xd9\xd9\xf7" + wire,  # "this is CBOR", as a tag says
    lambda wire: wire + b"\x00",
    lambda wire: wire[:1] + b"\x78" + bytes([wire[1] & 0x1F]) + wire[2:] if wire[1] >> 5 == 3 else wire + b"\xf6",
)
"""From the frame of a list to other bytes for the same value. Frames have at most 23 fields."""


class DualEncoding(Twist):
    """Sends its messages in other bytes for the same value. As primary it does so with the requests in its batches:
    their signatures hold, and their digests are others. `also`: the true bytes follow. `to`: to whom."""

    def __init__(self, means: Means, *, also: int = 1, to: Sequence[int] = ()) -> None:
        super().__init__(means)
        self._also = also
        self._to = frozenset(to or means.group.replicas)

    def twist(self, puppet: Puppet, item: Send) -> Iterable[Send]:
        deceived, others = parted(item, self._to)
        message = item.message
        if isinstance(message, Proposal) and message.pre_prepare.signer == self._me and message.batch.requests:
            wire = self._with_other_requests(message)
        else:
            wire = self._random.choice(REENCODINGS)(wire_of(puppet.replica.group.epoch, message))
        for peer in deceived:
            puppet.say(peer, wire)
        to = item.to if self._also else others
        return (Send(to=to, message=message),) if to else ()

    def _with_other_requests(self, proposal: Proposal) -> bytes:
        vote, form = proposal.pre_prepare.message, self._random.choice(REENCODINGS)
        requests = tuple(_in_form(request, form) for request in proposal.batch.requests)
        batch = make_batch(proposal.batch.timestamp, requests)
        return self._craft.proposal(self._me, vote.sequence, batch, view=vote.view).wire


def _in_form(request: SignedRequest, form: Reencoding) -> SignedRequest:
    wire = form(request.wire)
    return SignedRequest(message=request.message, device=request.device, wire=wire, digest=leaf_digest(wire))


HEARD_MAX: Final = 256


class Replay(Interject):
    """Says old frames of others and of itself again, as they are, and with their signatures moved to where they do
    not belong: under another type, in another epoch, made for another group. With a `rate` of 1000 and many `times`
    it is a flood."""

    def __init__(self, means: Means, *, rate: int = 300, times: int = 1, to: Sequence[int] = ()) -> None:
        super().__init__(means, rate=rate, times=times, to=to)
        self._heard: list[bytes] = []
        self._count = 0

    def overhear(self, given: Input, effects: Effects) -> None:
        epoch = self._means.group.epoch
        said = (wire_of(epoch, item.message) for item in effects.send)
        for frame in (*heard(epoch, given), *said):
            self._count += 1
            if len(self._heard) < HEARD_MAX:
                self._heard.append(frame)
            elif self._random.random() * self._count < HEARD_MAX:
                self._heard[self._random.randrange(HEARD_MAX)] = frame

    def frame(self, _puppet: Puppet) -> bytes | None:
        if not self._heard:
            return None
        frame = self._random.choice(self._heard)
        fields = expect_list(decode(frame, bytes_max=FRAME_BYTES_MAX)) if frame else []
        if len(fields) != 5 or self._random.random() < 0.5:
            return frame
        kind, epoch, signer, body, signature = fields
        match self._random.randrange(3):
            case 0:
                others = [each for each in _SIGNED if each != kind]
                return encode([self._random.choice(others), epoch, signer, body, signature])
            case 1:
                return encode([kind, self._means.group.epoch + 1, signer, body, signature])
            case _:
                return self._of_another_group(str(kind), bytes(body) if isinstance(body, bytes) else b"")

    def _of_another_group(self, kind: str, body: bytes) -> bytes:
        """What it would say in a group of the same members that another nonce begins."""
        group, me = self._means.group, self._means.me
        domain = Domain(group_id=bytes(reversed(group.group_id)), epoch=group.epoch, message_type=kind)
        signature = self._means.craft.members.signers[me].sign(domain, body)
        return encode_signed(kind, group.epoch, me, body, signature)


_SIGNED: Final = (bodies.PREPARE, bodies.COMMIT, bodies.PRE_PREPARE, bodies.CHECKPOINT, bodies.VIEW_CHANGE)

L: Final = 2**252 + 27742317777372353535851937790883648493
"""The order of Ed25519's base point (RFC 8032, section 5.1)."""
P: Final = 2**255 - 19

SMALL_ORDER: Final = tuple(
    bytes.fromhex(point)
    for point in (
        "0100000000000000000000000000000000000000000000000000000000000000",  # order 1: the neutral element
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # order 2
        "0000000000000000000000000000000000000000000000000000000000000000",  # order 4
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",  # order 8
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",  # order 8
    )
)
NOT_CANONICAL: Final = tuple((P + y).to_bytes(32, "little") for y in (0, 1))
"""Points whose y is not below p."""


def on_the_edge(true: bytes) -> tuple[bytes, ...]:
    """Signatures on the edge of validity, about which verifiers differ; made of a valid one."""
    point, scalar = true[:32], int.from_bytes(true[32:], "little")
    return (
        point + (scalar + L).to_bytes(33, "little")[:32],  # S not below L
        *(small + true[32:] for small in (*SMALL_ORDER, *NOT_CANONICAL)),
        *(small + bytes(32) for small in SMALL_ORDER),  # holds for keys of small order with careless verifiers
        point + bytes(32),
        b"\xff" * 64,
    )


class SigEdge(Twist):
    """Sends its votes with signatures on the edge of validity, and requests of devices whose keys are of small order.

    `rate`: how many of its votes, in thousandths. `to`: to whom; by default to all.
    """

    def __init__(self, means: Means, *, rate: int = 500, to: Sequence[int] = ()) -> None:
        super().__init__(means)
        self._rate = rate
        self._to = frozenset(to or means.group.replicas)

    def twist(self, puppet: Puppet, item: Send) -> Iterable[Send]:
        message = item.message
        if not (_is_vote(message) and self._random.random() * 1000 < self._rate):
            return (item,)
        kind, epoch, signer, body, signature = expect_list(decode(message.wire, bytes_max=FRAME_BYTES_MAX))  # type: ignore[union-attr]
        frame = encode([kind, epoch, signer, body, self._random.choice(on_the_edge(bytes(signature)))])  # type: ignore[arg-type]
        deceived, others = parted(item, self._to)
        for peer in deceived:
            puppet.say(peer, self._of_no_device() if self._random.random() < 0.2 else frame)
        return (Send(to=others, message=message),) if others else ()

    def _of_no_device(self) -> bytes:
        """A request that a careless verifier takes for signed by whoever has no key."""
        random, group = self._random, self._craft.group
        device = random.choice((*SMALL_ORDER, *NOT_CANONICAL))
        body = bodies.encode_request(self._craft.request("x", random.randrange(8)).message)
        signature = Signature(random.choice(SMALL_ORDER) + bytes(32))
        return encode_signed(bodies.REQUEST, group.epoch, device, body, signature)


def _is_vote(message: PeerMessage) -> bool:
    return isinstance(message, Signed) and isinstance(message.message, Prepare | Commit | Checkpoint)
