"""The process of one replica: its lock, its stores, its signals, its logs and its exit code."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import trio

from chatsvc.application.chat import ChatApplication
from chatsvc.founding import SIGNING_KEY_NAME
from chatsvc.groupfile import GroupFile, GroupFileError
from chatsvc.search_index import SearchIndex
from crypto.errors import CryptoError
from crypto.keyfiles import read_key_file
from crypto.signing import Ed25519Signer, Ed25519Verifier
from pbft.core.codec import Opener
from pbft.core.errors import InvariantViolation
from pbft.core.replica import Replica
from pbft.core.types import ReplicaId
from pbft.core.voting_rules import VotingRules
from pbft.node.ledger import Ledger, LedgerDamaged
from pbft.node.node import Machine, Node
from pbft.state.errors import StateError
from pbft.state.executor import open_state

STATE_NAME = "state.sqlite"

log = structlog.get_logger()


class NodeError(Exception):
    """The node cannot run. The text says why and what to do."""


def configure_logs() -> None:
    """One line per event on stderr, with a UTC time; colours only on a terminal."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR")),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


MakeMachine = Callable[[Replica, Ed25519Signer], Machine]


def run_node(file: GroupFile, replica: ReplicaId, make_machine: MakeMachine | None = None) -> None:
    """Run one replica until SIGTERM or SIGINT. `make_machine` may put something in the replica's place.

    Raises NodeError.
    """
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
            _run(file, replica, signer, make_machine)
    except (CryptoError, GroupFileError, StateError, LedgerDamaged, OSError) as error:
        raise NodeError(str(error)) from error
    except InvariantViolation as error:
        msg = f"this replica's state contradicts itself, and it stopped rather than guess: {error}"
        raise NodeError(msg) from error


def _run(file: GroupFile, replica: ReplicaId, signer: Ed25519Signer, make_machine: MakeMachine | None) -> None:
    config = file.node_config(replica)
    group = file.group
    index = SearchIndex()
    executor = open_state(config.directory / STATE_NAME, ChatApplication(index), group, index)
    try:
        ledger = Ledger(
            config.directory,
            group.group_id + signer.public_key,
            retained_sequences=config.retained_sequences,
            last_executed=executor.position.last_executed,
        )
        try:
            opener = Opener(group, Ed25519Verifier())
            rules = VotingRules(group, replica, signer)
            honest = Replica(group=group, me=replica, rules=rules, opener=opener, executed=executor)
            machine = make_machine(honest, signer) if make_machine is not None else honest
            node = Node(config, machine=machine, opener=opener, executor=executor, ledger=ledger)
            # What is alive now stays alive; the collector need not look at it again, nor so often at the rest.
            gc.freeze()
            gc.set_threshold(20_000, 10, 50)
            trio.run(_until_signal, node)
        finally:
            ledger.close()
    finally:
        executor.close()


async def _until_signal(node: Node) -> None:
    async with trio.open_nursery() as nursery:
        failure: list[Exception] = []

        async def run_node_task() -> None:
            try:
                await node.run()
            except (InvariantViolation, StateError, LedgerDamaged, OSError) as error:
                failure.append(error)
            nursery.cancel_scope.cancel()

        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            nursery.start_soon(run_node_task)
            async for number in signals:
                log.info("stopping", signal=signal.Signals(number).name)
                nursery.cancel_scope.cancel()
                break
    if failure:
        raise failure[0]


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Two nodes with one key would vote against each other: a lock keeps the second out."""
    if not directory.is_dir():
        msg = f"{directory}: there is no such directory; a replica's directory is made by 'quorate init'"
        raise NodeError(msg)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"{directory}: another process runs this replica already; stop it first"
            raise NodeError(msg) from error
        yield
    finally:
        os.close(descriptor)
