"""Whether a run has come to its good end, and what must hold then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adversary.simulator.broken import Broken
from chatsvc.application.queries import ReadHistory, encode_query
from crypto.canonical import decode

if TYPE_CHECKING:
    from adversary.simulator.host import Host
    from adversary.simulator.run import Simulation

HISTORY_ROWS = 200
HISTORY_BYTES_MAX = 2 * 1024 * 1024
LIVELOCK_VIEWS = 3
"""So many views, and more than there were operations, are no halt any more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is, to tell later what became of it."""

    accepted: int
    view: int

    @classmethod
    def of(cls, run: Simulation) -> Standing:
        views = [host.replica.log.view for host in run.hosts if host.is_up and run.checker.is_correct(host)]
        return cls(accepted=run.patience.accepted, view=max(views, default=0))


def kind_of_stop(run: Simulation) -> str:
    """What to call it, in a few words, when a run has not come to its good end."""
    now, then = Standing.of(run), run.at_heal
    core = _core(run)
    if core and all(run.checker.is_rotten(host) for host in core):
        return "lost, every copy is damaged"
    if now.view - then.view >= max(LIVELOCK_VIEWS, now.accepted - then.accepted):
        return "livelock"
    if all(client.is_idle for client in run.clients):
        return "laggards stuck"
    passed_by = run.patience.passed_by()
    if passed_by is not None:
        return f"censored, {passed_by} waits while others are served"
    return "stall" if now.accepted > then.accepted else "halt"


def is_settled(run: Simulation) -> bool:
    """Every operation is accepted, and the core stands at one place."""
    if not run.healed or not all(client.is_idle for client in run.clients):
        return False
    core = _core(run)
    if len(core) < len(run.scenario.core):
        return False
    unproven = run.checker.beyond.first_unproven
    if unproven is not None and any(host.executed < unproven[0] for host in core):
        return False
    if len({host.executed for host in core}) != 1 or any(len(host.replica.pool) for host in core):
        return False
    if not all(host.replica.state_repair.is_whole for host in core):
        return False
    if rot_remains(run):
        return False
    return not run.scenario.rejoins or not any(host.replica.rules.is_mute for host in core)


def rot_remains(run: Simulation) -> bool:
    """Whether a host of the core has rows that rotted and that it has not noticed, or not replaced yet."""
    core = _core(run)
    if not any(run.checker.is_rotten(host) for host in core):
        return False
    sound = next((host for host in core if run.checker.is_correct(host) and host.replica.state_repair.is_whole), None)
    if sound is None:
        return True
    root = sound.disk.executor.state_root()
    return any(run.checker.is_rotten(host, root if host.executed == sound.executed else None) for host in core)


def why_no_progress(run: Simulation) -> str:
    """Where everybody stands when the time is over."""
    waiting = [client.name for client in run.clients if not client.is_idle]
    stands = []
    for host in run.hosts:
        if host.is_up:
            log = host.replica.log
            pool = len(host.replica.pool)
            stands.append(f"{host.me} executed {host.executed}, h {log.low_watermark}, view {log.view}, pool {pool}")
            if host.replica.rules.is_mute:
                stands[-1] += ", mute"
            if not host.replica.state_repair.is_whole:
                stands[-1] += ", not whole"
            if not log.in_view:
                stands[-1] += ", waits for it"
            if run.checker.is_rotten(host):
                stands[-1] += ", rotten"
        else:
            stands.append(f"{host.me} {host.mode} {host.stopped_by[:80]}".rstrip())
    could = "could" if is_recoverable(run) else "could not"
    faulty, core = len(run.scenario.faulty), len(run.scenario.core)
    said = f"waiting: {', '.join(waiting) or 'nobody'}; {'; '.join(stands)}"
    return (
        f"{kind_of_stop(run)}: {said}. With {faulty} faulty replicas and {core} in the core the group {could} recover"
    )


def is_recoverable(run: Simulation) -> bool:
    """Whether the protocol promises a good end: at most f replicas ever lied or forgot, and a quorum is healed."""
    group, scenario = run.group, run.scenario
    return len(scenario.faulty) <= group.faulty_max and len(scenario.core) >= group.quorum


def final_checks(run: Simulation) -> None:
    """One root at one place, and the messages that the model has. Raises Broken."""
    roots: dict[int, str] = {}
    for host in _core(run):
        if not run.checker.is_correct(host):
            continue
        root = host.disk.executor.state_root().hex()
        if roots.setdefault(host.executed, root) != root:
            raise Broken("equal roots", f"{host.me} has another state than others after {host.executed}")
    ordered = len(run.checker.history.order)
    level = [host for host in _core(run) if run.checker.is_correct(host) and host.executed == ordered]
    for host in level[:1]:
        _compare_with_model(run, host)
    broken = run.checker.beyond.in_the_end()
    if broken is not None:
        raise broken
    waited, allowed = run.patience.longest_wait_ms(run.now_us // 1000), run.scenario.wait_ms
    if allowed and waited > allowed:
        raise Broken("floor", f"somebody waited {waited} ms for an operation, and {allowed} are allowed")


def _core(run: Simulation) -> list[Host]:
    return [host for host in run.hosts if host.is_up and host.me in run.scenario.core]


def _compare_with_model(run: Simulation, host: Host) -> None:
    device = run.members.signers[0].public_key
    for room, messages in sorted(run.checker.history.model.messages.items()):
        query = encode_query(ReadHistory(room=room, limit=HISTORY_ROWS))
        _, answer = host.disk.executor.query(device, query)
        found = decode(answer, bytes_max=HISTORY_BYTES_MAX)
        texts = _strings(found)
        missing = [text for _, text in messages[-HISTORY_ROWS:] if text not in texts]
        if missing:
            raise Broken("model", f"{host.me} does not show {missing[0]!r} in {room}")


def _strings(value: object) -> set[str]:
    if isinstance(value, str):
        return {value}
    if isinstance(value, list | tuple):
        return {text for item in value for text in _strings(item)}
    return set()
