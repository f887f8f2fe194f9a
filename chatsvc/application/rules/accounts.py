"""Accounts, and the devices that speak for them."""

from __future__ import annotations

from typing import Final, cast

from chatsvc.application.bearer import Purpose, check
from chatsvc.application.bodies import BadText
from chatsvc.application.names import AccountKey, BadName, DisplayName, parse_account
from chatsvc.application.operations import (
    AddDevice,
    InviteDevice,
    Recover,
    Register,
    RevokeDevice,
    RotateDevice,
    SetDisplay,
    SetRecovery,
)
from chatsvc.application.results import Applied, ErrorCode, Registered, Result
from chatsvc.application.rules.rule import Rules
from chatsvc.application.schema import (
    ACCOUNT_DEVICES,
    ACCOUNTS,
    DEVICE_INVITATIONS,
    DEVICES,
    AccountRow,
    DeviceRow,
)
from chatsvc.application.state import Account, Refusal, State, find_account
from chatsvc.application.texts import parse_display, parse_label
from crypto.signing import PublicKey
from pbft.core.types import Milliseconds

_DAY_MS = 86_400_000


def register(state: State, operation: Register) -> Result:
    try:
        name = parse_account(operation.name)
    except BadName as error:
        raise Refusal(ErrorCode.BAD_NAME, str(error)) from error
    label = _label(operation.label)
    row = state.rows.get(DEVICES, (state.call.device,))
    if row is not None and DeviceRow.from_row(row).account == name.key and DeviceRow.from_row(row).revoked_ms is None:
        return Registered(DeviceRow.from_row(row).name)
    _refuse_known(state)
    if state.rows.get(ACCOUNTS, (name.key,)) is not None:
        raise Refusal(
            ErrorCode.NAME_TAKEN, "another account has this name: choose another one, or add this device to yours"
        )
    account = AccountRow(
        name=name.display,
        display="",
        registered_ms=state.call.time,
        recovery=operation.recovery or b"",
        invitation=b"",
        device_count=0,
        active_count=0,
        rooms_created=0,
        room_count=0,
        invitation_count=0,
    )
    _save(state, _with_device(state, Account(name.key, account), state.call.device, label))
    return Registered(name.display)


def set_display(state: State, operation: SetDisplay) -> Result:
    account = _callers(state)
    try:
        display = parse_display(operation.display)
    except BadText as error:
        raise Refusal(ErrorCode.BAD_TEXT, str(error)) from error
    if display != account.row.display:
        _save(state, _changed(account, account.row._replace(display=display)))
    return Applied()


def set_recovery(state: State, operation: SetRecovery) -> Result:
    account = _callers(state)
    recovery = operation.recovery or b""
    if recovery != account.row.recovery:
        _save(state, _changed(account, account.row._replace(recovery=recovery)))
    return Applied()


def invite_device(state: State, operation: InviteDevice) -> Result:
    account = _callers(state)
    days = state.limits.invitation_days
    if not state.call.time < operation.expires_ms <= state.call.time + days * _DAY_MS:
        raise Refusal(ErrorCode.BAD_TIME, f"an invitation expires at a moment within the next {days} days")
    known = state.rows.get(DEVICE_INVITATIONS, (operation.invitation,))
    if known is not None and known[0] != account.key:
        # Whoever saw it on its way could otherwise have the other's new device added to an account of its own.
        raise Refusal(ErrorCode.NOT_ALLOWED, "another account has made this invitation: make a new one")
    if account.row.invitation:
        state.rows.delete(DEVICE_INVITATIONS, (account.row.invitation,))
    state.rows.put(DEVICE_INVITATIONS, (operation.invitation,), (account.key, operation.expires_ms))
    _save(state, _changed(account, account.row._replace(invitation=operation.invitation)))
    return Applied()


def add_device(state: State, operation: AddDevice) -> Result:
    label = _label(operation.label)
    _refuse_known(state)
    invitation = state.rows.get(DEVICE_INVITATIONS, (operation.invitation,))
    if invitation is None or cast("int", invitation[1]) <= state.call.time:
        raise Refusal(
            ErrorCode.NO_SUCH_INVITATION,
            "this invitation is not known, was used, or has expired: make a new one on a device of the account",
        )
    check(operation.invitation, Purpose.DEVICE, state.call.device, operation.proof)
    account = _account(state, AccountKey(cast("str", invitation[0])))
    _refuse_more_keys(state, account.row)
    if account.row.active_count >= state.limits.devices_per_account:
        raise Refusal(
            ErrorCode.TOO_MANY,
            f"{account.row.name} has {state.limits.devices_per_account} devices, the most it can: revoke one first",
        )
    account = _without_invitation(state, account)
    _save(state, _with_device(state, account, state.call.device, label))
    return Registered(account.row.name)


def rotate_device(state: State, operation: RotateDevice) -> Result:
    """By the new key: nothing that it had said while it had no account can then be carried out again."""
    _refuse_known(state)
    row = state.rows.get(DEVICES, (operation.device,))
    if row is None:
        raise Refusal(ErrorCode.NO_SUCH_DEVICE, "the key that is to be replaced has no account")
    check(operation.device, Purpose.ROTATION, state.call.device, operation.proof)
    old = DeviceRow.from_row(row)
    if old.revoked_ms is not None:
        raise Refusal(ErrorCode.DEVICE_REVOKED, f"the key that is to be replaced was revoked by {old.name}")
    account = _account(state, old.account)
    _refuse_more_keys(state, account.row)
    account = _without_device(state, _without_invitation(state, account), operation.device)
    _save(state, _with_device(state, account, state.call.device, old.label))
    return Applied()


