"""`quorate restart`: replicas of this machine, one after another, and never more than the group stands."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import trio
from cyclopts import Parameter

from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file
from chatsvc.process import holder_of
from pbft.client.inspection import Report, inspect_all
from pbft.core.restart_guard import why_not_restart, why_out
from pbft.core.types import ReplicaId

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
ASK_SECONDS = 5.0
BACK_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.2


class RestartError(Exception):
    """Why it goes no further, and with which exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def restart(
    directory: Annotated[Path, Parameter(name="DIR")],
    *,
    replica: tuple[int, ...] = (),
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
) -> int:
    """Restart running replicas of this machine one at a time, each only while the others are well.

    A replica is not touched if more than f would be out of service meanwhile: then the exit code is 3. It must be
    back, linked and level with the others before the next one has its turn.

    Example: quorate restart my-group --all

    Parameters
    ----------
    directory
        The group's directory.
    replica
        Which replica; may be given more than once.
    all_
        All replicas that run on this machine, the primary last.
    """
    try:
        file = read_group_file(directory)
        wrong = [each for each in replica if not 0 <= each < file.group.size]
        if wrong or bool(replica) == all_:
            asked = (
                f"--replica {wrong[0]}: the group has 0 to {file.group.size - 1}" if wrong else "--replica or --all"
            )
            raise RestartError(asked, EXIT_USAGE)
        with _alone(directory):
            trio.run(_restart, file, tuple(dict.fromkeys(replica)))
    except RestartError as error:
        sys.stderr.write(f"quorate: {error}\n")
        return error.code
    except GroupFileError as error:
        sys.stderr.write(f"quorate: {error}\n")
        return EXIT_FAILED
    return 0


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two commands at once would each take the other's replica for one that is well."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise RestartError(
            f"{directory}: another restart is under way; wait until it is done", EXIT_REFUSED
        ) from error
    finally:
        os.close(descriptor)


async def _restart(file: GroupFile, replicas: Sequence[int]) -> None:
    reports = await inspect_all(file.directory(), timeout_s=ASK_SECONDS)
    chosen = list(replicas) or [each for each in file.group.replicas if _pid(file, each) is not None]
    if not chosen:
        raise RestartError(f"{file.path.parent}: no replica runs on this machine", EXIT_FAILED)
    primaries = {report["primary"] for report in reports if isinstance(report, dict)}
    for number in sorted(chosen, key=lambda each: (each in primaries, each)):
        await restart_one(file, number)
        sys.stderr.write(f"replica {number} is back\n")


async def restart_one(file: GroupFile, replica: int) -> None:
    """Raises RestartError."""
    home = file.replica_directory(ReplicaId(replica))
    absent = RestartError(f"{home}: no process runs this replica on this machine; start it first", EXIT_FAILED)
    if _pid(file, replica) is None:
        raise absent
    file.node_config(ReplicaId(replica))  # what is wrong there would be found when it has stopped
    if not await _listens(file, replica):
        raise RestartError(f"replica {replica} is starting or stopping; see its log, and try again", EXIT_REFUSED)
    before = await inspect_all(file.directory(), timeout_s=ASK_SECONDS)
    problem = why_not_restart(before, replica, file.group)
    if problem is not None:
        raise RestartError(problem, EXIT_REFUSED)
    pid = _pid(file, replica)  # of now: it may have ended, and its number belong to another process
    if pid is None:
        raise absent
    began = trio.current_time()
    _hang_up(pid, file, replica, absent)
    with trio.move_on_after(BACK_SECONDS):
        while True:
            since_s = trio.current_time() - began
            if is_back(await inspect_all(file.directory(), timeout_s=ASK_SECONDS), since_s, replica, file):
                return
            await trio.sleep(LOOK_AGAIN_SECONDS)
    raise RestartError(
        f"replica {replica} was restarted, and is not back and level with the others after {BACK_SECONDS:g} s; "
        "see its log. No other replica is touched",
        EXIT_FAILED,
    )


def _hang_up(pid: int, file: GroupFile, replica: int, absent: RestartError) -> None:
    try:
        if hasattr(os, "pidfd_open"):
            # Held, the number is nobody else's; and it is the replica's, if its lock still says so.
            descriptor = os.pidfd_open(pid)
            try:
                if _pid(file, replica) != pid:
                    raise absent
                signal.pidfd_send_signal(descriptor, signal.SIGHUP)
            finally:
                os.close(descriptor)
        elif _pid(file, replica) == pid:
            os.kill(pid, signal.SIGHUP)  # the moment in between is as short as can be
        else:
            raise absent
    except ProcessLookupError as error:
        raise absent from error
    except OSError as error:
        raise RestartError(f"replica {replica}, process {pid}: {error.strerror}", EXIT_FAILED) from error


async def _listens(file: GroupFile, replica: int) -> bool:
    """Also if its certificate has expired, or is not the one of the group file any more."""
    endpoint = file.members[replica].client_endpoint
    try:
        with trio.fail_after(ASK_SECONDS):
            stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    except (OSError, trio.TooSlowError):
        return False
    await trio.aclose_forcefully(stream)
    return True


def is_back(now: Sequence[Report | str], since_s: float, replica: int, file: GroupFile) -> bool:
    """Whether the replica began again, less than `since_s` before it was asked, and is of use to the others."""
    report = now[replica]
    if isinstance(report, str) or why_out(now, replica, file.group) is not None:
        return False
    if report["uptime_s"] >= since_s:
        return False
    others_up = [each for each in file.group.others(ReplicaId(replica)) if isinstance(now[each], dict)]
    return all(_is_linked(report, each) and _is_linked(now[each], replica) for each in others_up)


def _is_linked(report: Any, peer: int) -> bool:
    link = report["peers"].get(str(peer))
    return link is not None and link["up"]


def _pid(file: GroupFile, replica: int) -> int | None:
    return holder_of(file.replica_directory(ReplicaId(replica)))
