"""A backup, or the way to it, fails under load; the chat goes on, and it comes back by itself or stays away for good
reason. See test_crashes for killed and paused ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from adversary.disk import WAL_SUFFIX, Disk, limit_file_size
from pbft.client.inspection import Report
from pbft.core.group import Parameters
from pbft.node.ledger_files import LEDGER_NAME
from tests.e2e.processes import running_group
from tests.e2e.talking import Talker, assert_sound, talking

PRIMARY, BACKUP, OTHER = 0, 3, 2
LINES = 20
"""Said under each fault: more than a checkpoint apart."""
PARAMETERS = Parameters(checkpoint_interval=16)


async def goes_on(talker: Talker) -> None:
    await talker.more(LINES)


def executed(reports: list[Report]) -> list[int]:
    return [report["last_executed"] for report in reports]


async def test_links_of_a_backup_fail_in_every_way(tmp_path: Path) -> None:
    async with running_group(tmp_path, parameters=PARAMETERS, networked=True) as group:
        net = group.network
        assert net is not None
        await group.start_all()
        async with talking(group.clients) as talker:
            await goes_on(talker)

            net.isolate(BACKUP)
            await goes_on(talker)
            net.heal()
            await group.until_caught_up()

            net.hold(PRIMARY, BACKUP)  # it cannot hear the primary
            await goes_on(talker)
            net.heal()
            await group.until_caught_up()

            net.change([(BACKUP, peer) for peer in (0, 1, 2)], held=True)  # it cannot be heard
            await goes_on(talker)
            net.heal()

            net.change(net.routes_of(BACKUP), bytes_per_s=2000)
            net.inject(PRIMARY, BACKUP, bytes(100))
            net.inject(BACKUP, OTHER, b"\xff" * 1000)
            await goes_on(talker)
            net.heal()
            await group.until_caught_up()

            net.shape(delay_s=0.005, jitter_s=0.01, cut_chance=0.01)
            await goes_on(talker)
            net.heal()
        await assert_sound(group)


async def test_a_group_cut_in_halves_waits_and_goes_on_when_it_is_whole(tmp_path: Path) -> None:
    """Neither half is a quorum. What a client has under way is accepted once, later."""
    async with running_group(tmp_path, parameters=PARAMETERS, networked=True) as group:
        net = group.network
        assert net is not None
        await group.start_all()
        async with talking(group.clients) as talker:
            await goes_on(talker)
            net.partition({0, 1}, {2, 3})
            apart = await group.until(
                lambda reports: not any(reports[a]["peers"][str(b)]["up"] for a in (0, 1) for b in (2, 3))
            )
            for _ in range(5):
                again = await group.until(bool)
                assert executed(again) == executed(apart), "a half went on by itself"
            net.heal()
            await goes_on(talker)
        await assert_sound(group)


async def test_all_replicas_killed_at_once_under_load_lose_nothing_that_was_accepted(tmp_path: Path) -> None:
    async with running_group(tmp_path, parameters=PARAMETERS) as group:
        await group.start_all()
        async with talking(group.clients) as talker:
            await goes_on(talker)
            await group.kill(*group.directory.group.replicas)
            await group.start(*group.directory.group.replicas)
            await goes_on(talker)
        await assert_sound(group)


async def test_a_backup_has_no_room_on_its_disk_and_then_has(tmp_path: Path) -> None:
    async with running_group(tmp_path, parameters=PARAMETERS) as group:
        await group.start_all()
        async with talking(group.clients) as talker:
            await goes_on(talker)
            log = group.disk(BACKUP).directory / (LEDGER_NAME + WAL_SUFFIX)
            limit_file_size(group.processes[BACKUP].pid, log.stat().st_size)
            assert await group.wait(BACKUP) == 1
            assert "start the node again" in group.log(BACKUP)
            await goes_on(talker)
            await group.start(BACKUP)
            await group.until_caught_up()
        await assert_sound(group)


# -- what the disk lost


async def test_a_backup_that_lost_its_state_gets_it_back(tmp_path: Path) -> None:
    """Its votes are still there; what they were about it is given by the others."""
    async with running_group(tmp_path, parameters=PARAMETERS) as group:
        await group.start_all()
        async with talking(group.clients) as talker:
            await talker.more(2 * LINES)
            await group.kill(BACKUP)
            group.disk(BACKUP).lose_state()
            await group.start(BACKUP)
            await group.until_caught_up()
        await assert_sound(group)


@pytest.mark.slow
async def test_a_backup_that_was_away_for_longer_than_batches_are_kept_gets_the_state(tmp_path: Path) -> None:
    async with running_group(tmp_path, parameters=PARAMETERS) as group:
        await group.start_all()
        async with talking(group.clients) as talker:
            await goes_on(talker)
            group.pause(BACKUP)
            for _ in range(12):
                await talker.more(100)  # a batch each
            group.resume(BACKUP)
            await group.until_caught_up()
        await assert_sound(group)


LEDGER_FAULTS = [
    "lost",
    pytest.param("rotten", marks=pytest.mark.slow),
    pytest.param("torn", marks=pytest.mark.slow),
    pytest.param("new disk", marks=pytest.mark.slow),
]


def spoil(disk: Disk, fault: str) -> None:
    match fault:
        case "lost":
            disk.lose_ledger()
        case "rotten":
            disk.spoil_record(disk.records()[-5])
        case "torn":
            disk.tear_ledger(5000)
        case "new disk":
            disk.lose_all()
        case _:
            raise ValueError(fault)


@pytest.mark.parametrize("fault", LEDGER_FAULTS)
async def test_a_backup_that_forgot_its_votes_rejoins_mute(tmp_path: Path, fault: str) -> None:
    """It follows, and does not vote where it may have voted before."""
    async with running_group(tmp_path, parameters=PARAMETERS) as group:
        await group.start_all()
        async with talking(group.clients) as talker:
            await goes_on(talker)
            await group.kill(BACKUP)
            spoil(group.disk(BACKUP), fault)
            await group.start(BACKUP)
            await group.until(lambda reports: reports[BACKUP]["role"] == "mute")
            await group.until_caught_up()
        reports = await group.until_equal()
        assert [report["evidence"] for report in reports] == [0] * 4


@pytest.mark.slow
async def test_an_idle_group_helps_a_mute_replica_to_its_voice(tmp_path: Path) -> None:
    """Null batches take it past what it may have voted for, planned view changes past the views."""
    async with running_group(tmp_path, parameters=Parameters(checkpoint_interval=8)) as group:
        await group.start_all()
        async with talking(group.clients) as talker:
            await goes_on(talker)
        await group.kill(BACKUP)
        group.disk(BACKUP).lose_all()
        await group.start(BACKUP)
        await group.until(lambda reports: reports[BACKUP]["role"] == "mute")
        await group.until(lambda reports: reports[BACKUP]["role"] == "voting")
        reports = await group.until_equal()
        assert [report["evidence"] for report in reports] == [0] * 4
        assert {report["view"] for report in reports} != {0}


@pytest.mark.slow
async def test_a_backup_that_is_put_back_to_an_older_image_harms_nobody(tmp_path: Path) -> None:
    """Nothing on its disk tells it, so it may vote otherwise than it did, and be accused; it is one of f."""
    async with running_group(tmp_path, parameters=PARAMETERS) as group:
        await group.start_all()
        disk = group.disk(BACKUP)
        async with talking(group.clients) as talker:
            await goes_on(talker)
            await group.kill(BACKUP)
            disk.keep_copy(tmp_path / "image")
            await group.start(BACKUP)
            await group.until_caught_up()
            await goes_on(talker)
            await group.kill(BACKUP)
            disk.go_back_to(tmp_path / "image")
            await group.start(BACKUP)
            await goes_on(talker)
        await group.kill(BACKUP)
        await group.until_equal()
        assert group.accused() <= {f"replica-{BACKUP}"}
