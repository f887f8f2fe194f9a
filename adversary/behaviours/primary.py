"""Primaries that are worse than dead: what they propose, to whom, and whose requests they hear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from adversary.behaviours.base import Behaviour, Means, Puppet, Twist, parted
from crypto.canonical import decode, encode, expect_list
from crypto.digest import Digest
from crypto.merkle import leaf_digest
from crypto.signing import PublicKey
from pbft.core.effects import FromClient, FromPeer, Input, Received, Send
from pbft.core.frames import make_batch, wire_of
from pbft.core.messages import Batch, Proposal, SignedRequest
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber, View

HEARD_OUT: Final = 3
"""Requests of a client that a censor still lets pass."""
HELD_MAX = 64
"""Requests that wait to be put in another order."""
FRAME_BYTES_MAX = 16 * 1024 * 1024

HALVES = ("random", "even")
VICTIM_MODES = ("digest", "skip")
CENSORED = ("chance", "all_but_first")


def _one_of(option: str, given: object, known: Sequence[str]) -> None:
    """Raises TypeError, as for an option that there is not."""
    if given not in known:
        raise TypeError(f"{option} is one of {', '.join(known)}, not {given!r}")


def _later(batch: Batch, ms: int = 1) -> Batch:
    """The same requests under another timestamp, and so under another digest."""
    return make_batch(Milliseconds(batch.timestamp + ms), batch.requests)


class _OfProposals(Twist):
    """Twists the proposals that it makes as primary, when they go to several backups."""

    least = 2
    """Receivers. What goes to one alone is sent again, to who missed it."""

    def twist(self, puppet: Puppet, item: Send) -> Iterable[Send]:
        message = item.message
        if isinstance(message, Proposal) and message.pre_prepare.signer == self._me and len(item.to) >= self.least:
            return self.instead(puppet, message, item)
        return (item,)

    def instead(self, puppet: Puppet, proposal: Proposal, item: Send) -> Iterable[Send]:
        raise NotImplementedError


class SplitPrimary(_OfProposals):
    """As primary, proposes another batch to a part of the backups, and commits to both.

    `halves`: a part drawn for each proposal, or those with even numbers.
    """

    def __init__(self, means: Means, *, halves: str = "random") -> None:
        _one_of("halves", halves, HALVES)
        super().__init__(means)
        self._halves = halves

    def instead(self, _puppet: Puppet, proposal: Proposal, item: Send) -> Iterable[Send]:
        to, vote = item.to, proposal.pre_prepare.message
        second = self._craft.proposal(self._me, vote.sequence, _later(proposal.batch), view=vote.view)
        commit = self._craft.commit(self._me, vote.sequence, second.batch.digest, view=vote.view)
        deceived = self._deceived(to)
        others = tuple(replica for replica in to if replica not in deceived)
        return (
            Send(to=others, message=proposal),
            Send(to=deceived, message=second),
            Send(to=deceived, message=commit),
        )

    def _deceived(self, to: tuple[ReplicaId, ...]) -> tuple[ReplicaId, ...]:
        if self._halves == "even":
            return tuple(replica for replica in to if replica % 2 == 0)
        return tuple(sorted(self._random.sample(to, self._random.randint(1, len(to) - 1))))


class TwoGenerals(_OfProposals):
    """Splits the backups whose keys it lacks, and votes for both batches with all the keys it holds.

    Alone it is a split primary. Those it colludes with should be accomplices, or say nothing.
    """

    def instead(self, _puppet: Puppet, proposal: Proposal, item: Send) -> Iterable[Send]:
        vote, craft = proposal.pre_prepare.message, self._craft
        honest = self._means.honest(item.to)
        cut = (len(honest) + 1) // 2
        second = craft.proposal(self._me, vote.sequence, _later(proposal.batch), view=vote.view)
        friends = tuple(peer for peer in item.to if peer not in honest)
        yield Send(to=friends, message=proposal)
        for part, said in ((honest[:cut], proposal), (honest[cut:], second)):
            yield Send(to=part, message=said)
            for colluder in self._means.colluders:
                digest = said.batch.digest
                if colluder != self._me:
                    yield Send(to=part, message=craft.prepare(colluder, vote.sequence, digest, view=vote.view))
                yield Send(to=part, message=craft.commit(colluder, vote.sequence, digest, view=vote.view))


class VictimPrimary(_OfProposals):
    """Tells one backup alone something else: another batch, or the same one slot further.

    `victim`: by default the last that it sends to. `both`: the victim hears the truth, too.
    """

    def __init__(self, means: Means, *, victim: int | None = None, mode: str = "digest", both: int = 0) -> None:
        _one_of("mode", mode, VICTIM_MODES)
        super().__init__(means)
        self._victim, self._mode, self._both = victim, mode, both

    def instead(self, _puppet: Puppet, proposal: Proposal, item: Send) -> Iterable[Send]:
        vote = proposal.pre_prepare.message
        deceived, others = parted(item, {item.to[-1] if self._victim is None else self._victim})
        skips = self._mode == "skip"
        batch = proposal.batch if skips else _later(proposal.batch)
        lie = self._craft.proposal(self._me, vote.sequence + skips, batch, view=vote.view)
        yield Send(to=item.to if self._both else others, message=proposal)
        yield Send(to=deceived, message=lie)


class SeqJump(_OfProposals):
    """Proposes at the end of the window, and leaves what lies before it empty."""

    def __init__(self, means: Means) -> None:
        super().__init__(means)
        self._last: tuple[View, SequenceNumber] | None = None

    def instead(self, puppet: Puppet, proposal: Proposal, item: Send) -> Iterable[Send]:
        """Nothing more, until the window moves."""
        view, high = proposal.pre_prepare.message.view, puppet.replica.log.high_watermark
        if self._last == (view, high):
            return ()
        self._last = (view, high)
        return (Send(to=item.to, message=self._craft.proposal(self._me, high, proposal.batch, view=view)),)


class PartialCast(Twist):
    """Talks to a quorum - 1 of its peers only. `only`: to whom; by default those with the lowest numbers."""

    def __init__(self, means: Means, *, only: Sequence[int] = ()) -> None:
        super().__init__(means)
        group = means.group
        self._only = frozenset(only or group.others(means.me)[: group.quorum - 1])

    def twist(self, _puppet: Puppet, item: Send) -> Iterable[Send]:
        to, _ = parted(item, self._only)
        return (replace(item, to=to),) if to else ()


class BadSignature(_OfProposals):
    """Proposes batches with a request whose signature is wrong. `to`: to whom; by default to all."""

    least = 1

    def __init__(self, means: Means, *, to: Sequence[int] = ()) -> None:
        super().__init__(means)
        self._to = frozenset(to or means.group.replicas)

    def instead(self, _puppet: Puppet, proposal: Proposal, item: Send) -> Iterable[Send]:
        deceived, others = parted(item, self._to)
        vote, (first, *rest) = proposal.pre_prepare.message, proposal.batch.requests or (None,)
        if first is None:
            return (item,)
        batch = make_batch(proposal.batch.timestamp, (_misigned(first), *rest))
        lie = self._craft.proposal(self._me, vote.sequence, batch, view=vote.view)
        return (Send(to=others, message=proposal), Send(to=deceived, message=lie))


def _misigned(request: SignedRequest) -> SignedRequest:
    """The request with one bit of its signature flipped."""
    *fields, signature = expect_list(decode(request.wire, bytes_max=FRAME_BYTES_MAX), 5)
    wire = encode([*fields, bytes([*bytes(signature)[:-1], bytes(signature)[-1] ^ 1])])  # type: ignore[arg-type]
    return replace(request, wire=wire, digest=leaf_digest(wire))


class SlowPrimary(Twist):
    """Proposes late, but before anybody's timeout ends. `hold`: how late, in thousandths of the first timeout."""

    def __init__(self, means: Means, *, hold: int | None = None) -> None:
        super().__init__(means)
        share = means.random.choice((3, 6, 8)) * 100 if hold is None else hold
        self._hold_ms = means.group.parameters.view_change_timeout_ms * share // 1000

    def twist(self, puppet: Puppet, item: Send) -> Iterator[Send]:
        if isinstance(item.message, Proposal):
            frame = wire_of(puppet.replica.group.epoch, item.message)
            puppet.say_later(self._hold_ms, item.to, frame)
        else:
            yield item


