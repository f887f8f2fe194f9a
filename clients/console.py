"""What all commands share: options, output for people and for programs, and exit codes.

Results go to stdout, everything else to stderr. With --json stdout has one JSON object per line and nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from zlib import crc32

import trio
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.text import Text

from chatsvc.application.answers import Message
from chatsvc.application.schema import MessageKind
from chatsvc.groupfile import GroupFile, GroupFileError, read_group_file
from clients import times
from clients.identity import default_identity_path, read_identity
from clients.markdown import marked_up
from clients.proofs import in_words, keep_proof
from clients.sdk import Chat, ChatError, ClientFailure, Done, ExitCode, Receipt
from crypto.errors import CryptoError
from crypto.signing import Ed25519Signer
from pbft.client.connection import dial_tcp

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
LIMIT_MAX = 1_000_000
"""Of what one command shows; answers come in pages."""
PASSPHRASE_VARIABLE = "QUORATE_PASSPHRASE"  # noqa: S105 - where to look for one
BIDI_CONTROLS = {code: f"<U+{code:04X}>" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
CONTROLS = BIDI_CONTROLS | {
    code: f"<U+{code:04X}>" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029) if chr(code) not in "\n\t"
}
"""What would move a terminal's cursor, or turn what is beside it; shown as what it is."""
EXPLAINED = (ClientFailure, GroupFileError, CryptoError, KeyboardInterrupt, BrokenPipeError)
"""What ends a command with one line and an exit code; anything else is a bug and shows its traceback."""


Flag: TypeAlias = Annotated[bool, Parameter(negative="")]
"""An option that is either there or not."""
Words: TypeAlias = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""A text that may begin with a hyphen."""
Index: TypeAlias = Annotated[int, Parameter(validator=Number(gte=0, lt=2**63))]
"""Of a message in its room, or another place in an order."""
Limit: TypeAlias = Annotated[int, Parameter(validator=Number(gte=1, lte=LIMIT_MAX))]
"""How many of something, of which there may be more."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """Where the group is, who you are, and how to print."""

    group: Annotated[Path | None, Parameter(env_var="QUORATE_GROUP")] = None
    """The group file, or the directory that it is in."""
    identity: Annotated[Path | None, Parameter(env_var="QUORATE_IDENTITY")] = None
    """Your identity file."""
    json: Flag = False
    """One JSON object per line on stdout, for programs."""
    timeout: float = 10.0
    """Seconds to wait for enough replicas, and for an outcome."""
    utc: Flag = False
    """Show and read times in UTC instead of local time."""


COMMON = Common()


class Output:
    """Prints results to stdout and remarks to stderr."""

    def __init__(self, *, as_json: bool, utc: bool = False) -> None:
        self.as_json = as_json
        self.utc = utc
        self.out = Console(file=sys.stdout, highlight=False, emoji=False, soft_wrap=True)
        self.err = Console(file=sys.stderr, highlight=False, emoji=False, soft_wrap=True)

    def result(self, record: dict[str, Any], text: str | Text) -> None:
        """`record` for programs, `text` for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            self.out.print(plain(text) if isinstance(text, str) else text, markup=False)

    def done(self, done: Done[Any], text: str, **record: object) -> None:
        """What was carried out, and what makes it true."""
        self.result(receipt_record(done.receipt, **record), f"{text}, {vouched(done.receipt)}")

    def message(self, message: Message, *, pinned: bool | None = None, **record: object) -> None:
        """`pinned`: None if nobody has asked."""
        text = message_text(message, pinned=bool(pinned), utc=self.utc, marks=self.out.is_terminal)
        known = {} if pinned is None else {"pinned": pinned}
        self.result(message_record(message) | known | record, text)

    def remark(self, text: str) -> None:
        self.err.print(plain(text), markup=False)

    def minute(self, milliseconds: int) -> str:
        return times.minute(milliseconds, utc=self.utc)

    def second(self, milliseconds: int) -> str:
        return times.second(milliseconds, utc=self.utc)


def plain(text: str) -> str:
    """Return the text with nothing in it that a terminal obeys."""
    return text.translate(CONTROLS)


def title(room: str) -> str:
    """Return a room's name as people write it; a direct conversation's begins with @."""
    return room if room.startswith("@") else f"#{room}"


def vouched(receipt: Receipt) -> str:
    """What made it true."""
    replicas = " ".join(str(replica) for replica in receipt.vouchers)
    return f"ordered at {receipt.sequence}, vouched for by replicas {replicas} ({receipt.needed} needed)"


def receipt_record(receipt: Receipt, **fields: object) -> dict[str, object]:
    return {
        **fields,
        "sequence": receipt.sequence,
        "batch_index": receipt.index,
        "vouchers": list(receipt.vouchers),
        "needed": receipt.needed,
    }


def fail(text: str, code: int) -> int:
    sys.stderr.write(f"quorate: {plain(text)}\n")
    return int(code)


def load_group(common: Common) -> GroupFile:
    """Raises GroupFileError, also when nothing says where the group is."""
    if common.group is None:
        raise GroupFileError(Path("no group given"), "use --group PATH or set QUORATE_GROUP=PATH/group.toml")
    return read_group_file(common.group)


