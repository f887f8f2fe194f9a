"""Attacks in which what comes back matters: requests that are replayed, and operations that are built to kill."""

from __future__ import annotations

import time
from dataclasses import replace as changed
from typing import TYPE_CHECKING

import trio

from adversary.live.bombs import DEADLY
from adversary.live.people import POST, ROOM, Said, client_of
from adversary.live.wire import CLOSED, connected
from chatsvc.application.operations import Join, Operation, Post, Register, encode_operation
from chatsvc.application.results import ErrorCode, Rejected, decode_result
from chatsvc.groupfile import GroupFile
from crypto.signing import Ed25519Signer, Ed25519Verifier
from pbft.client.quorums import Accepted
from pbft.core.codec import Opener
from pbft.core.errors import ProtocolViolation
from pbft.core.frames import sign_request
from pbft.core.group import Group
from pbft.core.messages import Request
from pbft.core.types import ClientSequence, Epoch, SessionNumber

if TYPE_CHECKING:
    from adversary.live.stage import Stage

OUTCOME_SECONDS = 10.0
REPLAY_PAUSE_S = 0.2
REPLAYED = b"replayed"
"""The nonce of the message that must be in the room once, however often its request was sent."""


async def kill_with_words(stage: Stage, *, task_status: trio.TaskStatus[None]) -> None:
    """Everything in DEADLY, well signed and properly ordered, again and again."""
    client, _ = client_of(stage.group.directory)
    async with client:
        await client.wait_connected()
        await client.submit(encode_operation(Register("mallory")), within_s=OUTCOME_SECONDS, repeatable=True)
        task_status.started()
        while True:
            for name, operation in DEADLY.items():
                outcome = await client.submit(operation, within_s=OUTCOME_SECONDS, repeatable=True)
                if not isinstance(outcome, Accepted):
                    stage.breaks.append(("replies", f"the operation {name!r} got no answer that f+1 gave"))
                    continue
                result = decode_result(outcome.result)
                stage.deeds["query_of_death"] += 1
                if not isinstance(result, Rejected):
                    stage.breaks.append(("model", f"the operation {name!r} was carried out: {result}"))
                elif result.code is ErrorCode.INTERNAL:
                    stage.breaks.append(("internal", f"the operation {name!r} made the chat fail: {result.detail}"))
            stage.moment("client mallory", "asks for death", f"{len(DEADLY)} deadly operations, each refused")
            await trio.sleep(REPLAY_PAUSE_S)


async def replay(stage: Stage, *, task_status: trio.TaskStatus[None]) -> None:
    """A person says one thing. Somebody who has heard it says it again, in every way that there is."""
    file, victim, mallory = stage.group.file, Ed25519Signer.generate(), Ed25519Signer.generate()
    opener = Opener(file.group, Ed25519Verifier())
    post = Post(room=ROOM, body="once", nonce=REPLAYED)
    once = Said(who="victim", what=POST, nonce=REPLAYED, asked_at=time.monotonic(), body=post.body)
    wires: list[bytes] = []
    said: list[Operation] = [Register("victim"), Join(ROOM), post]
    try:
        for number, operation in enumerate(said):
            wires.append(_request(file.group, victim, number, operation))
            await _order(file, opener, victim, wires[-1], number)
        once = changed(once, accepted_at=time.monotonic())
    finally:
        stage.journal.add(once)  # it may be in the room, even if nobody waits for it any longer
    task_status.started()
    stage.moment("client victim", "says it once")
    elsewhere = changed(file.group, nonce=bytes(16))
    later = changed(file.group, epoch=Epoch(file.group.epoch + 1))
    forms = [
        *wires,
        _request(elsewhere, victim, 3, post),
        _request(later, victim, 3, post),
        wires[2].replace(victim.public_key, mallory.public_key),
        wires[2] + b"\x00",
    ]
    while True:
        for signer in (victim, mallory):
            for form in forms:
                for replica in file.group.replicas:
                    stage.deeds["replay"] += await _send(file, replica, signer, form)
        stage.moment("client mallory", "says it again", f"in {len(forms)} forms, under two names, to all")
        await trio.sleep(REPLAY_PAUSE_S)


def _request(group: Group, signer: Ed25519Signer, number: int, operation: Operation) -> bytes:
    request = Request(
        session=SessionNumber(1),
        first_client_sequence=ClientSequence(number),
        ack_below=ClientSequence(0),
        operations=(encode_operation(operation),),
    )
    return sign_request(group, signer, request).wire


async def _send(file: GroupFile, replica: int, signer: Ed25519Signer, frame: bytes) -> bool:
    """Several times over one connection, until it is closed. Whether it was said at all."""
    said = False
    try:
        async with await connected(file, replica, signer) as wire:
            for _ in range(5):
                await wire.send(frame)
                said = True
    except (*CLOSED, ProtocolViolation):
        pass
    return said


async def _order(file: GroupFile, opener: Opener, signer: Ed25519Signer, frame: bytes, number: int) -> None:
    """Until f+1 replicas have said that it was executed."""
    vouchers: set[int] = set()
    enough = trio.Event()

    async def ask(replica: int) -> None:
        while True:
            try:
                async with await connected(file, replica, signer) as wire:
                    await wire.send(frame)
                    while (reply := await wire.reply(opener)) is not None:
                        if any(result.client_sequence == number for result in reply.results):
                            vouchers.add(replica)
                        if len(vouchers) >= file.group.honest_minimum:
                            enough.set()
            except (*CLOSED, ProtocolViolation):
                await trio.sleep(REPLAY_PAUSE_S)

    async with trio.open_nursery() as nursery:
        for replica in file.group.replicas:
            nursery.start_soon(ask, replica)
        await enough.wait()
        nursery.cancel_scope.cancel()
