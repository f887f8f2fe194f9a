"""What a user does about its account and its devices."""

from __future__ import annotations

from chatsvc.application import answers, bearer, operations, queries
from chatsvc.application.bearer import BadCode, Purpose
from chatsvc.application.results import Applied, ErrorCode, Registered
from clients.sdk.port import Port
from clients.sdk.values import ChatError, Done
from crypto.signing import Ed25519Signer, PublicKey, Signer
from pbft.core.types import EventIndex, Milliseconds


class AccountCalls(Port):
    """Codes are secrets in the form in which people pass them on: see `clients.codes`."""

    async def register(self, name: str, *, recovery_code: str | None = None, label: str = "") -> Done[Registered]:
        """Give this user's key a name. Again with the same name: nothing changes.

        Whoever has the recovery code may take the account over when its devices are lost.
        """
        recovery = None if recovery_code is None else key_of(recovery_code, Purpose.RECOVERY).public_key
        return await self.write(operations.Register(name, recovery, label), Registered)

    async def whoami(self) -> answers.AccountDetails:
        """The account of this user's key."""
        account = await self.read(queries.WhoAmI(), answers.AccountDetails)
        self._is_registered = True
        return account

    async def account(self, name: str) -> answers.AccountDetails:
        return await self.read(queries.ShowAccount(name), answers.AccountDetails)

    async def set_display(self, display: str) -> Done[Applied]:
        """Say how to be called beside one's name; empty for nothing."""
        return await self.write(operations.SetDisplay(display), Applied)

    async def set_recovery(self, code: str | None) -> Done[Applied]:
        """Make this the recovery code, or have none."""
        key = None if code is None else key_of(code, Purpose.RECOVERY).public_key
        return await self.write(operations.SetRecovery(key), Applied)

    async def devices(self) -> tuple[answers.Device, ...]:
        """This account's devices, revoked ones too, in the order in which they were added."""
        return (await self.read(queries.ListDevices(), answers.DeviceList)).devices

    async def invite_device(self, code: str, expires_ms: int) -> Done[Applied]:
        """Let whoever has the code add a device to this account, once, until then."""
        invitation = key_of(code, Purpose.DEVICE).public_key
        return await self.write(operations.InviteDevice(invitation, Milliseconds(expires_ms)), Applied)

    async def add_device(self, code: str, *, label: str = "") -> Done[Registered]:
        """Make this user's key a device of the account that made the code."""
        invitation = key_of(code, Purpose.DEVICE)
        proof = bearer.prove(invitation, Purpose.DEVICE, self.signer.public_key)
        return await self.write(operations.AddDevice(invitation.public_key, proof, label), Registered)

    async def recover(self, name: str, code: str, *, label: str = "") -> Done[Registered]:
        """Make this user's key the only device of the account, all others being revoked."""
        proof = bearer.prove(key_of(code, Purpose.RECOVERY), Purpose.RECOVERY, self.signer.public_key)
        return await self.write(operations.Recover(name, proof, label), Registered)

    async def rotate(self, old_key: Signer) -> Done[Applied]:
        """Put this user's key, a new one, in the place of `old_key`, which is revoked."""
        proof = bearer.prove(old_key, Purpose.ROTATION, self.signer.public_key)
        return await self.write(operations.RotateDevice(old_key.public_key, proof), Applied)

    async def revoke(self, device: PublicKey) -> Done[Applied]:
        """Refuse everything that this device of one's account signs from here on."""
        return await self.write(operations.RevokeDevice(device), Applied)

    async def notices(self, *, before: int | None = None, limit: int = 50) -> answers.NoticeList:
        """Mentions, replies, direct messages and invitations, newest first; at most 200."""
        start = None if before is None else EventIndex(before)
        return await self.read(queries.ListNotices(before=start, limit=limit), answers.NoticeList)

    async def limits(self) -> answers.Limits:
        """What the group allows, and what is left of it."""
        return await self.read(queries.ShowLimits(), answers.Limits)


def key_of(code: str, purpose: Purpose) -> Ed25519Signer:
    """Return the key that a code stands for. Raises ChatError for what is no such code."""
    try:
        return bearer.key_of_code(code, purpose)
    except BadCode as error:
        raise ChatError(ErrorCode.BAD_PROOF, str(error)) from error
