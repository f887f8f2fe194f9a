"""Commands about accounts: names, profiles, and what brings a lost account back."""

from __future__ import annotations

import sys

from chatsvc.application import answers, queries
from chatsvc.application.bearer import Purpose
from chatsvc.application.results import ErrorCode
from clients import times
from clients.codes import new_code
from clients.console import COMMON, Common, Output, Words, ask_secret, open_chat, run, with_chat
from clients.sdk import Chat, ChatError

RECOVERY_ADVICE = (
    "Write the recovery code down and keep it away from this machine: with it `quorate recover` gets the account "
    "back when all devices are lost. It is not shown again."
)


def register(
    name: str,
    *,
    recovery: bool = True,
    label: Words = "",
    common: Common = COMMON,
) -> int:
    """Give your key a name in this group. Names are taken once, whatever their case.

    Shows a recovery code, once: whoever has it can take the account over, and
    nobody else can bring it back when all its devices are lost. Keep it on paper,
    or make no such code with --no-recovery.

    Example: quorate register alice
    Example: quorate register alice --no-recovery --label laptop

    Parameters
    ----------
    name
        1 to 32 characters without spaces.
    recovery
        Make a recovery code.
    label
        What to call this device, for telling it from others of yours later.
    """

    async def body(chat: Chat, output: Output) -> None:
        code = new_code(Purpose.RECOVERY) if recovery and not await _is_registered(chat) else None
        done = await chat.register(name, recovery_code=code, label=label)
        output.done(done, done.value.name, name=done.value.name, recovery_code=code)
        if code is not None and not output.as_json:
            output.result({}, f"recovery code: {code}")
            output.remark(RECOVERY_ADVICE)

    return with_chat(common, body)


async def _is_registered(chat: Chat) -> bool:
    """Whether registering would change nothing: a code made now would be worth nothing."""
    try:
        await chat.whoami()
    except ChatError as error:
        if error.code is ErrorCode.NOT_REGISTERED:
            return False
        raise
    return True


def whoami(*, common: Common = COMMON) -> int:
    """Show the name of your key in this group.

    Example: quorate whoami
    """

    async def body(chat: Chat, output: Output) -> None:
        account = await chat.whoami()
        device = chat.signer.public_key.hex()
        record = account_record(account) | {"device": device}
        output.result(record, f"{account.name}{_display(account)}, device {device}")

    return with_chat(common, body)


def whois(name: str, *, common: Common = COMMON) -> int:
    """Show somebody's account: since when it is there, its device keys, and which
    rooms you can see it in.

    Example: quorate whois bob

    Parameters
    ----------
    name
        The account's name.
    """

    async def body(chat: Chat, output: Output) -> None:
        account = await chat.account(name)
        rooms: list[str] = []
        after: str | None = None
        while True:
            page = await chat.read(queries.ListMemberships(name=name, after=after), answers.MembershipList)
            rooms += [membership.room for membership in page.memberships]
            after = page.next
            if after is None:
                break
        lines = [
            f"{account.name}{_display(account)}, since {output.minute(account.registered_ms)}",
            *(f"  device {device.hex()}" for device in account.devices),
            *([f"  in {' '.join(f'#{room}' for room in rooms)}"] if rooms else []),
        ]
        output.result(account_record(account) | {"rooms": rooms}, "\n".join(lines))

    return with_chat(common, body)


def account_record(account: answers.AccountDetails) -> dict[str, object]:
    return {
        "name": account.name,
        "display": account.display,
        "registered_ms": account.registered_ms,
        "devices": [device.hex() for device in account.devices],
        "has_recovery": account.has_recovery,
    }


def _display(account: answers.AccountDetails) -> str:
    return f" ({account.display})" if account.display else ""


def profile(*, display: Words | None = None, common: Common = COMMON) -> int:
    """Show your profile, or change how you are called beside your name.

    Example: quorate profile --display "Alice Liddell"

    Parameters
    ----------
    display
        How to be called, on one line; empty for nothing.
    """

    async def body(chat: Chat, output: Output) -> None:
        if display is not None:
            done = await chat.set_display(display)
            shown = f"called {display}" if display else "called by your name only"
            output.done(done, shown, display=display)
            return
        account = await chat.whoami()
        has = "has a recovery code" if account.has_recovery else "has no recovery code: `quorate recovery new`"
        count = len(account.devices)
        devices = f"{count} device{'' if count == 1 else 's'}"
        since = output.minute(account.registered_ms)
        output.result(account_record(account), f"{account.name}{_display(account)}, since {since}; {devices}; {has}")

    return with_chat(common, body)


def recovery_new(*, common: Common = COMMON) -> int:
    """Make a new recovery code and show it, once. The one before is worth nothing
    from then on.

    Example: quorate recovery new
    """

    async def body(chat: Chat, output: Output) -> None:
        code = new_code(Purpose.RECOVERY)
        done = await chat.set_recovery(code)
        output.done(done, f"recovery code: {code}", recovery_code=code)
        if not output.as_json:
            output.remark(RECOVERY_ADVICE)

    return with_chat(common, body)


def recovery_drop(*, common: Common = COMMON) -> int:
    """Have no recovery code any more: when all devices are lost, so is the account.

    Example: quorate recovery drop
    """

    async def body(chat: Chat, output: Output) -> None:
        output.done(await chat.set_recovery(None), "no recovery code")

    return with_chat(common, body)


def recover(name: str, *, label: Words = "", common: Common = COMMON) -> int:
    """Get an account back with its recovery code. All its other devices are revoked.

    Asks for the code without showing it, or reads it from stdin. Your key must be
    one that has no account yet: make it with `quorate identity new`. The code
    stays valid: make a new one with `quorate recovery new` if somebody may have
    seen it.

    Example: quorate recover alice

    Parameters
    ----------
    name
        The account's name.
    label
        What to call this device.
    """

    async def body() -> None:
        code = ask_code("Recovery code")
        async with open_chat(common) as (chat, output):
            done = await chat.recover(name, code, label=label)
            output.done(done, f"{done.value.name}, all other devices revoked", name=done.value.name)

    return run(body, utc=common.utc)


def ask_code(prompt: str) -> str:
    """Return a code that is typed, or piped into stdin: an argument would be seen by all users of this machine."""
    if sys.stdin.isatty():
        return ask_secret(prompt, "")
    return sys.stdin.readline(200).strip()


def limits(*, common: Common = COMMON) -> int:
    """Show what the group allows, and how much of it is left to you.

    Example: quorate limits
    """

    async def body(chat: Chat, output: Output) -> None:
        found = await chat.limits()
        left = {"operations_left": found.operations_left, "bytes_left_today": found.bytes_left_today}
        lines = [f"{name:<28} {_limit(name, value)}" for name, value in found.limits]
        lines += [f"{name:<28} {'no limit' if value is None else value}" for name, value in left.items()]
        output.result({"limits": dict(found.limits), **left}, "\n".join(lines))

    return with_chat(common, body)


def _limit(name: str, value: int) -> str:
    if value == 0:
        return "no limit"
    return times.in_words(value * 60_000) if name.endswith("_minutes") else str(value)
