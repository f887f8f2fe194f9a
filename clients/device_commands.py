"""Commands about the devices of one's account."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

from chatsvc.application.bearer import Purpose
from chatsvc.application.results import Applied, ErrorCode
from clients import times
from clients.account_commands import ask_code
from clients.addressing import device_of
from clients.codes import new_code
from clients.console import COMMON, Common, Output, Words, ask_passphrase, open_chat, run, with_chat
from clients.identity import OpenIdentity, default_identity_path, open_identity, write_identity
from clients.sdk import Chat, ChatError, Done
from crypto.files import PRIVATE_MODE, atomic_write, sync_directory
from crypto.signing import Ed25519Signer


def invite(*, valid: str = "15m", common: Common = COMMON) -> int:
    """Show a code with which another device can be added to your account, once.

    On the other device run `quorate identity new`, and then `quorate device add`.
    A new code replaces the one before.

    Example: quorate device invite
    Example: quorate device invite --valid 2h

    Parameters
    ----------
    valid
        How long the code is good for.
    """

    async def body(chat: Chat, output: Output) -> None:
        code, expires_ms = new_code(Purpose.DEVICE), times.now_ms() + times.span_ms(valid)
        done = await chat.invite_device(code, expires_ms)
        output.done(done, f"{code}, until {output.minute(expires_ms)}", code=code, expires_ms=expires_ms)

    return with_chat(common, body)


def add(
    code: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    *,
    label: Words = "",
    common: Common = COMMON,
) -> int:
    """Make this key a device of the account that showed the code.

    Example: quorate device add --label laptop

    Parameters
    ----------
    code
        What `quorate device invite` showed; asked for if it is not given, and then nobody on this machine sees it.
    label
        What to call this device.
    """

    async def body() -> None:
        given = ask_code("Code of the invitation") if code is None else code
        async with open_chat(common) as (chat, output):
            done = await chat.add_device(given, label=label)
            output.done(done, f"now a device of {done.value.name}", name=done.value.name)

    return run(body, utc=common.utc)


def list_devices(*, common: Common = COMMON) -> int:
    """List your account's devices, revoked ones too. The one that you use is marked
    with *.

    Example: quorate device list
    """

    async def body(chat: Chat, output: Output) -> None:
        for device in await chat.devices():
            is_mine = device.device == chat.signer.public_key
            record = {
                "device": device.device.hex(),
                "label": device.label,
                "added_ms": device.added_ms,
                "revoked_ms": device.revoked_ms,
                "this": is_mine,
            }
            label = f"  {device.label}" if device.label else ""
            gone = "" if device.revoked_ms is None else f"  (revoked {output.minute(device.revoked_ms)})"
            mark = "*" if is_mine else " "
            since = output.minute(device.added_ms)
            output.result(record, f"{mark} {device.device.hex()[:16]}  since {since}{label}{gone}")

    return with_chat(common, body)


def revoke(device: str, *, common: Common = COMMON) -> int:
    """Refuse everything that a device of yours signs from now on: it was lost, or you
    sell it. There is no way back.

    Example: quorate device revoke laptop
    Example: quorate device revoke 3f2a91

    Parameters
    ----------
    device
        Its label, or the first characters of its key: four or more.
    """

    async def body(chat: Chat, output: Output) -> None:
        found = device_of(await chat.devices(), device)
        done = await chat.revoke(found.device)
        name = found.label or found.device.hex()[:16]
        output.done(done, f"{name} is revoked", device=found.device.hex(), label=found.label)

    return with_chat(common, body)


def rotate(*, common: Common = COMMON) -> int:
    """Put a new key in the place of this device's. The old one is refused from then
    on.

    The new key is written beside the old one, to FILE.new, and takes its place
    once the replicas have accepted it. If that was interrupted, run this again: it
    goes on with the same new key. The passphrase stays the same. The old key is kept
    in FILE.old: other groups go on knowing you by it until you rotate it there too.

    Example: quorate device rotate
    """

    async def body() -> None:
        path = common.identity or default_identity_path()
        old = open_identity(path, _ask)
        waiting = path.with_name(f"{path.name}.new")
        new = _new_key(waiting, old)
        output = Output(as_json=common.json, utc=common.utc)
        done = await _exchange(common, old.signer, new)
        kept = await trio.to_thread.run_sync(_exchange_files, path, waiting)
        record = {"device": new.public_key.hex(), "path": str(path), "old_path": str(kept)}
        text = f"{path}: your new key is {new.public_key.hex()}"
        if done is None:
            output.result(record, f"{text}; the replicas had accepted it before")
        else:
            output.done(done, text, **record)
        output.remark(
            f"the old key is in {kept}; in other groups it is still yours: rotate it there with --identity {kept}"
        )

    return run(body, utc=common.utc)


def _exchange_files(path: Path, waiting: Path) -> Path:
    """Put the new key in the old one's place. Returns where the old one is kept; none kept before is lost."""
    data, number = path.read_bytes(), 1
    kept = path.with_name(f"{path.name}.old")
    while kept.exists() and kept.read_bytes() != data:
        number += 1
        kept = path.with_name(f"{path.name}.old{number}")
    atomic_write(kept, data, PRIVATE_MODE)
    waiting.replace(path)
    sync_directory(path.parent)
    return kept


def _ask() -> str:
    return ask_passphrase("Passphrase of your identity")


def _new_key(waiting: Path, old: OpenIdentity) -> Ed25519Signer:
    """Return the key that waits to take the old one's place. Raises KeyFileError."""
    if waiting.exists():
        return open_identity(waiting, lambda: old.passphrase or _ask()).signer
    new = Ed25519Signer.generate()
    write_identity(waiting, new, passphrase=old.passphrase)
    return new


async def _exchange(common: Common, old: Ed25519Signer, new: Ed25519Signer) -> Done[Applied] | None:
    """Have the new key accepted; None if it was before. Raises ChatError if it is not."""
    async with open_chat(common, new) as (chat, _):
        try:
            return await chat.rotate(old)
        except ChatError as error:
            if error.code is not ErrorCode.ALREADY_REGISTERED:
                raise
            await chat.whoami()
            return None