def load_identity(common: Common) -> Ed25519Signer:
    """Asks for a passphrase only if the file has one and somebody is there to ask. Raises KeyFileError."""
    prompt = "Passphrase of your identity"
    return read_identity(common.identity or default_identity_path(), passphrase=partial(ask_passphrase, prompt))


def ask_passphrase(prompt: str, variable: str = PASSPHRASE_VARIABLE) -> str:
    """Return what the environment's variable says, or what is typed. Raises ClientFailure if nobody can type it."""
    from_environment = os.environ.get(variable)
    return ask_secret(prompt, f"set {variable}") if from_environment is None else from_environment


def ask_secret(prompt: str, remedy: str) -> str:
    """Return what is typed at the terminal, without showing it. Raises ClientFailure if there is none."""
    if not sys.stdin.isatty():
        msg = f"{prompt[:1].lower()}{prompt[1:]}: nobody is at a terminal to type it: {remedy}"
        raise ClientFailure(msg, exit_code=ExitCode.AUTHENTICATION)
    import getpass  # noqa: PLC0415

    return getpass.getpass(f"{prompt}: ")


def run(body: Callable[[], Awaitable[int | None]], *, utc: bool = False) -> int:
    """Run a command's body and turn what it raises into one line and an exit code."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 50)  # a command lives for seconds, or answers thousands of times: look less often
    try:
        return int(trio.run(body) or 0)
    except BaseExceptionGroup as group:
        return _explain(_first(group), utc=utc)
    except EXPLAINED as error:
        return _explain(error, utc=utc)


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


def _explain(error: BaseException, *, utc: bool) -> int:
    match error:
        case ChatError(retry_ms=int(retry_ms)):
            when = times.second(retry_ms, utc=utc)
            return fail(f"{error}; from {when} on it can be tried again", error.exit_code)
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
        async with open_chat(common) as (chat, output):
            return await body(chat, output)

    return run(connected, utc=common.utc)


@asynccontextmanager
async def open_chat(common: Common, signer: Ed25519Signer | None = None) -> AsyncIterator[tuple[Chat, Output]]:
    """Connect with the user's key, or with another, and report lies that were found at the end."""
    file = load_group(common)
    output = Output(as_json=common.json, utc=common.utc)
    key = load_identity(common) if signer is None else signer
    async with Chat.connect(file.directory(), key, timeout=common.timeout, dial=dial_tcp) as chat:
        try:
            yield chat, output
        finally:
            report_lies(chat, output)


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
        "thread": message.thread,
        "mentions": list(message.mentions),
        "time_ms": message.time,
        "claimed_ms": message.claimed_ms,
        "edits": message.edits,
        "edited_ms": message.edited_ms,
        "deleted_by": message.deleted_by,
        "reactions": {each.reaction: each.count for each in message.reactions},
        "sequence": message.sequence,
        "serial": message.serial,
    }


def author_colour(author: str) -> str:
    """Return the colour of a name, everywhere and always the same."""
    return AUTHOR_COLOURS[crc32(author.casefold().encode()) % len(AUTHOR_COLOURS)]


def message_text(message: Message, *, pinned: bool = False, utc: bool = False, marks: bool = False) -> Text:
    """One message: when, where, who, what, and what became of it. `marks`: show what is marked up as it is meant.

    A body cannot pass for other lines: its further lines are set in, and reversed text is shown as it is.
    A time that the author says, and not the group, is marked as claimed.
    """
    text = Text()
    text.append(f"{times.minute(message.shown_ms, utc=utc)} ", style="dim")
    text.append("(claimed) " if message.claimed_ms is not None else "", style="dim")
    text.append(f"{title(message.room)} {message.index} ", style="dim")
    author = plain(message.author)
    if message.kind is MessageKind.ACTION:
        text.append(f"* {author} ", style=author_colour(message.author))
    else:
        text.append(f"<{author}> ", style=author_colour(message.author))
    if message.thread is not None:
        text.append(f"[{plain(message.thread)}] ", style="dim")
    if message.reply_to is not None:
        text.append(f"[to {message.reply_to}] ", style="dim")
    if message.deleted_by is not None:
        text.append(f"(deleted by {plain(message.deleted_by)})", style="dim italic")
    else:
        text.append_text(_body(message, marks=marks))
    if message.edits:
        text.append(" (edited)", style="dim")
    if pinned:
        text.append(" (pinned)", style="dim")
    for reaction in message.reactions:
        text.append(f" [{plain(reaction.reaction)} {reaction.count}]", style="dim")
    return text


def _body(message: Message, *, marks: bool) -> Text:
    body = plain(message.body)
    if message.kind is MessageKind.POLL:
        question, *options = body.split("\n")
        body = "\n".join([f"poll: {question}", *(f"{n}. {option}" for n, option in enumerate(options, 1))])
    shown = marked_up(body) if marks and message.kind is not MessageKind.POLL else Text(body)
    return Text("\n    ").join(shown.split("\n", allow_blank=True))
