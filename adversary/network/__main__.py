"""A network for a group, controlled by JSON lines on standard input.

python -m adversary.network DIR

Says first, on standard output, which group file each replica and the clients have to use; ends with its input, or
with SIGTERM or SIGINT, and takes those files away.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import msgspec
import trio

from adversary.network.control import LINE_BYTES_MAX, obey
from adversary.network.proxy import network_of
from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m adversary.network", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0, help="of what happens by chance")
    given = parser.parse_args(arguments)
    try:
        trio.run(_run, read_group_file(given.directory), given.seed)
    except (GroupFileError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _run(file: GroupFile, seed: int) -> None:
    async with network_of(file, seed=seed) as network, trio.open_nursery() as nursery:

        async def obey_input() -> None:
            # Unbuffered: a thread that waits in a buffered reader at the end of the program holds its lock.
            with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as lines:  # noqa: ASYNC230
                while line := await trio.to_thread.run_sync(lines.readline, LINE_BYTES_MAX, abandon_on_cancel=True):
                    _say(obey(network, line))
            nursery.cancel_scope.cancel()

        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            views = {str(place): str(network.view(place)) for place in network.places}
            _say(msgspec.json.encode({"views": views}) + b"\n")
            nursery.start_soon(obey_input)
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
