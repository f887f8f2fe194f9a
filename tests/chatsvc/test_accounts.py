"""Accounts, and devices that come and go."""

from __future__ import annotations

import pytest

from chatsvc.application.bearer import Purpose, prove
from chatsvc.application.limits import ChatLimits
from chatsvc.application.operations import (
    AddDevice,
    InviteDevice,
    Operation,
    Post,
    Recover,
    Register,
    RevokeDevice,
    RotateDevice,
    SetDisplay,
    SetRecovery,
)
from chatsvc.application.results import Applied, ErrorCode, Registered
from chatsvc.application.schema import ACCOUNT_DEVICES, ACCOUNTS, DEVICE_INVITATIONS, DEVICES, AccountRow, DeviceRow
from crypto.signing import Ed25519Signer, PublicKey, SecretSeed
from pbft.core.types import Milliseconds
from tests.chatsvc.fakes import ALICE, BOB, CAROL, NOON, Service
from tests.chatsvc.scenes import apply, garden, refused, table, why

HOUR_MS = 3_600_000
LATER = Milliseconds(NOON + HOUR_MS)
INVITATION, RECOVERY, OTHER = (Ed25519Signer(SecretSeed(bytes([number]) * 32)) for number in (1, 2, 3))
PHONE = PublicKey(b"P" * 32)
TABLET = PublicKey(b"T" * 32)
FOURTH = PublicKey(b"4" * 32)


def add(device: PublicKey, key: Ed25519Signer = INVITATION, label: str = "") -> AddDevice:
    return AddDevice(key.public_key, prove(key, Purpose.DEVICE, device), label)


def recovering(device: PublicKey, name: str = "Alice", key: Ed25519Signer = RECOVERY) -> Recover:
    return Recover(name, prove(key, Purpose.RECOVERY, device))


def rotating(old: Ed25519Signer, new: PublicKey) -> RotateDevice:
    return RotateDevice(old.public_key, prove(old, Purpose.ROTATION, new))


def alice_has_a_phone(limits: ChatLimits | None = None) -> Service:
    service = garden(limits)
    apply(service, ALICE, InviteDevice(INVITATION.public_key, LATER))
    assert isinstance(service.do(PHONE, add(PHONE, label="phone")), Registered)
    return service


def device(service: Service, key: PublicKey) -> DeviceRow:
    row = service.rows.get(DEVICES, (key,))
    assert row is not None
    return DeviceRow.from_row(row)


def account(service: Service, name: str = "alice") -> AccountRow:
    row = service.rows.get(ACCOUNTS, (name,))
    assert row is not None
    return AccountRow.from_row(row)


def test_a_name_is_given_to_a_device(empty: Service) -> None:
    assert empty.do(ALICE, Register("Alice", RECOVERY.public_key, "desk")) == Registered("Alice")  # type: ignore[arg-type]
    at = Milliseconds(NOON + 1000)
    assert table(empty, ACCOUNTS) == {
        ("alice",): ("Alice", "", at, RECOVERY.public_key, b"", 1, 1, 0, 0, 0),
    }
    assert table(empty, DEVICES) == {(ALICE,): ("alice", "Alice", "desk", at, None)}
    assert table(empty, ACCOUNT_DEVICES) == {("alice", 0): (ALICE,)}
    writes = empty.rows.writes
    assert isinstance(empty.do(ALICE, Register("ALICE")), Registered)
    assert empty.rows.writes == writes, "nothing changes"


