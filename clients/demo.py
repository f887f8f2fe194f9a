"""The demonstration: four processes agree on a chat while one lies, another is killed, and then the primary is."""

from __future__ import annotations

import importlib.resources
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from chatsvc.founding import found_group
from chatsvc.groupfile import GroupFile, read_group_file
from clients.irc_import import Importer
from clients.irc_log import Log, LogLine, parse_log
from clients.processes import Processes, processes_of
from clients.sdk import Chat, ClientFailure, ExitCode
from crypto.digest import digest_of
from crypto.signing import Ed25519Signer
from pbft.client.inspection import Report, inspect_all
from pbft.core.group import Parameters
from pbft.core.types import View

REPLICAS = 4
LIAR = 3
VICTIM = 2
ROOM = "ubuntu"
SAMPLE = "ubuntu-2009-03-03.txt"
QUERY = "ubuntu"
START_SECONDS = 20.0
CATCH_UP_SECONDS = 20.0
POLL_SECONDS = 0.1
NARRATOR = "narrator"

Say = Callable[[tuple[LogLine, ...]], Awaitable[None]]
Tell = Callable[[str, dict[str, Any]], None]
"""Called with each thing that happened: in words, and as a record."""


def sample_log() -> Log:
    """The slice of a real log that comes with the package."""
    data = (importlib.resources.files("clients") / "data" / SAMPLE).read_bytes()
    return parse_log(Path(SAMPLE), data.decode(), digest_of(data))


