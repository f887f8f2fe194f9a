"""Certificates that lapse while a group runs, and are renewed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trio

from adversary.live.group import Seat
from chatsvc.groupfile import GroupFile, read_group_file, render_group_file
from crypto.tls import make_tls_identity, write_tls_identity

if TYPE_CHECKING:
    from adversary.live.stage import Stage

VALID_DAYS = 30
LAPSE_SECONDS = 5.0
"""From the making of the short-lived certificate: the group must be up before."""
WARNING = "certificate expires"
"""What every node's log says beforehand."""


def victims(stage: Stage) -> list[Seat]:
    """As many as may be faulty: the last ones, none of which leads."""
    group = stage.group
    return group.seats[group.file.group.size - group.file.group.faulty_max : group.file.group.size]


async def let_lapse(stage: Stage) -> None:
    """Certificates of f replicas have seconds left."""
    for seat in victims(stage):
        _certify(stage, seat, lasting=timedelta(seconds=LAPSE_SECONDS))
        stage.excused.add(seat.replica)
    await trio.lowlevel.checkpoint()


def _certify(stage: Stage, seat: Seat, *, lasting: timedelta) -> None:
    """A new certificate in the replica's directory, and in everybody's group file."""
    group = stage.group
    begin = datetime.now(UTC) + lasting - timedelta(days=VALID_DAYS)
    identity = make_tls_identity(f"replica-{seat.replica}.quorate", valid_days=VALID_DAYS, now=begin)
    write_tls_identity(seat.home, identity, overwrite=True)
    views = {group.file.path, *(each.view for each in group.seats)}
    for path in sorted(views):
        file = read_group_file(path)
        members = list(file.members)
        members[seat.replica] = replace(members[seat.replica], certificate_der=identity.certificate_der)
        path.write_text(render_group_file(file.group, tuple(members)))
    group.file = _again(group.file)


def _again(file: GroupFile) -> GroupFile:
    return read_group_file(file.path)


async def lose_links(stage: Stage) -> None:
    """Open links outlive their certificates; so they are cut once these have lapsed."""
    group, network = stage.group, stage.group.network
    await trio.sleep(LAPSE_SECONDS)
    for seat in victims(stage):
        if WARNING not in group.log_of(group.seats[0]).read_text(errors="replace"):
            stage.problems.append("nobody was warned that a certificate lapses")
        if network is not None:
            for peer in group.file.group.replicas:
                if peer != seat.replica:
                    network.cut(peer, seat.replica)
                    network.cut(seat.replica, peer)
        stage.took_place += 1
        stage.moment(
            f"replica {seat.replica}", "certificate lapses", "its links are cut, and it cannot make new ones"
        )
    await trio.sleep_forever()


async def renew(stage: Stage) -> None:
    """New certificates, and a restart of everybody, one after the other: the file with the new ones is read then."""
    group = stage.group
    lapsed = await group.reports(victims(stage))
    if lapsed:
        stage.problems.append("a replica whose certificate has lapsed was still reached")
    for seat in victims(stage):
        _certify(stage, seat, lasting=timedelta(days=VALID_DAYS))
        stage.excused.discard(seat.replica)
    for seat in group.seats:
        await group.stop(seat)
        await group.start(seat)
        await group.until_answering([seat])
        stage.moment(f"replica {seat.replica}", "starts again", "with the new certificates")