@pytest.mark.parametrize(
    ("device", "operation", "code"),
    [
        (ALICE, Register("Alicia"), ErrorCode.ALREADY_REGISTERED),
        (PHONE, Register("Alice"), ErrorCode.NAME_TAKEN),
        (PHONE, Register("\uff21LICE"), ErrorCode.NAME_TAKEN),
        (BOB, Register("Alice"), ErrorCode.ALREADY_REGISTERED),
        (PHONE, Register("Carol Danvers"), ErrorCode.BAD_NAME),
        (ALICE, Register(""), ErrorCode.BAD_NAME),
        (PHONE, Register("x" * 8000), ErrorCode.BAD_NAME),
        (PHONE, Register("new", None, "a\nb"), ErrorCode.BAD_TEXT),
        (PHONE, SetDisplay("x"), ErrorCode.NOT_REGISTERED),
        (ALICE, SetDisplay("\u202e"), ErrorCode.BAD_TEXT),
        (PHONE, SetRecovery(None), ErrorCode.NOT_REGISTERED),
        (ALICE, InviteDevice(INVITATION.public_key, NOON), ErrorCode.BAD_TIME),
        (ALICE, InviteDevice(INVITATION.public_key, Milliseconds(NOON + 31 * 24 * HOUR_MS)), ErrorCode.BAD_TIME),
        (PHONE, add(PHONE), ErrorCode.NO_SUCH_INVITATION),
        (BOB, add(BOB), ErrorCode.ALREADY_REGISTERED),
        (ALICE, RevokeDevice(ALICE), ErrorCode.LAST_DEVICE),
        (ALICE, RevokeDevice(BOB), ErrorCode.NO_SUCH_DEVICE),
        (ALICE, RevokeDevice(PHONE), ErrorCode.NO_SUCH_DEVICE),
        (PHONE, recovering(PHONE), ErrorCode.NO_RECOVERY_KEY),
        (PHONE, recovering(PHONE, "nobody"), ErrorCode.NO_SUCH_ACCOUNT),
        (BOB, recovering(BOB), ErrorCode.ALREADY_REGISTERED),
        (ALICE, RotateDevice(BOB, prove(OTHER, Purpose.ROTATION, ALICE)), ErrorCode.ALREADY_REGISTERED),
        (PHONE, RotateDevice(ALICE, prove(OTHER, Purpose.ROTATION, PHONE)), ErrorCode.BAD_PROOF),
        (PHONE, rotating(OTHER, PHONE), ErrorCode.NO_SUCH_DEVICE),
    ],
)
def test_what_is_refused(device: PublicKey, operation: Operation, code: ErrorCode) -> None:
    assert why(garden(), device, operation) is code


def test_display_and_recovery_are_set_and_taken_back() -> None:
    service = garden()
    apply(service, ALICE, SetDisplay("Alice L."))
    apply(service, ALICE, SetRecovery(RECOVERY.public_key))
    assert (account(service).display, account(service).recovery) == ("Alice L.", RECOVERY.public_key)
    apply(service, ALICE, SetDisplay(""))
    apply(service, ALICE, SetRecovery(None))
    assert (account(service).display, account(service).recovery) == ("", b"")


def test_an_invited_device_speaks_for_the_account() -> None:
    service = alice_has_a_phone()
    assert device(service, PHONE)[:3] == ("alice", "Alice", "phone")
    assert service.say(PHONE, "from my phone").index == 0
    assert (account(service).device_count, account(service).active_count) == (2, 2)
    assert table(service, ACCOUNT_DEVICES)["alice", 1] == (PHONE,)


def test_an_invitation_works_once_and_till_it_expires() -> None:
    service = alice_has_a_phone()
    assert why(service, TABLET, add(TABLET)) is ErrorCode.NO_SUCH_INVITATION
    apply(service, ALICE, InviteDevice(INVITATION.public_key, LATER))
    assert why(service, TABLET, add(TABLET), time=LATER) is ErrorCode.NO_SUCH_INVITATION
    assert isinstance(service.do(TABLET, add(TABLET), time=Milliseconds(LATER - 1)), Registered)
    assert table(service, DEVICE_INVITATIONS) == {}


def test_who_sees_an_invitation_being_used_cannot_use_it() -> None:
    service = garden()
    apply(service, ALICE, InviteDevice(INVITATION.public_key, LATER))
    seen = add(PHONE)
    assert why(service, TABLET, seen) is ErrorCode.BAD_PROOF
    assert (
        why(service, TABLET, AddDevice(seen.invitation, prove(OTHER, Purpose.DEVICE, TABLET))) is ErrorCode.BAD_PROOF
    )


def test_a_second_invitation_replaces_the_first() -> None:
    service = garden()
    apply(service, ALICE, InviteDevice(INVITATION.public_key, LATER))
    apply(service, ALICE, InviteDevice(OTHER.public_key, LATER))
    assert why(service, PHONE, add(PHONE)) is ErrorCode.NO_SUCH_INVITATION
    assert isinstance(service.do(PHONE, add(PHONE, OTHER)), Registered)


def test_an_invitation_cannot_be_taken_over() -> None:
    """Else who sees it on its way would have the new device added to an account of its own."""
    service = garden()
    apply(service, BOB, InviteDevice(INVITATION.public_key, LATER))
    assert why(service, ALICE, InviteDevice(INVITATION.public_key, LATER)) is ErrorCode.NOT_ALLOWED


def test_a_revoked_device_is_refused_for_ever() -> None:
    service = alice_has_a_phone()
    apply(service, ALICE, RevokeDevice(PHONE))
    revoked_ms = device(service, PHONE).revoked_ms
    assert revoked_ms is not None
    assert account(service).active_count == 1
    apply(service, ALICE, InviteDevice(OTHER.public_key, LATER))
    for operation in (Post(room="garden", body="hi"), Register("Alice"), Register("New"), add(PHONE, OTHER)):
        assert why(service, PHONE, operation) is ErrorCode.DEVICE_REVOKED
    apply(service, ALICE, RevokeDevice(PHONE))
    assert device(service, PHONE).revoked_ms == revoked_ms, "revoked once"
    assert service.application.knows(service.rows, PHONE)