@dataclass(slots=True)
class Demo:
    """The story, step by step. `advance` is told of every imported message."""

    directory: Path
    tell: Tell
    advance: Callable[[], None]
    messages: int
    started: float = field(default_factory=time.monotonic)
    followed: int = 0
    lies: int = 0
    _heard: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> dict[str, Any]:
        """Gives the summary. Raises ClientFailure."""
        path = found_group(
            self.directory, name="demo", replicas=REPLICAS, host="127.0.0.1", base_port=None, parameters=Parameters()
        )
        file = read_group_file(path)
        async with processes_of(self.directory) as processes:
            self.tell(
                f"{REPLICAS} replicas, each a process of its own; replica {LIAR} is going to lie to clients", {}
            )
            for replica in range(REPLICAS):
                await processes.start(replica, behaviour="reply_lie" if replica == LIAR else None)
            await self._until_all(file, processes, lambda _: True, START_SECONDS, "start")
            signer = Ed25519Signer.generate()
            async with Chat.connect(file.directory(), signer) as chat, trio.open_nursery() as nursery:
                await chat.register(NARRATOR)
                created = await chat.create(ROOM, "a morning in 2009")
                vouchers = " ".join(str(replica) for replica in created.receipt.vouchers)
                self.tell(
                    f"#{ROOM} exists: vouched for by replicas {vouchers}", {"vouchers": created.receipt.vouchers}
                )
                nursery.start_soon(self._follow, chat)
                summary = await self._story(file, processes, chat, signer)
                nursery.cancel_scope.cancel()
        return summary

    async def _follow(self, chat: Chat) -> None:
        """A reader: gets every message once and in order, or the summary says so."""
        async with chat.subscribe(ROOM) as stream:
            async for message in stream:
                if message.index == self.followed:
                    self.followed += 1
                self._heard.set()
                self._heard = trio.Event()

    async def _story(
        self, file: GroupFile, processes: Processes, chat: Chat, signer: Ed25519Signer
    ) -> dict[str, Any]:
        log = sample_log()
        lines = log.lines[: self.messages]
        third = len(lines) // 3
        async with Importer.open(file.directory(), signer, ROOM, timeout_s=30.0) as importer:

            async def say(part: tuple[LogLine, ...]) -> None:
                await importer.run(log, part, self.advance)

            await say(lines[:third])
            self.lies = sum(importer.lies().values()) + sum(chat.lies().values())
            found = sorted(set(importer.lies()) | set(chat.lies()))
            self.tell(
                f"{third} messages accepted, each vouched for by 2 or more; "
                f"{self.lies} lies caught: replica {' '.join(str(replica) for replica in found)}",
                {"lies_detected": self.lies, "liars": found},
            )
            await processes.stop(LIAR, signal.SIGTERM)
            await processes.start(LIAR)
            await self._until_caught_up(file, processes, LIAR)
            self.tell(f"replica {LIAR} was replaced by its honest self and has caught up", {"replaced": LIAR})

            await say(lines[third : third + third // 2])
            await processes.stop(VICTIM, signal.SIGKILL)
            self.tell(f"replica {VICTIM} was killed in the middle of it; the others go on", {"killed": VICTIM})
            await say(lines[third + third // 2 : 2 * third])
            await processes.start(VICTIM)
            await self._until_caught_up(file, processes, VICTIM)
            self.tell(f"replica {VICTIM} was started again and has caught up", {"restarted": VICTIM})

            await say(lines[2 * third : 2 * third + third // 2])
            await self._replace_primary(file, processes, say, lines[2 * third + third // 2 :])
            accepted = importer.done.messages
            refused = importer.done.refused
        if refused:
            msg = f"{len(refused)} lines were refused, the first: {refused[0]}"
            raise ClientFailure(msg, exit_code=ExitCode.REJECTED)
        hits = await chat.search(QUERY, limit=1000)
        self.tell(f"a search for {QUERY!r} finds {len(hits)} messages, the same at 2 replicas or more", {})
        return await self._summary(file, processes, chat, accepted, len(hits))

    async def _replace_primary(
        self, file: GroupFile, processes: Processes, say: Say, lines: tuple[LogLine, ...]
    ) -> None:
        primary = file.group.primary(await self._until_in_view(file, processes))
        await processes.stop(primary, signal.SIGKILL)
        self.tell(f"replica {primary}, the primary, was killed in the middle of it", {"killed": primary})
        await say(lines)
        await processes.start(primary)
        await self._until_caught_up(file, processes, primary)
        view = await self._until_in_view(file, processes)
        self.tell(
            f"the chat went on in view {view}, whose primary is replica {file.group.primary(view)}; "
            f"replica {primary} follows again",
            {"view": view, "primary": file.group.primary(view), "restarted": primary},
        )

    async def _until_in_view(self, file: GroupFile, processes: Processes) -> View:
        """Until a quorum is in one view: this one."""
        quorum = file.group.quorum
        reports = await self._until_all(
            file,
            processes,
            lambda reports: _view_of(reports, quorum) is not None,
            CATCH_UP_SECONDS,
            "agree on a view",
        )
        return View(_view_of(reports, quorum) or 0)

    async def _summary(
        self, file: GroupFile, processes: Processes, chat: Chat, accepted: int, hits: int
    ) -> dict[str, Any]:
        count = await chat.message_count(ROOM)
        with trio.move_on_after(CATCH_UP_SECONDS):
            while self.followed < count:
                await self._heard.wait()
        reports = await self._until_all(file, processes, _all_equal, CATCH_UP_SECONDS, "agree")
        return {
            "replicas": REPLICAS,
            "f": file.group.faulty_max,
            "messages_accepted": accepted,
            "messages_followed_in_order": self.followed,
            "lies_detected": self.lies,
            "replicas_restarted": 3,
            "view_changes": _view_of(reports, file.group.quorum) or 0,
            "search_hits": hits,
            "last_executed": [report["last_executed"] for report in reports],
            "state_roots": [report["state_root"] for report in reports],
            "state_roots_equal": len({report["state_root"] for report in reports}) == 1,
            "seconds": round(time.monotonic() - self.started, 1),
        }

    async def _until_caught_up(self, file: GroupFile, processes: Processes, replica: int) -> None:
        def caught_up(reports: list[Report]) -> bool:
            others = [report["last_executed"] for number, report in enumerate(reports) if number != replica]
            return bool(reports[replica]["last_executed"] >= min(others))

        await self._until_all(file, processes, caught_up, CATCH_UP_SECONDS, "catch up")

    async def _until_all(
        self,
        file: GroupFile,
        processes: Processes,
        holds: Callable[[list[Report]], bool],
        seconds: float,
        what: str,
    ) -> list[Report]:
        """Until all replicas answer and `holds` of their reports; these. Raises ClientFailure after `seconds`."""
        answers: list[Report | str] = []
        with trio.move_on_after(seconds):
            while True:
                answers = await inspect_all(file.directory(), timeout_s=2.0)
                reports = [answer for answer in answers if isinstance(answer, dict)]
                if len(reports) == REPLICAS and holds(reports):
                    return reports
                await trio.sleep(POLL_SECONDS)
        missing = [number for number, answer in enumerate(answers) if isinstance(answer, str)] or [0]
        msg = (
            f"the replicas did not {what} within {seconds:g} s; replica {missing[0]} said last: "
            f"{processes.log_tail(missing[0])}"
        )
        raise ClientFailure(msg, exit_code=ExitCode.UNKNOWN)


def _view_of(reports: list[Report], quorum: int) -> int | None:
    """The view that a quorum takes part in. Up to f others may have asked for a later one by themselves, and wait."""
    views = Counter(report["view"] for report in reports if not report["in_view_change"])
    return next((view for view, count in views.items() if count >= quorum), None)


def _all_equal(reports: list[Report]) -> bool:
    return len({(report["last_executed"], report["state_root"]) for report in reports}) == 1
