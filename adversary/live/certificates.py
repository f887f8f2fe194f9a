"""Certificates that lapse while a group runs, and are renewed."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trio

from adversary.live.group import Seat
from adversary.simulator.scenario import Lapse
from chatsvc.groupfile import read_group_file, render_group_file
from chatsvc.renewing import renew_certificate
from crypto.tls import make_tls_identity, write_tls_identity
from pbft.core.types import ReplicaId

if TYPE_CHECKING:
    from adversary.live.stage import Stage

VALID_DAYS = 30
START_SECONDS = 8.0
"""In which the group is up and people are registered, before the first certificate may lapse."""
WARNING = "certificate expires"
"""What every node's log says beforehand."""


def let_lapse(stage: Stage) -> None:
    """Make the certificates that are to lapse: their dates are in them, so the attack begins when theirs come."""
    lapses = [fault for fault in stage.attack.happens if isinstance(fault, Lapse)]
    if not lapses:
        return
    first_ms = min(fault.at_ms for fault in lapses)
    stage.not_before = time.monotonic() + START_SECONDS
    stage.not_after = stage.not_before + first_ms / 1000
    for fault in lapses:
        lasting = timedelta(seconds=START_SECONDS, milliseconds=fault.at_ms)
        _certify(stage, stage.group.seats[fault.replica], lasting=lasting)
    stage.figures["certificates_lapse_after_ms"] = round(START_SECONDS * 1000 + first_ms)


def _certify(stage: Stage, seat: Seat, *, lasting: timedelta) -> None:
    """A certificate whose end is near: nobody issues one so, so it is made here."""
    group = stage.group
    begin = datetime.now(UTC) + lasting - timedelta(days=VALID_DAYS)
    identity = make_tls_identity(f"replica-{seat.replica}.quorate", valid_days=VALID_DAYS, now=begin)
    write_tls_identity(seat.home, identity, overwrite=True)
    members = list(group.file.members)
    members[seat.replica] = replace(members[seat.replica], certificate_der=identity.certificate_der)
    group.file.path.write_text(render_group_file(group.file.group, tuple(members)))
    group.file = read_group_file(group.file.path)
    _pass_on(stage, seat.replica)


def _pass_on(stage: Stage, replica: int) -> None:
    """What the group file says of a certificate, to everybody's own."""
    group = stage.group
    certificate = group.file.members[replica].certificate_der
    for path in sorted({each.view for each in group.seats} - {group.file.path}):
        file = read_group_file(path)
        members = list(file.members)
        members[replica] = replace(members[replica], certificate_der=certificate)
        path.write_text(render_group_file(file.group, tuple(members)))


async def lose_links(stage: Stage, replica: int) -> None:
    """Open links outlive their certificates; so they are cut once these have lapsed. Dates count in seconds."""
    group, network, seat = stage.group, stage.group.network, stage.group.seats[replica]
    await trio.sleep(1.0)
    witness = next(each for each in group.seats if each.replica != replica)
    if WARNING not in group.log_of(witness).read_text(errors="replace"):
        stage.problems.append("nobody was warned that a certificate lapses")
    if network is not None:
        for peer in group.file.group.replicas:
            if peer != replica:
                network.cut(peer, replica)
                network.cut(replica, peer)
    stage.lapsed.add(replica)
    stage.moment(f"replica {replica}", "certificate lapses", "its links are cut, and nobody makes new ones")
    if await group.reports([seat]):
        stage.problems.append("a replica whose certificate has lapsed was still reached")


async def renew(stage: Stage) -> None:
    """As an operator does it: `quorate renew`, the new group file to everybody, and a restart of one replica after
    the other, beginning with those whose certificates have lapsed. Raises LiveError.

    Not with `quorate restart`: until the others have the new file, the renewed one is out of service, and it refuses.
    """
    group = stage.group
    if not stage.lapsed:
        return
    first = [group.seats[replica] for replica in sorted(stage.lapsed)]
    for seat in first:
        group.file = renew_certificate(group.file, ReplicaId(seat.replica))
        _pass_on(stage, seat.replica)
    for seat in (*first, *(each for each in group.seats if each not in first)):
        await group.stop(seat)
        await group.start(seat)
        await group.until_answering([seat])
        stage.moment(f"replica {seat.replica}", "starts", "with the new certificates")
    stage.lapsed.clear()
