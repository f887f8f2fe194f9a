"""What a group defends itself with against the named attacks, and how each of these is switched off.

Planted bugs of the simulator (`adversary.simulator.mutants`) serve where there are any. The others stand here: one
change of honest code each, of the kind that a careless author would have left there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, NamedTuple

import cbor2
from msgspec.structs import replace

from adversary.attacks import Attack, Talk, attack_named
from adversary.behaviours.wire import NOT_CANONICAL, SMALL_ORDER
from adversary.simulator import operators, storage
from adversary.simulator.mutants import MUTANTS, Mutant, Patch
from adversary.simulator.scenario import Crash, Restarts
from adversary.simulator.waiting import WAITING_MAX, Source, Turns
from chatsvc.application import chat
from chatsvc.application.operations import Operation, decode_operation
from crypto import canonical
from crypto.canonical import DEPTH_MAX
from crypto.errors import MalformedEncoding
from crypto.signing import Domain, Verifier
from pbft.core import bodies, codec, exchange, frame_parsers, state_walk
from pbft.core.claims import Claim, Unverified, check_claims
from pbft.core.dedupe import SessionWindow, Standing, Verdict
from pbft.core.effects import IgnoreReason
from pbft.core.frame_parsers import FrameParsers
from pbft.core.group import Group
from pbft.core.log import Log
from pbft.core.messages import PreparedCertificate, Proposal, SignedRequest
from pbft.core.ordering import Ordering
from pbft.core.primary_watch import PrimaryWatch
from pbft.core.repair import Repair
from pbft.core.request_pool import RequestPool, names_of
from pbft.core.types import ClientSequence, Milliseconds, Now, SequenceNumber, View
from pbft.core.view_votes import ViewVotes
from pbft.core.witness import Witness
from pbft.state.scrub import Scrubber


def _nothing(*_: Any, **__: Any) -> None:
    """In the place of a function that finds fault."""


# -- votes and places --------------------------------------------------------------------------------------------


def _quorum_of_all() -> tuple[Patch, ...]:
    return ((Group, "quorum", property(lambda group: group.size)),)


def _second_votes_not_heard() -> tuple[Patch, ...]:
    return ((Witness, "hear", _nothing),)


def _second_checkpoints_not_heard() -> tuple[Patch, ...]:
    return ((Witness, "hear_checkpoint", _nothing),)


def _window_without_end() -> tuple[Patch, ...]:
    def why(self: Log, sequence: SequenceNumber) -> IgnoreReason | None:
        return IgnoreReason.BELOW_LOW_WATERMARK if sequence <= self.low_watermark else None

    return ((Log, "why_outside", why),)


def _any_time_accepted() -> tuple[Patch, ...]:
    original = Ordering.why_ignore_proposal

    def why(self: Ordering, now: Now, proposal: Proposal) -> IgnoreReason | None:
        reason = original(self, now, proposal)
        return None if reason is IgnoreReason.TIMESTAMP_OUT_OF_RANGE else reason

    return ((Ordering, "why_ignore_proposal", why),)


def _nothing_sent_again() -> tuple[Patch, ...]:
    return ((Repair, "_send_certificates", _nothing),)


# -- views -------------------------------------------------------------------------------------------------------


def _papers_not_checked() -> tuple[Patch, ...]:
    original = FrameParsers.prepared_certificate

    def unchecked(self: FrameParsers, wire: bytes, fields: list[Any]) -> Unverified[PreparedCertificate]:
        return Unverified(original(self, wire, fields).value, ())

    return ((FrameParsers, "prepared_certificate", unchecked),)


def _one_voice_moves_all() -> tuple[Patch, ...]:
    original = ViewVotes.wanted_by

    def wanted_by(self: ViewVotes, count: int) -> View:
        return original(self, 1 if count == self._group.honest_minimum else count)

    return ((ViewVotes, "wanted_by", wanted_by),)


def _calls_in_new_views_not_heard() -> tuple[Patch, ...]:
    return ((Witness, "hear_new_view", _nothing),)


def _slowness_not_judged() -> tuple[Patch, ...]:
    original = PrimaryWatch.why_dismiss

    def why(self: PrimaryWatch, now: Milliseconds) -> str | None:
        reason = original(self, now)
        return None if reason is not None and reason.startswith("ordered") else reason

    return ((PrimaryWatch, "why_dismiss", why),)


def _unfairness_not_judged() -> tuple[Patch, ...]:
    return ((PrimaryWatch, "_why_unfair", _nothing),)


# -- names of operations -----------------------------------------------------------------------------------------


def _only_the_newest_runs() -> tuple[Patch, ...]:
    original = SessionWindow.judge

    def judge(self: SessionWindow, client_sequence: ClientSequence) -> Verdict:
        verdict = original(self, client_sequence)
        return Standing.STALE if verdict is Standing.NEW and client_sequence < self._next_unused else verdict

    return ((SessionWindow, "judge", judge),)


def _names_mean_nothing() -> tuple[Patch, ...]:
    """Neither in the pool, where one name stands for one operation, nor in the state, where it runs once."""
    original = RequestPool.remove

    def remove(self: RequestPool, request: SignedRequest, now: Milliseconds) -> bool:
        held = self._requests.get(names_of(request)[0])
        return held is not None and held.digest == request.digest and original(self, request, now)

    return ((RequestPool, "remove", remove), (SessionWindow, "judge", lambda _window, _name: Standing.NEW))


def _errors_of_operations_not_caught() -> tuple[Patch, ...]:
    """An executor that stops at what is no operation, as it must where the machine is at fault."""

    def decode(operation: bytes) -> Operation:
        try:
            return decode_operation(operation)
        except MalformedEncoding as error:
            raise MemoryError from error

    return ((chat, "decode_operation", decode),)


# -- bytes and signatures ----------------------------------------------------------------------------------------


def _signatures_for_anything() -> tuple[Patch, ...]:
    """Signed is what is said, and not in which group, when and as what."""
    return ((Domain, "statement", lambda _domain, body: bytes(body)),)


def _two_verifiers() -> tuple[Patch, ...]:
    """A careless one for single signatures and the strict one for those of certificates, as if checked in bulk."""
    strict, edge = check_claims, {*SMALL_ORDER, *NOT_CANONICAL}

    def check(verifier: Verifier, claims: Iterable[Claim]) -> None:
        claims = tuple(claims)
        if len(claims) != 1 or not {claims[0].signature[:32], claims[0].public_key} & edge:
            strict(verifier, claims)

    return ((codec, "check_claims", check),)


def _accusations_believed() -> tuple[Patch, ...]:
    return ((exchange, "verify_evidence", _nothing),)


def _errors_of_the_decoder_not_caught() -> tuple[Patch, ...]:
    return ((canonical, "_DECODER_ERRORS", (MalformedEncoding, ValueError)),)


def _any_spelling() -> tuple[Patch, ...]:
    def decode(data: bytes, *, bytes_max: int, depth_max: int = DEPTH_MAX) -> Any:
        if len(data) > bytes_max:
            raise MalformedEncoding("too long")
        try:
            return cbor2.loads(data, max_depth=depth_max)
        except Exception as error:
            raise MalformedEncoding(str(error)) from error

    return tuple((module, "decode", decode) for module in (codec, frame_parsers, bodies))


def _no_turns() -> tuple[Patch, ...]:
    """One queue for all connections, as long as theirs together."""

    def put(self: Turns, source: Source, frame: bytes) -> None:
        queue: deque[Any] = self._queues.setdefault(b"all", deque())  # type: ignore[arg-type]
        if len(queue) < 8 * WAITING_MAX:
            queue.append((source, frame))

    def take(self: Turns) -> list[tuple[Source, bytes]]:
        queue: deque[Any] = self._queues.pop(b"all", deque())  # type: ignore[call-overload]
        taken = [queue.popleft() for _ in range(min(WAITING_MAX, len(queue)))]
        if queue:
            self._queues[b"all"] = queue  # type: ignore[index]
        return taken

    return ((Turns, "put", put), (Turns, "take", take))


# -- disks and operators -----------------------------------------------------------------------------------------


class _AnyDigest:
    def __ne__(self, _other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def _pages_not_checked() -> tuple[Patch, ...]:
    return ((state_walk, "page_digest", lambda _rows: _AnyDigest()),)


def _no_scrubbing() -> tuple[Patch, ...]:
    return ((Scrubber, "next_pages", lambda _scrubber, _most: []),)


def _failed_writes_ignored() -> tuple[Patch, ...]:
    original = storage.TroubledLedger.append

    def append(self: storage.TroubledLedger, records: Any) -> None:
        if self.trouble != "full":
            original(self, records)

    return ((storage.TroubledLedger, "append", append),)


def _restarts_not_guarded() -> tuple[Patch, ...]:
    return ((operators, "why_not_restart", _nothing),)


_own = partial(Mutant, breaks=())
OWN: Final[dict[str, Mutant]] = {
    "quorum_of_all": _own(says="nothing is decided without everybody", patches=_quorum_of_all),
    "second_votes_not_heard": _own(says="a second vote is only ignored", patches=_second_votes_not_heard),
    "second_checkpoints_not_heard": _own(
        says="a second CHECKPOINT is only ignored", patches=_second_checkpoints_not_heard
    ),
    "window_without_end": _own(says="votes are kept for any place", patches=_window_without_end),
    "any_time_accepted": _own(says="a proposal may be of any time", patches=_any_time_accepted),
    "nothing_sent_again": _own(says="who was left out is told nothing", patches=_nothing_sent_again),
    "papers_not_checked": _own(
        says="signatures inside certificates of a VIEW-CHANGE are not checked", patches=_papers_not_checked
    ),
    "one_voice_moves_all": _own(says="one VIEW-CHANGE is enough to join it", patches=_one_voice_moves_all),
    "calls_in_new_views_not_heard": _own(
        says="what a NEW-VIEW shows is held against nobody", patches=_calls_in_new_views_not_heard
    ),
    "slowness_not_judged": _own(says="a primary may be as slow as it likes", patches=_slowness_not_judged),
    "unfairness_not_judged": _own(says="a primary may pass anybody by", patches=_unfairness_not_judged),
    "only_the_newest_runs": _own(
        says="an operation runs only if it is newer than all before it", patches=_only_the_newest_runs
    ),
    "names_mean_nothing": _own(says="one name may stand for two operations", patches=_names_mean_nothing),
    "errors_of_operations_not_caught": _own(
        says="an operation that is none stops the executor", patches=_errors_of_operations_not_caught
    ),
    "signatures_for_anything": _own(says="signatures are of bodies alone", patches=_signatures_for_anything),
    "two_verifiers": _own(says="single signatures are checked by another verifier", patches=_two_verifiers),
    "accusations_believed": _own(says="proofs of others are believed", patches=_accusations_believed),
    "errors_of_the_decoder_not_caught": _own(
        says="a frame that the decoder fails on ends the node", patches=_errors_of_the_decoder_not_caught
    ),
    "any_spelling": _own(says="any bytes that decode are accepted", patches=_any_spelling),
    "no_turns": _own(says="frames are taken in as they come, whoever sends them", patches=_no_turns),
    "pages_not_checked": _own(says="fetched rows are believed", patches=_pages_not_checked),
    "no_scrubbing": _own(says="nobody reads what it holds again", patches=_no_scrubbing),
    "failed_writes_ignored": _own(
        says="what could not be stored is said all the same", patches=_failed_writes_ignored
    ),
    "restarts_not_guarded": _own(says="whoever is asked to restarts", patches=_restarts_not_guarded),
}


class Missing(NamedTuple):
    """A defence, and how a run of the attack must end that lacks it: what its verdict has to say."""

    defence: str
    because: str


DEFENCES: Final[dict[str, tuple[Missing, ...]]] = {
    "split_primary": (Missing("quorum_2f", "agreement broke"),),
    "victim_primary": (Missing("two_proposals_per_slot", "UnsafeVote: PREPARE"),),
    "twins_lead": (Missing("quorum_2f", "accepted kept broke"),),
    "peekaboo_twin": (Missing("commits_not_compared", "proves E5 against 0"),),
    "double_prepare": (Missing("second_votes_not_heard", "proves E2 against 3"),),
    "double_commit": (Missing("second_votes_not_heard", "proves E3 against 3"),),
    "ghost_vote": (Missing("window_without_end", "bounded memory broke"),),
    "two_generals": (Missing("quorum_2f", "agreement broke"), Missing("no_digest_check", "agreement broke")),
    "amnesia": (Missing("commits_not_compared", "proves E5 against 3"),),
    "vc_hide_prepared": (Missing("commits_not_compared", "proves E5 against 3"),),
    "vc_forge": (Missing("papers_not_checked", "E1 of replica 0 proves nothing"),),
    "vc_storm": (Missing("one_voice_moves_all", "floor broke"),),
    "vc_equivocate": (Missing("calls_in_new_views_not_heard", "proves E6 against 3"),),
    "nv_bad_O": (Missing("o_not_recomputed", "the NEW-VIEW of view 1 proposes another batch"),),
    "nv_withhold": (Missing("timers_never_doubled", "floor broke"),),
    "deaf_node": (Missing("quorum_of_all", "progress broke: halt"),),
    "slow_primary": (Missing("slowness_not_judged", "floor broke"),),
    "censor_vip": (Missing("unfairness_not_judged", "floor broke"),),
    "reorder_primary": (Missing("only_the_newest_runs", "was told that its operation is forgotten"),),
    "seq_jump": (Missing("gaps_allowed", "executed after 0"),),
    "partial_cast": (Missing("nothing_sent_again", "progress broke: laggards stuck"),),
    "client_equivocate": (Missing("names_mean_nothing", "exactly once broke"),),
    "replay": (Missing("signatures_for_anything", "honest evidence broke"), Missing("no_dedupe", "broke")),
    "sig_edge": (Missing("two_verifiers", "well-formed broke: a frame of"),),
    "query_of_death": (Missing("errors_of_operations_not_caught", "internal broke"),),
    "flood": (Missing("no_turns", "floor broke"),),
    "checkpoint_lie": (Missing("second_checkpoints_not_heard", "proves E4 against 3"),),
    "snapshot_poison": (Missing("pages_not_checked", "storage broke"),),
    "reply_lie": (Missing("client_accepts_one_reply", "replies broke"),),
    "false_accuser": (Missing("accusations_believed", "honest evidence broke"),),
    "cbor_bombs": (
        Missing("errors_of_the_decoder_not_caught", "internal broke"),
        Missing("any_spelling", "one spelling broke"),
    ),
    "dual_encoding": (Missing("any_spelling", "one spelling broke"),),
    "crash_loop": (Missing("restart_forgets_votes", "one vote broke"),),
    "torn_ledger": (Missing("voice_back_at_once", "one vote broke"),),
    "bit_rot": (Missing("no_scrubbing", "progress broke"),),
    "vm_rollback": (Missing("commits_not_compared", "proves E5 against 3"),),
    "disk_full": (Missing("failed_writes_ignored", "one vote broke: 0 sends a second"),),
    "clock_jump": (Missing("any_time_accepted", "proposal from the future refused"),),
    "cert_expiry": (Missing("timers_never_armed", "floor broke"),),
    "runaway_automation": (Missing("restarts_not_guarded", "floor broke"),),
    "site_loss": (Missing("timers_never_armed", "floor broke"),),
    "police_raid": (Missing("second_votes_not_heard", "2 culprits should be named, not 0"),),
    "cascade": (Missing("timers_never_doubled", "floor broke"),),
    "total_disk_loss": (Missing("voice_back_at_once", "one vote broke"),),
}
"""By the name of the attack: what it does not get past.

