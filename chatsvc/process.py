"""The process of one replica: its lock, its stores, its signals, its logs and its exit code."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, cast

import structlog
import trio

from chatsvc.application.chat import ChatApplication
from chatsvc.application.limits import ChatLimits
from chatsvc.expiry import expiring
from chatsvc.founding import SIGNING_KEY_NAME, ledger_identity
from chatsvc.groupfile import GroupFile, GroupFileError
from chatsvc.search_index import SearchIndex
from crypto.errors import CryptoError
from crypto.keyfiles import read_key_file
from crypto.signing import Ed25519Signer, Ed25519Verifier
from crypto.tls import read_tls_certificate
from pbft.core.codec import Opener
from pbft.core.errors import InvariantViolation
from pbft.core.group import Group
from pbft.core.replica import Replica
from pbft.core.types import ReplicaId
from pbft.core.voting_rules import VotingRules
from pbft.node.config import NodeConfig
from pbft.node.ledger import Ledger, LedgerDamaged, LedgerRefused
from pbft.node.node import Machine, Node
from pbft.state.database_files import set_aside
from pbft.state.errors import StateDamaged, StateError
from pbft.state.executor import Executor, open_state

STATE_NAME = "state.sqlite"
LOCK_NAME = "lock"
LOCK_ATTEMPTS = 20
LOCK_PAUSE_SECONDS = 0.05
FILES_MAX = 16_384
STATE_REPAIRS_MAX = 2
"""How often a run of the node puts a damaged state aside: if that goes on, the disk is to be replaced."""

log = structlog.get_logger()


class NodeError(Exception):
    """The node cannot run. The text says why and what to do."""


class _Log:
    """Standard error, as long as it takes anything: a full disk or a closed pipe there is no reason to stop."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def configure_logs() -> None:
    """One line per event on stderr, with a UTC time; colours only on a terminal."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR")),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Log())),
    )


MakeMachine = Callable[[Replica, Ed25519Signer], Machine]


def run_node(
    file: GroupFile,
    replica: ReplicaId,
    make_machine: MakeMachine | None = None,
    *,
    until_stdin_closes: bool = False,
) -> None:
    """Run one replica until SIGTERM or SIGINT, and after SIGHUP again from the start: the same command, in the same
    process, with whatever program and files are there then. `make_machine` may put something in the replica's place.

    Raises NodeError.
    """
    # Before the lock names this process, and until the node listens for it: SIGHUP would end the process. It waits,
    # also over exec, and is obeyed once the node runs.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    stop = _Stop()
    _run_locked(file, replica, make_machine, stop, until_stdin_closes=until_stdin_closes)
    if stop.is_restart:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command


def _run_locked(
    file: GroupFile, replica: ReplicaId, make_machine: MakeMachine | None, stop: _Stop, *, until_stdin_closes: bool
) -> None:
    structlog.contextvars.bind_contextvars(replica=replica)
    config = file.node_config(replica)
    try:
        with _lock(config.directory):
            signer, _ = read_key_file(config.directory / SIGNING_KEY_NAME, kind="replica", passphrase=None)
            if signer.public_key != file.members[replica].signing_key:
                msg = (
                    f"{config.directory / SIGNING_KEY_NAME}: this key is not the one of replica {replica} in "
                    f"{file.path}; put the right key file back"
                )
                raise NodeError(msg)
            if read_tls_certificate(config.tls_pem) != file.members[replica].certificate_der:
                msg = (
                    f"{config.tls_pem}: this certificate is not the one of replica {replica} in {file.path}; put the "
                    "right file back, or the new certificate into everybody's group file"
                )
                raise NodeError(msg)
            _raise_file_limit()

            def run_once() -> None:
                with _node(file, replica, signer, make_machine) as node:
                    # What is alive now stays alive; the collector need not look at it, nor so often at the rest.
                    gc.freeze()
                    gc.set_threshold(20_000, 10, 50)
                    trio.run(_until_stopped, node, file, stop, until_stdin_closes)

            _run_repairing(config.directory / STATE_NAME, run_once, stop)
    except LedgerDamaged as error:
        msg = (
            f"{error}. Start the node again: it begins a new ledger by itself, and is mute until it may vote again; "
            "if that does not help, replace the disk"
        )
        raise NodeError(msg) from error
    except (CryptoError, GroupFileError, StateError, LedgerRefused, OSError) as error:
        raise NodeError(str(error)) from error
    except InvariantViolation as error:
        msg = f"this replica's state contradicts itself, and it stopped rather than guess: {error}"
        raise NodeError(msg) from error


def _run_repairing(path: Path, run_once: Callable[[], None], stop: _Stop) -> None:
    """Run the node. If the state at `path` is found damaged meanwhile, put it aside and begin anew, a few times."""
    for repairs in range(STATE_REPAIRS_MAX + 1):
        try:
            run_once()
            break
        except StateDamaged as damage:
            if stop.is_restart:
                log.warning("state found damaged: the next start puts that right", reason=str(damage))
                return
            if stop.is_asked:
                msg = f"{damage}. It was found when the node stopped; the next start puts that right"
                raise NodeError(msg) from damage
            if repairs == STATE_REPAIRS_MAX:
                msg = f"{damage}. The state was put aside {repairs} times already: replace the disk"
                raise NodeError(msg) from damage
            reason = str(damage)
        set_state_aside(path, reason)
        gc.unfreeze()  # the node that failed is garbage, with all that it held
        gc.collect()


@dataclass
class _Stop:
    """Whether somebody asked the process to stop, and whether to begin again then."""

    is_asked: bool = False
    is_restart: bool = False


@contextmanager
def _node(
    file: GroupFile, replica: ReplicaId, signer: Ed25519Signer, make_machine: MakeMachine | None
) -> Iterator[Node]:
    """The node and its stores, which are closed in the end."""
    config = file.node_config(replica)
    group = file.group
    with contextlib.ExitStack() as stack:
        executor = _open_state(config.directory / STATE_NAME, group)
        stack.callback(executor.close)
        ledger = _open_ledger(config, ledger_identity(group, signer.public_key))
        stack.callback(ledger.close)
        opener = Opener(group, Ed25519Verifier())
        rules = VotingRules(group, replica, signer)
        honest = Replica(group=group, me=replica, rules=rules, opener=opener, executed=executor)
        machine = make_machine(honest, signer) if make_machine is not None else honest
        yield Node(config, machine=machine, opener=opener, executor=executor, ledger=ledger)


def _open_state(path: Path, group: Group) -> Executor:
    """The state, or an empty one in the place of a damaged one: the peers have it."""
    try:
        return _try_state(path, group)
    except StateDamaged as damage:
        set_state_aside(path, str(damage))
        return _try_state(path, group)


def _try_state(path: Path, group: Group) -> Executor:
    index = SearchIndex()
    limits = ChatLimits.from_mapping(dict(group.application))
    return open_state(path, ChatApplication(index, limits), group, index)


def set_state_aside(path: Path, reason: str) -> None:
    aside = set_aside(path)
    log.error("state put aside: it is fetched from the other replicas", reason=reason, kept=str(aside))


def _open_ledger(config: NodeConfig, identity: bytes) -> Ledger:
    """The ledger, or one that says that votes were forgotten: the replica then keeps silent as long as it has to."""
    try:
        return Ledger(config.directory, identity, retained_sequences=config.retained_sequences)
    except LedgerDamaged as damage:
        reason = str(damage)
    aside = Ledger.begin_again(config.directory, identity, reason)
    log.error("ledger begun again: this replica forgot its votes", reason=reason, kept=str(aside))
    return Ledger(config.directory, identity, retained_sequences=config.retained_sequences)


async def _until_stopped(
    node: Node,
    file: GroupFile,
    stop: _Stop,
    until_stdin_closes: bool,  # noqa: FBT001 - trio.run
) -> None:
    failure: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def run_node_task() -> None:
            try:
                await node.run()
            except (InvariantViolation, StateError, LedgerDamaged, OSError) as error:
                failure.append(error)
            nursery.cancel_scope.cancel()

        async def watch_stdin() -> None:
            while sys.stdin is not None:
                data = await trio.to_thread.run_sync(os.read, sys.stdin.fileno(), 4096, abandon_on_cancel=True)
                if not data:
                    break
            log.info("stopping", reason="standard input closed")
            stop.is_asked = True
            nursery.cancel_scope.cancel()

        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            nursery.start_soon(run_node_task)
            nursery.start_soon(_warn_of_expiry, file)
            if until_stdin_closes:
                nursery.start_soon(watch_stdin)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
            try:
                async for number in signals:
                    log.info("stopping", signal=signal.Signals(number).name)
                    stop.is_asked = True
                    stop.is_restart = number == signal.SIGHUP
                    nursery.cancel_scope.cancel()
                    break
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    if failure:
        raise failure[0]


async def _warn_of_expiry(file: GroupFile) -> None:
    """Every day: a certificate that lapses takes its replica's links down, everywhere at once."""
    while True:
        for replica, days in expiring(file, datetime.now(UTC)):
            log.warning("certificate has expired" if days < 0 else "certificate expires", of=replica, days_left=days)
        await trio.sleep(24 * 3600)


def _raise_file_limit() -> None:
    """Each connection is an open file, and the usual limit is lower than what the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Two nodes with one key would vote against each other: a lock keeps the second out."""
    if not directory.is_dir():
        msg = f"{directory}: there is no such directory; a replica's directory is made by 'quorate init'"
        raise NodeError(msg)
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _take(descriptor):
            msg = f"{directory}: another process runs this replica already; stop it first"
            raise NodeError(msg)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Whoever looks for its holder holds the lock for a moment: that is no other node."""
    for attempt in range(LOCK_ATTEMPTS):
        if attempt:
            time.sleep(LOCK_PAUSE_SECONDS)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def holder_of(directory: Path) -> int | None:
    """The process that runs the replica of this directory, on this machine; None if there is none."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # others may look at the same time
    except BlockingIOError:
        text = os.pread(descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None
