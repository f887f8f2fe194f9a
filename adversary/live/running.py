"""One attack against real processes: founded, started, attacked, healed, read back and judged."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio
from msgspec.structs import replace as changed

from adversary.attacks.model import Attack, AttackError
from adversary.attacks.outcome import Outcome, Proof
from adversary.attacks.running import PARAMETERS as SIMULATED
from adversary.attacks.running import REJOINS
from adversary.live.casting import cast
from adversary.live.certificates import let_lapse, renew
from adversary.live.checking import check
from adversary.live.faults import NETWORK_FAULTS, Faults
from adversary.live.group import POLL_SECONDS, LiveError, LiveGroup, live_group
from adversary.live.judging import judge, merged, note_floor, proofs_of, proofs_of_clients, proofs_of_ledgers
from adversary.live.people import POST, Person, client_of
from adversary.live.rooms import what_is_wrong
from adversary.live.scripts import acts_of
from adversary.live.signals import until_told_to_end
from adversary.live.signs import UNDER_ATTACK, why_not_live
from adversary.live.stage import Stage
from adversary.simulator.scenario import Client, Network
from adversary.simulator.sights import alarm_says
from pbft.client.errors import ClientError
from pbft.client.inspection import Report
from pbft.core.effects import Evidence

PARAMETERS = SIMULATED | {"view_change_timeout_ms": 1_000}
"""As in the simulator, but for the patience that real machines need."""
RETAINED_USUALLY = 1024
NOTICE_SECONDS = 20.0
"""Within which a damaged replica says so: a page of its state is looked at in every twentieth of a second."""
SEEDS_MAX = 3
"""An attack that may miss is tried so often, at most."""
BOUND_SECONDS_MAX = 60.0
"""However long an attack's own bound is: nothing here may take for ever."""
ATTACK_SECONDS_MAX = 60.0
BEGIN_SECONDS = 30.0
ALL_SECONDS_MAX = BEGIN_SECONDS + ATTACK_SECONDS_MAX + BOUND_SECONDS_MAX
SCRIPTED_FROM = 100
"""The numbers of people with a script of their own; those who just talk have lower ones."""
Tell = Callable[[str], None]


def run_live(
    attack: Attack,
    *,
    seed: int = 0,
    replicas: int | None = None,
    directory: Path | None = None,
    tell: Tell = lambda _text: None,
) -> Outcome:
    """Carry out an attack on real processes, and judge what became of the group.

    The group's files go into `directory` and stay there; without one, they are removed in the end. `tell` is told
    what happens as it happens. What cannot be carried out gives an outcome that is not as expected, and says why.
    Raises AttackError, before any process is started, if the attack is none that real processes can be put through or
    that they could show, or the directory holds such a group already. Another seed is tried only where the attack did
    not come about, or left too little evidence: never after anything broke. Told to end by SIGTERM or SIGHUP, it ends
    all that it started and raises SystemExit.
    """
    options = "" if replicas is None or replicas == attack.replicas else f" --replicas {replicas}"
    attack = attack if replicas is None else changed(attack, replicas=replicas)
    check(attack, seed=seed, directory=directory)
    problem = why_not_live(attack)
    if problem is not None:
        raise AttackError(f"{attack.name}: {problem}")
    tries = 1 if directory is not None else min(attack.seeds, SEEDS_MAX)
    earlier: tuple[tuple[int, str], ...] = ()
    for number in range(seed, seed + tries):
        once = partial(attacked, attack, seed=number, directory=directory, tell=tell, options=options)
        outcome = replace(trio.run(until_told_to_end, once), earlier_tries=earlier)
        if not outcome.is_worth_another_try:
            break
        earlier += ((number, outcome.why_not),)
    return outcome


async def attacked(attack: Attack, *, seed: int, directory: Path | None, tell: Tell, options: str = "") -> Outcome:
    """The same for programs that run trio already. `options`: what else the command would be given."""
    async with AsyncExitStack() as stack:
        if directory is None:
            made = await trio.to_thread.run_sync(partial(tempfile.TemporaryDirectory, prefix="quorate-"))
            directory = Path(stack.enter_context(made))
        else:
            directory /= f"{attack.name}-live-{seed}"
            if directory.exists():
                raise AttackError(f"{directory}: exists already; choose another directory, or another seed")
        group = await stack.enter_async_context(
            live_group(
                directory,
                replicas=attack.replicas,
                parameters=PARAMETERS | attack.parameters,
                networked=_needs_network(attack),
                seed=seed,
            )
        )
        return await _Run(attack, group, seed, tell, options).run()


def _needs_network(attack: Attack) -> bool:
    return attack.network != Network() or any(isinstance(fault, NETWORK_FAULTS) for fault in attack.happens)