def revoke_device(state: State, operation: RevokeDevice) -> Result:
    account = _callers(state)
    row = state.rows.get(DEVICES, (operation.device,))
    if row is None or DeviceRow.from_row(row).account != account.key:
        raise Refusal(ErrorCode.NO_SUCH_DEVICE, f"{account.row.name} has no such device")
    if DeviceRow.from_row(row).revoked_ms is not None:
        return Applied()
    if account.row.active_count == 1:
        raise Refusal(
            ErrorCode.LAST_DEVICE,
            f"this is the only device of {account.row.name}: add another one first, or rotate its key",
        )
    # The device that is not trusted any longer may have made it.
    account = _without_invitation(state, account)
    _save(state, _without_device(state, account, operation.device))
    return Applied()


def recover(state: State, operation: Recover) -> Result:
    """All devices before are revoked: at most twice `device_keys_per_account` rows. A thief that has used up the keys
    of an account must not keep it by that."""
    label = _label(operation.label)
    _refuse_known(state)
    account = find_account(state.rows, operation.name)
    if not account.row.recovery:
        raise Refusal(ErrorCode.NO_RECOVERY_KEY, f"{account.row.name} has no recovery key: it cannot be recovered")
    check(PublicKey(account.row.recovery), Purpose.RECOVERY, state.call.device, operation.proof)
    _refuse_more_keys(state, account.row, most=2 * state.limits.device_keys_per_account)
    account = _without_invitation(state, account)
    for number in range(account.row.device_count):
        entry = state.rows.get(ACCOUNT_DEVICES, (account.key, number))
        if entry is None:
            raise KeyError(account.key, number)
        device = PublicKey(cast("bytes", entry[0]))
        if _device(state, device).revoked_ms is None:
            account = _without_device(state, account, device)
    _save(state, _with_device(state, account, state.call.device, label))
    return Registered(account.row.name)


def _label(text: str) -> str:
    try:
        return parse_label(text)
    except BadText as error:
        raise Refusal(ErrorCode.BAD_TEXT, str(error)) from error


def _callers(state: State) -> Account:
    return _account(state, state.caller().account)


def _account(state: State, key: AccountKey) -> Account:
    """Return an account that is known to be there."""
    row = state.rows.get(ACCOUNTS, (key,))
    if row is None:
        raise KeyError(key)
    return Account(key, AccountRow.from_row(row))


def _device(state: State, device: PublicKey) -> DeviceRow:
    """Return a device that is known to be there."""
    row = state.rows.get(DEVICES, (device,))
    if row is None:
        raise KeyError(device)
    return DeviceRow.from_row(row)


def _refuse_known(state: State) -> None:
    """Raise Refusal when the calling device has an account, or had one."""
    row = state.rows.get(DEVICES, (state.call.device,))
    if row is not None:
        state.caller()
        name: DisplayName = DeviceRow.from_row(row).name
        raise Refusal(ErrorCode.ALREADY_REGISTERED, f"this device speaks for {name}: use another key")


def _refuse_more_keys(state: State, account: AccountRow, *, most: int | None = None) -> None:
    most = state.limits.device_keys_per_account if most is None else most
    if account.device_count >= most:
        raise Refusal(
            ErrorCode.TOO_MANY,
            f"{account.name} has had {most} device keys, the most it can: revoked ones count too, for ever",
        )


def _changed(account: Account, row: AccountRow) -> Account:
    return Account(account.key, row)


def _save(state: State, account: Account) -> None:
    state.rows.put(ACCOUNTS, (account.key,), tuple(account.row))


def _with_device(state: State, account: Account, device: PublicKey, label: str) -> Account:
    """Add a device. The account returned is to be saved by the caller; so below."""
    row = account.row
    added = DeviceRow(account.key, row.name, label, state.call.time, None)
    state.rows.put(DEVICES, (device,), tuple(added))
    state.rows.put(ACCOUNT_DEVICES, (account.key, row.device_count), (device,))
    return _changed(account, row._replace(device_count=row.device_count + 1, active_count=row.active_count + 1))


def _without_device(state: State, account: Account, device: PublicKey) -> Account:
    revoked_ms: Milliseconds = state.call.time
    state.rows.put(DEVICES, (device,), tuple(_device(state, device)._replace(revoked_ms=revoked_ms)))
    return _changed(account, account.row._replace(active_count=account.row.active_count - 1))


def _without_invitation(state: State, account: Account) -> Account:
    if account.row.invitation:
        state.rows.delete(DEVICE_INVITATIONS, (account.row.invitation,))
    return _changed(account, account.row._replace(invitation=b""))


RULES: Final[Rules] = {
    Register: register,
    SetDisplay: set_display,
    SetRecovery: set_recovery,
    InviteDevice: invite_device,
    AddDevice: add_device,
    RotateDevice: rotate_device,
    RevokeDevice: revoke_device,
    Recover: recover,
}