def test_revoking_withdraws_the_open_invitation_too() -> None:
    """The device that is not trusted any longer may have made it."""
    service = alice_has_a_phone()
    apply(service, PHONE, InviteDevice(OTHER.public_key, LATER))
    apply(service, ALICE, RevokeDevice(PHONE))
    assert why(service, TABLET, add(TABLET, OTHER)) is ErrorCode.NO_SUCH_INVITATION


def test_a_device_may_revoke_itself_while_there_is_another() -> None:
    service = alice_has_a_phone()
    apply(service, PHONE, RevokeDevice(PHONE))
    assert why(service, ALICE, RevokeDevice(ALICE)) is ErrorCode.LAST_DEVICE


def test_a_rotated_key_takes_the_place_of_the_old_one() -> None:
    service = garden()
    assert isinstance(service.do(OTHER.public_key, Register("Zoe", None, "desk")), Registered)
    rotate = rotating(OTHER, PHONE)
    assert why(service, TABLET, rotate) is ErrorCode.BAD_PROOF, "it names the device that takes the place"
    assert service.do(PHONE, rotate) == Applied()
    assert why(service, OTHER.public_key, SetDisplay("x")) is ErrorCode.DEVICE_REVOKED
    assert why(service, TABLET, rotating(OTHER, TABLET)) is ErrorCode.DEVICE_REVOKED
    assert why(service, PHONE, rotate) is ErrorCode.ALREADY_REGISTERED
    apply(service, PHONE, SetDisplay("new key"))
    zoe = account(service, "zoe")
    assert (zoe.device_count, zoe.active_count) == (2, 1)


def test_recovery_leaves_one_device() -> None:
    service = alice_has_a_phone()
    apply(service, ALICE, SetRecovery(RECOVERY.public_key))
    apply(service, PHONE, InviteDevice(OTHER.public_key, LATER))
    assert why(service, TABLET, recovering(TABLET, key=OTHER)) is ErrorCode.BAD_PROOF
    assert why(service, CAROL, recovering(TABLET)) is ErrorCode.ALREADY_REGISTERED
    assert service.do(TABLET, recovering(TABLET, "ALICE")) == Registered("Alice")  # type: ignore[arg-type]
    for lost in (ALICE, PHONE):
        assert why(service, lost, SetDisplay("mine")) is ErrorCode.DEVICE_REVOKED
    apply(service, TABLET, SetDisplay("mine"))
    assert account(service)[5:7] == (3, 1)
    assert table(service, DEVICE_INVITATIONS) == {}


def test_devices_are_counted() -> None:
    service = alice_has_a_phone(ChatLimits(devices_per_account=2, device_keys_per_account=3))
    apply(service, ALICE, InviteDevice(INVITATION.public_key, LATER))
    rejected = refused(service, TABLET, add(TABLET))
    assert (rejected.code, "has 2 devices" in rejected.detail) == (ErrorCode.TOO_MANY, True)
    apply(service, ALICE, RevokeDevice(PHONE))
    apply(service, ALICE, InviteDevice(INVITATION.public_key, LATER))
    assert isinstance(service.do(TABLET, add(TABLET)), Registered)
    apply(service, ALICE, RevokeDevice(TABLET))
    apply(service, ALICE, InviteDevice(INVITATION.public_key, LATER))
    rejected = refused(service, FOURTH, add(FOURTH))
    assert (rejected.code, "had 3 device keys" in rejected.detail) == (ErrorCode.TOO_MANY, True)


def test_a_thief_that_uses_up_the_keys_does_not_keep_the_account() -> None:
    service = garden(ChatLimits(device_keys_per_account=3))
    keys = [Ed25519Signer(SecretSeed(bytes([number]) * 32)) for number in (10, 11, 12, 13)]
    assert isinstance(service.do(keys[0].public_key, Register("Zoe", RECOVERY.public_key)), Registered)
    for old, new in ((0, 1), (1, 2)):
        assert service.do(keys[new].public_key, rotating(keys[old], keys[new].public_key)) == Applied()
    assert why(service, keys[3].public_key, rotating(keys[2], keys[3].public_key)) is ErrorCode.TOO_MANY
    for number in range(3):
        mine = PublicKey(bytes([100 + number]) * 32)
        assert isinstance(service.do(mine, recovering(mine, "zoe")), Registered)
    assert account(service, "zoe")[5:7] == (6, 1)
    rejected = refused(service, TABLET, recovering(TABLET, "zoe"))
    assert (rejected.code, "had 6 device keys" in rejected.detail) == (ErrorCode.TOO_MANY, True)