class Censor(Behaviour):
    """Stops to hear some clients, whoever speaks for them, once they have an account.

    `victim`: a client's number in the order in which it heard of them, from 0; or each by `chance`, or
    `all_but_first`.
    `after`: requests of a victim that it lets pass still.
    """

    def __init__(self, means: Means, *, victim: int | str = "chance", after: int = HEARD_OUT) -> None:
        if not isinstance(victim, int):
            _one_of("victim", victim, CENSORED)
        self._random = means.random
        self._victim = victim
        self._after = after
        self._victims: dict[PublicKey, bool] = {}
        self._heard: dict[PublicKey, set[Digest]] = {}

    def hear(self, _puppet: Puppet, given: Input) -> Input:
        if not isinstance(given, Received):
            return given
        kept: tuple[FromPeer | FromClient, ...] = tuple(
            item
            for item in given.messages
            if not (isinstance(item.message, SignedRequest) and self._is_ignored(item.message))
        )
        return replace(given, messages=kept)

    def _is_ignored(self, request: SignedRequest) -> bool:
        device = request.device
        heard = self._heard.setdefault(device, set())
        if request.digest in heard or len(heard) < self._after:
            heard.add(request.digest)
            return False
        if self._victim == "chance":
            return self._victims.setdefault(device, self._random.random() < 0.5)
        number = list(self._heard).index(device)
        return number > 0 if self._victim == "all_but_first" else number == self._victim


class ReorderPrimary(Behaviour):
    """Holds requests back for a moment, and orders those that came last first.

    `hold_ms`: how long, or until something comes after that. `depth`: how many at most.
    """

    def __init__(self, means: Means, *, hold_ms: int = 40, depth: int = 8) -> None:
        self._me = means.me
        self._hold_ms = hold_ms
        self._depth = min(depth, HELD_MAX)
        self._held: list[FromPeer | FromClient] = []
        self._since = 0

    def hear(self, puppet: Puppet, given: Input) -> Input:
        if not isinstance(given, Received):
            return given
        log = puppet.replica.log
        passed: list[FromPeer | FromClient] = []
        for item in given.messages:
            if isinstance(item.message, SignedRequest) and log.in_view and puppet.replica.ordering.is_primary:
                self._since = self._since if self._held else given.now.steady
                self._held.append(item)
            else:
                passed.append(item)
        if len(self._held) >= self._depth or given.now.steady - self._since >= self._hold_ms:
            passed.extend(reversed(self._held))
            self._held = []
        return replace(given, messages=tuple(passed))
