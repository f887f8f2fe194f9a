"""`quorate init`, `quorate up` and `quorate node`."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

EXIT_FAILED = 1
EXIT_USAGE = 2


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"quorate: {text}\n")
    return code


def init(
    directory: Annotated[Path, Parameter(name="DIR")],
    *,
    replicas: int = 4,
    name: str = "quorate",
    host: str = "127.0.0.1",
    base_port: int | None = None,
    checkpoint_interval: int = 128,
    limits: Literal["default", "off"] = "default",
) -> int:
    """Found a group: make keys, certificates and the group file in a directory.

    Four replicas survive one that fails in any way, seven survive two, ten survive three.

    Example: quorate init my-group --replicas 4

    Parameters
    ----------
    directory
        A directory for the group; made if it is not there.
    replicas
        How many replicas: at least 4.
    name
        The group's name, for people.
    host
        The address all replicas listen on. Edit the group file to place them on several machines.
    base_port
        Replica I listens on this port + 2I for replicas and one above for clients. Without it, free ports are taken.
    checkpoint_interval
        Sequence numbers between two checkpoints.
    limits
        How much one account may do: 'default' allows 600 operations a minute and 20 MB of messages a day, 'off' any
        number, for measurements. The other limits of the chat hold in either case.
    """
    from chatsvc.founding import USUAL_LIMITS, found_group  # noqa: PLC0415
    from chatsvc.groupfile import GroupFileError  # noqa: PLC0415
    from crypto.errors import CryptoError  # noqa: PLC0415
    from pbft.core.group import Parameters  # noqa: PLC0415

    try:
        path = found_group(
            directory,
            name=name,
            replicas=replicas,
            host=host,
            base_port=base_port,
            parameters=Parameters(checkpoint_interval=checkpoint_interval),
            chat=USUAL_LIMITS if limits == "default" else {},
        )
    except ValueError as error:
        return _fail(str(error), EXIT_USAGE)
    except (GroupFileError, CryptoError, OSError) as error:
        return _fail(str(error), EXIT_FAILED)
    faulty = (replicas - 1) // 3
    sys.stderr.write(
        f"{path}: a group of {replicas} replicas, of which any {faulty} may fail.\n"
        f"Run it:  quorate up {directory}\nUse it:  export QUORATE_GROUP={path.resolve()}\n"
    )
    return 0


def node(
    directory: Annotated[Path, Parameter(name="DIR")],
    *,
    replica: int,
    until_stdin_closes: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run one replica of a group, until SIGTERM or Ctrl-C. Logs go to stderr.

    Example: quorate node my-group --replica 2

    Parameters
    ----------
    directory
        The group's directory, as made by 'quorate init'.
    replica
        Which replica, from 0.
    until_stdin_closes
        Stop also when standard input ends: whoever started this node holds its other end, and is gone.
    """
    from chatsvc.groupfile import GroupFileError, read_group_file  # noqa: PLC0415
    from chatsvc.process import NodeError, configure_logs, run_node  # noqa: PLC0415
    from pbft.core.types import ReplicaId  # noqa: PLC0415

    configure_logs()
    try:
        file = read_group_file(directory)
        if not 0 <= replica < file.group.size:
            return _fail(f"--replica {replica}: the group has replicas 0 to {file.group.size - 1}", EXIT_USAGE)
        run_node(file, ReplicaId(replica), until_stdin_closes=until_stdin_closes)
    except (GroupFileError, NodeError) as error:
        return _fail(str(error), EXIT_FAILED)
    return 0


def up(directory: Annotated[Path, Parameter(name="DIR")]) -> int:
    """Run all replicas of a group, each as a process of its own, until Ctrl-C.

    Their logs come on stderr, each line with its replica in front. A replica that stops is reported, not
    restarted; the others go on.

    Example: quorate up my-group

    Parameters
    ----------
    directory
        The group's directory, as made by 'quorate init'.
    """
    import trio  # noqa: PLC0415

    from chatsvc.expiry import expiry_warnings  # noqa: PLC0415
    from chatsvc.groupfile import GroupFileError, read_group_file  # noqa: PLC0415
    from chatsvc.supervisor import Supervisor, node_command  # noqa: PLC0415

    try:
        file = read_group_file(directory)
    except GroupFileError as error:
        return _fail(str(error), EXIT_FAILED)
    for warning in expiry_warnings(file, datetime.now(UTC)):
        sys.stderr.write(f"quorate: {warning}\n")
    commands = {f"replica {number}": node_command(directory, number) for number in range(file.group.size)}
    return trio.run(Supervisor(commands, colour=sys.stderr.isatty() and "NO_COLOR" not in os.environ).run)
