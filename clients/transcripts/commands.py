"""`quorate receipt`, `quorate export`, `quorate verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import trio
from cyclopts import Parameter

from clients.addressing import room_of
from clients.console import COMMON, Common, Output, load_group, run, with_chat
from clients.import_command import import_progress
from clients.sdk import Chat, ClientFailure, ExitCode
from clients.transcripts.checking import Proven, check_file, check_proof
from clients.transcripts.exporting import export as export_room
from clients.transcripts.exporting import receipt as receipt_of
from clients.transcripts.proof import (
    PROOF_BYTES_MAX,
    Form,
    NotProven,
    Proof,
    decode_proof,
    encode_proof,
    is_proof,
)
from clients.transcripts.rendering import render, room_title
from clients.transcripts.words import in_record, in_words, refusal_in_words, refusal_record
from crypto.files import PRIVATE_MODE, atomic_write
from pbft.core.group import Group

PROGRESS_FROM = 500
"""Messages from which on it is shown how far an export is."""
LOOK_BYTES = 64


def proof_path(file: Path) -> Path:
    return file.with_name(f"{file.name}.proof")


def receipt(
    room: str,
    index: int,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    common: Common = COMMON,
) -> int:
    """Make a receipt: one message, and what replicas signed about it. Anybody who has the group file can verify it.

    Example: quorate receipt ubuntu 12 > message-12.receipt

    Parameters
    ----------
    room
        The room's name, with or without #, or @NAME for the conversation with somebody.
    index
        The message's index in the room.
    output
        Write to this file rather than to stdout.
    """
    if output is None and sys.stdout.isatty():
        msg = "a receipt is not for reading: write it to a file with > FILE or -o FILE, then: quorate verify FILE"
        return _usage(msg)

    async def body(chat: Chat, out: Output) -> None:
        proof = await receipt_of(chat, await room_of(chat, room), index)
        _checked(chat.client.group, proof)
        data = encode_proof(proof)
        if output is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        await _write(output, data)
        record = {"room": proof.room, "index": index, "file": str(output), "bytes": len(data)}
        out.result(record, f"receipt of message {index} of {room_title(proof.room)} in {output}")

    return with_chat(common, body)


def export(
    room: str,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    first: Annotated[int | None, Parameter(name="--from")] = None,
    last: Annotated[int | None, Parameter(name="--to")] = None,
    form: Annotated[Literal["jsonl", "html", "text"], Parameter(name="--format")] = "text",
    common: Common = COMMON,
) -> int:
    """Write a room's messages to a file, and beside it FILE.proof, by which anybody can verify it offline.

    Verify it with: quorate verify FILE. Both files are needed, and the group file; no network and no identity.

    Example: quorate export ubuntu --format html -o ubuntu.html

    Parameters
    ----------
    room
        The room's name, with or without #, or @NAME for the conversation with somebody.
    output
        The file to write; the proof is written to the same name with .proof behind it.
    first
        Index of the first message; the oldest that the room keeps unless given.
    last
        Index of the last message; the newest unless given.
    form
        text, html, or jsonl for programs: one message on each line, with everything there is to it.
    """

    async def body(chat: Chat, out: Output) -> None:
        name = await room_of(chat, room)
        with import_progress(out, transient=True) as bar:
            task = bar.add_task(room, total=None, visible=False)

            def progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, visible=total >= PROGRESS_FROM)

            proof = await export_room(chat, name, Form(form), first=first, last=last, progress=progress)
        proven = _checked(chat.client.group, proof)
        text = "".join(piece.text for piece in render(proven.form, proven.room, proven.first, proven.messages))
        await _write(proof_path(output), encode_proof(proof))
        await _write(output, text.encode())
        record = in_record(chat.client.group, proven) | {"file": str(output), "proof": str(proof_path(output))}
        summary = f"messages {proven.first} to {proven.end - 1} of {room_title(proven.room)}"
        out.result(record, f"{summary} in {output}, the proof in {proof_path(output).name}")
        if first is not None and first < proven.first:
            out.remark(f"messages before {proven.first} are not kept any more")

    return with_chat(common, body)


def verify(file: Path, *, common: Common = COMMON) -> int:
    """Verify a transcript or a receipt with nothing but the group file: no network, no identity.

    Exits with 0 if all of it is proven, with 4 if anything is not as the replicas signed it, and says what.

    Example: quorate verify ubuntu.html --group my-group/group.toml

    Parameters
    ----------
    file
        A receipt, or a transcript that has its FILE.proof beside it.
    """

    async def body() -> int:
        group = load_group(common).directory().group
        output = Output(as_json=common.json)
        try:
            proven = await trio.to_thread.run_sync(verify_file, group, file)
        except NotProven as error:
            output.result(refusal_record(error), refusal_in_words(error))
            return ExitCode.REJECTED
        output.result(in_record(group, proven), in_words(group, proven))
        return ExitCode.ACCEPTED

    return run(body)


def verify_file(group: Group, file: Path) -> Proven:
    """Raises NotProven, and ClientFailure for files that are not there."""
    beside = proof_path(file)
    if is_proof(_read(file, LOOK_BYTES)):
        proof = decode_proof(_read(file, PROOF_BYTES_MAX))
        proven = check_proof(group, proof)
        if proof.form is not Form.RECEIPT:
            msg = f"{file} is the proof of a transcript: give the transcript, named the same without .proof"
            raise ClientFailure(msg, exit_code=ExitCode.USAGE)
        return proven
    if not beside.exists():
        raise NotProven(f"{file}", f"it is no receipt that can be read, nor a transcript: {beside} is missing")
    proof = decode_proof(_read(beside, PROOF_BYTES_MAX))
    if proof.form is Form.RECEIPT:
        raise NotProven("the header of the proof", f"{beside} is a receipt, and proves no file")
    proven = check_proof(group, proof)
    check_file(proven, _read(file, PROOF_BYTES_MAX))
    return proven


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max)
    except OSError as error:
        raise ClientFailure(f"{path}: {error.strerror or error}", exit_code=ExitCode.USAGE) from error


def _checked(group: Group, proof: Proof) -> Proven:
    """What was just read must convince others as well."""
    try:
        return check_proof(group, proof)
    except NotProven as error:
        msg = f"what the replicas signed does not prove what they answered: {error}"
        raise ClientFailure(msg, exit_code=ExitCode.DISAGREE) from error


async def _write(path: Path, data: bytes) -> None:
    """For its owner alone: the room may be private."""
    try:
        await trio.to_thread.run_sync(atomic_write, path, data, PRIVATE_MODE)
    except OSError as error:
        raise ClientFailure(f"{path}: {error.strerror or error}", exit_code=ExitCode.USAGE) from error


def _usage(text: str) -> int:
    sys.stderr.write(f"quorate: {text}\n")
    return ExitCode.USAGE
