"""What all commands share: options, output for people and for programs, and exit codes.

Results go to stdout, everything else to stderr. With --json stdout has one JSON object per line and nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import trio
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from chatsvc.application.answers import Message
from chatsvc.application.schema import MessageKind
from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file
from clients.identity import default_identity_path, read_identity
from clients.proofs import in_words, keep_proof
from clients.sdk import Chat, ClientFailure, ExitCode
from crypto.errors import CryptoError
from crypto.signing import Ed25519Signer

AUTHOR_COLOURS = (
    "cyan",
    "green",
    "magenta",
    "yellow",
    "blue",
    "red",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
)
INTERRUPTED = 130
BIDI_CONTROLS = {code: f"<U+{code:04X}>" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
EXPLAINED = (ClientFailure, GroupFileError, CryptoError, KeyboardInterrupt, BrokenPipeError)
"""What ends a command with one line and an exit code; anything else is a bug and shows its traceback."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """Where the group is, who you are, and how to print."""

    group: Annotated[Path | None, Parameter(env_var="QUORATE_GROUP")] = None
    """The group file, or the directory that it is in."""
    identity: Annotated[Path | None, Parameter(env_var="QUORATE_IDENTITY")] = None
    """Your identity file."""
    json: Annotated[bool, Parameter(negative="")] = False
    """One JSON object per line on stdout, for programs."""
    timeout: float = 10.0
    """Seconds to wait for enough replicas, and for an outcome."""


COMMON = Common()


class Output:
    """Prints results to stdout and remarks to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.out = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.err = Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def result(self, record: dict[str, Any], text: str | Text) -> None:
        """`record` for programs, `text` for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            self.out.print(text, markup=False)

    def remark(self, text: str) -> None:
        self.err.print(text, markup=False)


def fail(text: str, code: int) -> int:
    sys.stderr.write(f"quorate: {text}\n")
    return int(code)


def load_group(common: Common) -> GroupFile:
    """Raises GroupFileError, also when nothing says where the group is."""
    if common.group is None:
        raise GroupFileError(Path("no group given"), "use --group PATH or set QUORATE_GROUP=PATH/group.toml")
    return read_group_file(common.group)


def load_identity(common: Common) -> Ed25519Signer:
    """Asks for a passphrase only if the file has one and somebody is there to ask. Raises KeyFileError."""
    return read_identity(common.identity or default_identity_path(), passphrase=_passphrase)


def _passphrase() -> str:
    from_environment = os.environ.get("QUORATE_PASSPHRASE")
    if from_environment is not None:
        return from_environment
    if not sys.stdin.isatty():
        msg = "the identity has a passphrase, and nobody is at a terminal to type it: set QUORATE_PASSPHRASE"
        raise ClientFailure(msg, exit_code=ExitCode.AUTHENTICATION)
    import getpass  # noqa: PLC0415

    return getpass.getpass("Passphrase of your identity: ")


def run(body: Callable[[], Awaitable[int | None]]) -> int:
    """Run a command's body and turn what it raises into one line and an exit code."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 50)  # a command lives for seconds, or answers thousands of times: look less often
    try:
        return int(trio.run(body) or 0)
    except BaseExceptionGroup as group:
        return _explain(_first(group))
    except EXPLAINED as error:
        return _explain(error)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of several failures the first that can be explained in a line."""
    flat: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, EXPLAINED)), flat[0])


def _explain(error: BaseException) -> int:
    match error:
        case ClientFailure():
            return fail(str(error), error.exit_code)
        case GroupFileError():
            return fail(str(error), ExitCode.USAGE)
        case CryptoError():
            return fail(str(error), ExitCode.AUTHENTICATION)
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():
            # Whoever read our output has left; keep the interpreter from complaining when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        case _:
            raise error


def with_chat(common: Common, body: Callable[[Chat, Output], Awaitable[int | None]]) -> int:
    """Connect, run `body`, report lies that were found, disconnect."""

    async def connected() -> int | None:
        file = load_group(common)
        signer = load_identity(common)
        output = Output(as_json=common.json)
        async with Chat.connect(file.directory(), signer, timeout=common.timeout) as chat:
            try:
                return await body(chat, output)
            finally:
                report_lies(chat, output)

    return run(connected)


def report_lies(chat: Chat, output: Output) -> None:
    """Say on stderr which replicas contradicted what f+1 of them signed, and keep what proves it to others."""
    for evidence in chat.evidence:
        kept = keep_proof(chat.client.group, evidence)
        output.remark(f"{in_words(chat.client.group, evidence)}; {kept}")
    for replica, count in sorted(chat.lies().items()):
        times = "once" if count == 1 else f"{count} times"
        output.remark(f"warning: replica {replica} contradicted the others {times}; its statements were not believed")


# -- messages --------------------------------------------------------------------------------------------------


def message_record(message: Message) -> dict[str, Any]:
    return {
        "room": message.room,
        "index": message.index,
        "author": message.author,
        "kind": message.kind.value,
        "body": message.body,
        "reply_to": message.reply_to,
        "time_ms": message.time,
        "claimed_ms": message.claimed_ms,
        "sequence": message.sequence,
    }


def _one_message(body: str) -> str:
    """A body that cannot pass for other lines: continuation lines are set in, and reversed text is shown as it is."""
    return body.replace("\n", "\n    ").translate(BIDI_CONTROLS)


def message_text(message: Message) -> Text:
    """One message as a line: when, where, who, what. Colours by author."""
    when = datetime.fromtimestamp(message.shown_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M")
    text = Text()
    text.append(f"{when} ", style="dim")
    text.append(f"#{message.room} {message.index} ", style="dim")
    colour = AUTHOR_COLOURS[sum(message.author.encode()) % len(AUTHOR_COLOURS)]
    if message.kind is MessageKind.ACTION:
        text.append(f"* {message.author} ", style=colour)
    else:
        text.append(f"<{message.author}> ", style=colour)
    if message.reply_to is not None:
        text.append(f"[to {message.reply_to}] ", style="dim")
    text.append(_one_message(message.body))
    return text
