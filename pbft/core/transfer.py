"""State transfer: fetch the state of a certified checkpoint from several peers and install it in place.

`Walk` says what to ask and verifies what comes, `Sources` whom to ask. Pages are installed as they come, durably: a
transfer cut off by a crash, or led on to a newer checkpoint, fetches only what still differs. Protocol, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.digest import Digest
from pbft.core.effects import IgnoreReason, InstallState, StateInstalled, Timer
from pbft.core.errors import InvariantViolation, invariant
from pbft.core.group import Group
from pbft.core.messages import Checkpoint, CheckpointCertificate
from pbft.core.output import Output
from pbft.core.state_bodies import STATE
from pbft.core.state_digest import EMPTY_TABLE, state_root
from pbft.core.state_messages import FetchState, NotHeld, StateAnswer, Wanted
from pbft.core.state_sources import Sources
from pbft.core.state_walk import FalseState, Held, LocalState, Taken, Walk
from pbft.core.types import Milliseconds, ReplicaId, SequenceNumber

ANSWER_TIMEOUT_MS = 2000
PARTS_PATIENCE_MS = 8000
"""How long a page in many parts may take at first, and twice as long each time that this was too short: a peer may
make up rows without end, and only the end of a page shows it."""
PARTS_PATIENCE_MAX_MS = 600_000
FRUITLESS_WALKS_MAX = 3

BEGINNING = SequenceNumber(0)


@dataclass(slots=True)
class _Question:
    peer: ReplicaId
    wanted: Wanted
    since: Milliseconds
    deadline: Milliseconds
    held: Held = field(default_factory=Held)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferProgress:
    """For operators. `pages_wanted`: as far as is known yet."""

    sequence: SequenceNumber
    pages_fetched: int
    pages_removed: int
    bytes_fetched: int
    pages_wanted: int
    open_questions: int
    blamed: tuple[ReplicaId, ...]


class Transfer:
    """One transfer, to `certificate`, or to the beginning if no checkpoint is certified yet.

    Its owner hands it answers, expiry of Timer.TRANSFER, and StateInstalled; each may give effects.
    """

    def __init__(
        self, group: Group, me: ReplicaId, local: LocalState, certificate: CheckpointCertificate | None
    ) -> None:
        self._group = group
        self._local = local
        self.certificate = certificate
        self.is_finished = False
        """The state is that of `certificate`, durable and whole."""
        self._next: CheckpointCertificate | None = None
        self._sources = Sources(group.others(me))
        self._walk = self._new_walk()
        self._open: dict[int, _Question] = {}
        self._number = 0
        self._is_installing = False
        self._pages_fetched = self._pages_removed = self._bytes_fetched = 0
        self._pages_before = 0
        """Pages fetched or removed before this walk."""
        self._fruitless = 0
        self._parts_patience_ms = PARTS_PATIENCE_MS

    @property
    def sequence(self) -> SequenceNumber:
        return self.certificate.checkpoint.sequence if self.certificate is not None else BEGINNING

    @property
    def newest_held(self) -> SequenceNumber:
        """The highest checkpoint that a peer said to hold: a reason to look for its certificate, no more."""
        return self._sources.newest_held

    @property
    def progress(self) -> TransferProgress:
        return TransferProgress(
            sequence=self.sequence,
            pages_fetched=self._pages_fetched,
            pages_removed=self._pages_removed,
            bytes_fetched=self._bytes_fetched,
            pages_wanted=self._walk.pages_wanted if self._walk is not None else 0,
            open_questions=len(self._open),
            blamed=self._sources.blamed,
        )

    # -- inputs

    def start(self, out: Output, now: Milliseconds) -> None:
        # Answers to questions of a transfer before this one must not be taken for answers to its own.
        self._number = now << 16
        self._go_on(out, now)

    def retarget(self, out: Output, now: Milliseconds, certificate: CheckpointCertificate) -> None:
        """Lead the transfer on to a newer checkpoint; an older one changes nothing."""
        if certificate.checkpoint.sequence <= self.sequence or self.is_finished:
            return
        if self._is_installing:
            if self._next is None or certificate.checkpoint.sequence > self._next.checkpoint.sequence:
                self._next = certificate
            return
        self._walk_again(now, certificate)
        self._go_on(out, now)

    def on_state(self, out: Output, now: Milliseconds, peer: ReplicaId, answer: StateAnswer) -> None:
        question = self._open.get(answer.number)
        if question is None or question.peer != peer:
            out.ignore(IgnoreReason.NOT_WANTED, peer, STATE)
            return
        del self._open[answer.number]
        if isinstance(answer.content, NotHeld):
            self._sources.without(peer, now, answer.content.held)
            self._give_back(question)
        else:
            self._take(out, now, question, answer)
        self._go_on(out, now)

    def on_timer(self, out: Output, now: Milliseconds) -> None:
        for number, question in list(self._open.items()):
            if question.deadline <= now:
                del self._open[number]
                self._sources.silent(question.peer, now)
                if now >= question.since + self._parts_patience_ms:
                    self._parts_patience_ms = min(2 * self._parts_patience_ms, PARTS_PATIENCE_MAX_MS)
                self._give_back(question)
        self._go_on(out, now)

    def on_link_up(self, out: Output, now: Milliseconds, peer: ReplicaId) -> None:
        """What was asked over a link that was down is lost: it is asked again now, not when time is up."""
        for number, question in list(self._open.items()):
            if question.peer == peer:
                del self._open[number]
                self._give_back(question)
        self._sources.link_up(peer)
        self._go_on(out, now)

    def on_installed(self, out: Output, now: Milliseconds, installed: StateInstalled) -> None:
        """Finished, if the root is the certified one. Else something changed here meanwhile, and the walk is done
        again. Raises InvariantViolation if that does not help."""
        invariant(self._is_installing, "a state was installed that nobody asked for")
        self._is_installing = False
        if installed.state_root == self._target_root():
            self.is_finished = True
            return
        out.alarm(
            f"the state fetched for {self.sequence} came to another root than the certified one, though each of its "
            "pages was verified: it is compared again"
        )
        done = self._pages_fetched + self._pages_removed
        self._fruitless = self._fruitless + 1 if done == self._pages_before else 0
        if self._fruitless >= FRUITLESS_WALKS_MAX or self.certificate is None:
            raise InvariantViolation(f"the state at {self.sequence} is equal page by page, but not its root")
        self._walk_again(now, self._next or self.certificate)
        self._go_on(out, now)

    # -- inside

    def _new_walk(self) -> Walk | None:
        if self.certificate is None:
            return None
        return Walk(self._group, self._local, self.certificate.checkpoint)

    def _walk_again(self, now: Milliseconds, certificate: CheckpointCertificate) -> None:
        self.certificate, self._next = certificate, None
        self._open.clear()
        self._sources.start_over(now)
        self._pages_before = self._pages_fetched + self._pages_removed
        self._walk = self._new_walk()

    def _give_back(self, question: _Question) -> None:
        if self._walk is not None:
            self._walk.give_back(question.wanted)

    def _take(self, out: Output, now: Milliseconds, question: _Question, answer: StateAnswer) -> None:
        walk, peer = self._walk, question.peer
        if walk is None:
            raise InvariantViolation("a question was asked, though there is nothing to fetch")
        try:
            if answer.sequence != walk.checkpoint.sequence:
                raise FalseState(f"the state at {answer.sequence}")
            taken = walk.take(question.wanted, question.held, answer.content)
        except FalseState as error:
            if self._sources.blame(peer, now):
                out.alarm(
                    f"state transfer to {self.sequence}: replica {peer} served {error}; others are asked instead"
                )
            walk.give_back(question.wanted)
            return
        self._sources.answered(peer)
        self._count(taken)
        out.install.extend(taken.installs)
        if taken.rest is not None and taken.held is not None:
            deadline = min(now + ANSWER_TIMEOUT_MS, question.since + self._parts_patience_ms)
            self._ask(out, now, _Question(peer, taken.rest, question.since, Milliseconds(deadline), taken.held))

    def _count(self, taken: Taken) -> None:
        self._bytes_fetched += taken.size
        self._pages_fetched += taken.pages
        self._pages_removed += sum(len(install.pages) for install in taken.installs) - taken.pages

    def _go_on(self, out: Output, now: Milliseconds) -> None:
        """Ask what can be asked, install what is complete, and see that time is kept."""
        if self.is_finished or self._is_installing:
            return
        walk = self._walk
        while walk is not None and not walk.has_nothing_to_ask:
            peer = self._sources.choose(now)
            wanted = walk.next() if peer is not None else None
            if peer is None or wanted is None:
                break
            self._ask(out, now, _Question(peer, wanted, now, Milliseconds(now + ANSWER_TIMEOUT_MS)))
        if walk is None or (walk.has_nothing_to_ask and not self._open):
            self._install(out)
            return
        moments = [question.deadline for question in self._open.values()]
        rest = self._sources.rests_until(now)
        if rest is not None and not walk.has_nothing_to_ask:
            moments.append(rest)
        if moments:
            out.set_timer(Timer.TRANSFER, min(moments))

    def _ask(self, out: Output, now: Milliseconds, question: _Question) -> None:
        checkpoint = self._target()
        self._number += 1
        self._open[self._number] = question
        self._sources.asked(question.peer, now)
        fetch = FetchState(
            number=self._number,
            sequence=checkpoint.sequence,
            state_root=checkpoint.state_root,
            wanted=question.wanted,
        )
        out.send_to((question.peer,), fetch)

    def _install(self, out: Output) -> None:
        self._is_installing = True
        if self._walk is None:
            head, time = self._group.group_id, Milliseconds(0)
        elif self._walk.meta is not None:
            head, time = self._walk.meta.history_head, self._walk.meta.agreed_time
        else:
            raise InvariantViolation("a state is complete without its meta data")
        out.install.append(
            InstallState(sequence=self.sequence, history_head=head, agreed_time=time, state_root=self._target_root())
        )

    def _target(self) -> Checkpoint:
        if self.certificate is None:
            raise InvariantViolation("there is nothing to fetch before the first checkpoint")
        return self.certificate.checkpoint

    def _target_root(self) -> Digest:
        if self.certificate is not None:
            return self.certificate.checkpoint.state_root
        return state_root(
            history_head=self._group.group_id,
            agreed_time=Milliseconds(0),
            table_roots=dict.fromkeys(self._local.table_roots(), EMPTY_TABLE),
            group_id=self._group.group_id,
            epoch=self._group.epoch,
            sequence=BEGINNING,
        )