class _Run:
    def __init__(self, attack: Attack, group: LiveGroup, seed: int, tell: Tell, options: str) -> None:
        self._stage = Stage(attack=attack, group=group, seed=seed, tell=tell)
        self._group = group
        self._attack = attack
        self._evidence: list[tuple[str, tuple[Evidence, ...]]] = []
        self._why_dead = ""
        self._options = options

    async def run(self) -> Outcome:
        stage, group = self._stage, self._group
        is_live = False
        try:
            cast(stage)
            let_lapse(stage)
            with trio.fail_after(ALL_SECONDS_MAX):
                await group.start_all()
                is_live = await self._attack_and_heal()
        except* LiveError as failed:
            stage.problems.append(str(_first(failed)))
            self._why_dead = "the attack was not carried through"
        except* ClientError as failed:
            self._why_dead = str(_first(failed))
        except* trio.TooSlowError:
            self._why_dead = f"it did not end within {ALL_SECONDS_MAX:g} s"
        await group.close()
        stage.note_exits()
        self._note_alarms()
        self._count()
        replay = f"quorate attack run {self._attack.name} --live --seed {stage.seed}{self._options}"
        proofs = await self._proofs()
        return judge(stage, proofs, is_live=is_live, why_dead=self._why_dead, replay=replay)

    # -- the attack

    async def _attack_and_heal(self) -> bool:
        """Whether everything was accepted in the end, everywhere."""
        stage, attack = self._stage, self._attack
        faults = Faults(stage)
        async with self._people() as people, trio.open_nursery() as watching:
            bound_s = min(attack.bound_ms / 1000, BOUND_SECONDS_MAX)
            talked = trio.Event()
            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as attacking:
                    await self._begin(attacking)
                    stage.narrow()
                    watching.start_soon(stage.watch)
                    nursery.start_soon(self._talk, people, talked)
                    with trio.move_on_after(ATTACK_SECONDS_MAX):
                        await self._until_over(faults)
                    stage.figures[UNDER_ATTACK] = stage.accepted_since_it_began()
                    attacking.cancel_scope.cancel()
                await renew(stage)
                await faults.heal()
                stage.moment("", "heals")
                with trio.move_on_after(bound_s):
                    await talked.wait()
                nursery.cancel_scope.cancel()
            is_live = talked.is_set() and await self._afterwards(people, bound_s)
            if not talked.is_set():
                waiting = ", ".join(name for name, count in stage.journal.waiting.items() if count)
                self._why_dead = f"{bound_s:g} s after everything was healed, {waiting} had not been answered"
            watching.cancel_scope.cancel()
        return is_live

    async def _begin(self, attacking: trio.Nursery) -> None:
        """Start the attackers, until all of them attack: the attack begins then."""
        stage = self._stage
        for act in acts_of(self._attack):
            with trio.move_on_after(BEGIN_SECONDS) as scope:
                await attacking.start(partial(act, stage))
            if scope.cancelled_caught:
                stage.missed.append(f"attackers had not begun within {BEGIN_SECONDS:g} s")
        if stage.not_after and time.monotonic() > stage.not_after:
            stage.missed.append("a certificate had lapsed before everybody was there")
        await trio.sleep(max(0.0, stage.not_before - time.monotonic()))
        stage.restart_clock()

    async def _until_over(self, faults: Faults) -> None:
        """Faults at their times, until the attack ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faults.run)
            await trio.sleep(self._attack.until_ms / 1000)

    async def _talk(self, people: list[Person], talked: trio.Event) -> None:
        """What everybody has to say, and at the end of it once more: a group that was healed must go on."""
        talk = self._attack.talk
        async with trio.open_nursery() as nursery:
            for person in people:
                nursery.start_soon(person.talk, talk.messages, talk.for_ms / 1000)
            for client_number, client in enumerate(self._attack.clients):
                if not client.behaves:
                    nursery.start_soon(self._scripted, client, SCRIPTED_FROM + client_number)
        talked.set()

    async def _scripted(self, client: Client, number: int) -> None:
        began = trio.current_time()
        async with self._person(client.name, number) as person:
            for action in client.actions:
                await trio.sleep_until(began + action.at_ms / 1000)
                await person.act(action.kind, action.room, action.text)

    async def _afterwards(self, people: list[Person], bound_s: float) -> bool:
        """Everybody says one more thing, all stand level, and the room holds what it should."""
        stage = self._stage
        with trio.move_on_after(bound_s) as scope:
            async with trio.open_nursery() as nursery:
                for person in people:
                    nursery.start_soon(person.post, f"{person.name} is still here")
        if scope.cancelled_caught:
            self._why_dead = f"nothing that was said after everything was healed was accepted within {bound_s:g} s"
            return False
        await self._until_noticed()
        votes = REJOINS in self._attack.expect.marks
        level = await self._group.until(stage.honest(), partial(_are_level, all_vote=votes), within_s=bound_s)
        if level is None:
            self._why_dead = f"within {bound_s:g} s not all stood level: {await self._standing()}"
            return False
        self._look_at(level)
        await self._read_back(people[-1])
        return True

    async def _read_back(self, reader: Person) -> None:
        """Every room in which anybody said anything, and what people were told who were to be heard."""
        stage = self._stage
        said = [each for each in stage.journal.said if each.what == POST]
        count = 0
        for room in sorted({each.room for each in said}):
            messages = await reader.history(room)
            stage.breaks += what_is_wrong(said, room, messages)
            count += len(messages)
        talking = {f"person{number}" for number in range(self._attack.talk.people)}
        stage.breaks += [
            ("model", f"{each.body!r} by {each.who}, who may write in #{each.room}, was refused: {each.refusal}")
            for each in said
            if each.who in talking and each.is_refused
        ]
        stage.figures["messages_read_back"] = count

    async def _until_noticed(self) -> None:
        """Rotten rows are found when their turn comes to be looked at."""
        with trio.move_on_after(NOTICE_SECONDS):
            while self._unnoticed():  # noqa: ASYNC110 - a log of another process tells nobody
                await trio.sleep(POLL_SECONDS)

    def _unnoticed(self) -> list[str]:
        return [
            f"replica {seat.replica} was damaged and did not say {text!r}"
            for seat, text in self._stage.to_be_noticed
            if text not in self._group.log_of(seat).read_text(errors="replace")
        ]

    async def _standing(self) -> str:
        reports = await self._group.reports(self._stage.honest())
        return ", ".join(
            f"replica {number} {report['role']} at {report['last_executed']} with {report['state_root'][:8]}"
            for number, report in sorted(reports.items())
        )

    def _look_at(self, reports: dict[int, Report]) -> None:
        stage = self._stage
        for number, report in reports.items():
            stage.saw(number, report)
        stage.figures["last_executed"] = max(report["last_executed"] for report in reports.values())

    def _note_alarms(self) -> None:
        """Some tell of what is right, and some blame a liar."""
        stage = self._stage
        stage.read_alarms()
        for alarm in stage.alarms:
            harmless, _, blamed = alarm_says(alarm.text)
            if blamed is not None and blamed not in stage.faulty:
                stage.breaks.append(("honest evidence", f"replica {alarm.replica}: {alarm.text}"))
            if not harmless and alarm.replica not in stage.faulty:
                stage.breaks.append(("equal roots", f"replica {alarm.replica}: {alarm.text}"))

    # -- people

    @asynccontextmanager
    async def _people(self) -> AsyncIterator[list[Person]]:
        async with AsyncExitStack() as stack:
            people = [
                await stack.enter_async_context(self._person(f"person{number}", number))
                for number in range(self._attack.talk.people)
            ]
            async with trio.open_nursery() as nursery:
                for person in people:
                    nursery.start_soon(person.arrive)
            yield people

    @asynccontextmanager
    async def _person(self, name: str, number: int) -> AsyncIterator[Person]:
        opened, device = client_of(self._group.directory_for(number))
        async with opened as client:
            self._stage.devices[device.hex()] = name
            yield Person(name, number, client, self._stage.journal)
            self._evidence.append((name, client.evidence))

    # -- in the end

    def _count(self) -> None:
        stage = self._stage
        stage.figures |= {
            "operations_accepted": len(stage.journal.accepted),
            "longest_gap_ms": round(stage.journal.longest_gap_s() * 1000),
            "longest_wait_ms": round(stage.journal.longest_wait_s() * 1000),
            "lies_told": self._group.lies(),
            "view_changes": stage.peak("view"),
        }
        stage.figures |= {name.replace(" ", "_"): count for name, count in sorted(stage.deeds.items())}
        stage.breaks += [("storage", text) for text in self._unnoticed()]

    async def _proofs(self) -> tuple[Proof, ...]:
        stage, group = self._stage, self._group
        held, wrong = await trio.to_thread.run_sync(proofs_of, group, stage.played)
        of_clients, more = proofs_of_clients(group, [(who, each) for who, kept in self._evidence for each in kept])
        compared, forks = await trio.to_thread.run_sync(proofs_of_ledgers, group, stage.played)
        stage.breaks += [("honest evidence", text) for text in (*wrong, *more)]
        stage.breaks += [("agreement", text) for text in forks]
        note_floor(stage)
        proofs = merged([*held, *of_clients, *compared])
        for proof in proofs:
            text = f"{proof.code} against {proof.culprit}"
            for holder in proof.held_by:
                stage.moment(holder, "proves", text, told=False)
        return proofs


def _are_level(reports: dict[int, Report], *, all_vote: bool) -> bool:
    """At one root, with a whole state each; and none of them is mute, if all are to have their voice back."""
    roles = {report["role"] for report in reports.values()}
    states = {(report["last_executed"], report["state_root"]) for report in reports.values()}
    return len(states) == 1 and roles <= ({"voting"} if all_vote else {"voting", "mute"})


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