Of `clock_jump` this shows only that the defence is what refuses the proposal: no invariant says which time a message
may show, so a group that takes any time breaks none.
"""


def _without_marks(name: str, **changes: Any) -> Attack:
    """Marks would be missed without the defence whatever came of it: here something has to break."""
    known = attack_named(name)
    return replace(known, seeds=1, expect=replace(known.expect, marks=()), **changes)


_DISK_FULL: Final = attack_named("disk_full").happens
HARDER: Final[dict[str, Attack]] = {
    "snapshot_poison": _without_marks("snapshot_poison"),
    "bit_rot": _without_marks("bit_rot"),
    "disk_full": _without_marks(
        "disk_full",
        talk=Talk(people=4, messages=40),
        happens=(*_DISK_FULL, Crash(id=9, at_ms=1400, for_ms=50, replica=0)),
    ),
    "runaway_automation": _without_marks(
        "runaway_automation",
        happens=(Restarts(id=0, at_ms=1000, for_ms=4000, replicas=(0, 1, 2, 3), down_ms=1000),),
    ),
}
"""In the place of attacks that would only miss a mark: `disk_full` goes on with a crash, in which what was not stored
is forgotten, and each restart of `runaway_automation` takes longer.
"""


def to_be_borne(name: str) -> Attack:
    """The attack that the gate runs."""
    return HARDER[name] if name in HARDER else attack_named(name)


def without(defence: str) -> Mutant:
    return OWN[defence] if defence in OWN else MUTANTS[defence]
