"""Frames over a stream: caps, deadlines and queues. Time is trio's MockClock's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pbft.core.errors import MalformedMessage
from pbft.core.handshake import HANDSHAKE_BYTES_MAX, framed
from pbft.node.streams import (
    FRAME_SECONDS_MAX,
    HANDSHAKE_SECONDS_MAX,
    SEND_BYTES,
    SEND_SECONDS_MAX,
    FrameStream,
    SendQueue,
    TlsStream,
    until_one_ends,
)
from tests.node.wires import FRAME_BYTES_MAX, DeafStream, SlowStream, wire

HELLO = b"hello"


async def greeted(stream: FrameStream, theirs: trio.abc.Stream) -> None:
    await theirs.send_all(framed(HELLO))
    assert await stream.receive_handshake() == HELLO


# -- receiving


async def test_frames_come_whole_however_they_were_cut() -> None:
    stream, theirs = wire()
    await greeted(stream, theirs)
    sent = [b"a", b"b" * 300, b"c" * FRAME_BYTES_MAX]
    data = b"".join(map(framed, sent))
    received: list[bytes] = []

    async def send() -> None:
        for start in range(0, len(data), 7):
            await theirs.send_all(data[start : start + 7])
        await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while frames := await stream.receive():
            received += frames
    assert received == sent


@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, 2**31, 2**32 - 1])
async def test_a_length_beyond_the_cap_or_of_nothing_is_refused_at_its_fourth_byte(length: int) -> None:
    stream, theirs = wire()
    await greeted(stream, theirs)
    await theirs.send_all(length.to_bytes(4, "big"))
    with pytest.raises(MalformedMessage, match=f"frame of {length} bytes, where 1 to {FRAME_BYTES_MAX} are allowed"):
        await stream.receive()


async def test_the_handshake_has_a_smaller_cap() -> None:
    stream, theirs = wire()
    await theirs.send_all(framed(b"x" * (HANDSHAKE_BYTES_MAX + 1)))
    with pytest.raises(MalformedMessage, match=f"1 to {HANDSHAKE_BYTES_MAX}"):
        await stream.receive_handshake()


@pytest.mark.parametrize("extra", [b"", b"\x00", b"\x00\x00\x10"])
async def test_a_client_may_send_its_first_requests_right_behind_its_hello(extra: bytes) -> None:
    """They may be larger than a handshake frame, and arrive with it in one chunk, or in part."""
    stream, theirs = wire()
    requests = [b"r" * 4000, b"s" * FRAME_BYTES_MAX]
    data = b"".join(map(framed, [HELLO, *requests])) + extra
    await theirs.send_all(data)
    assert await stream.receive_handshake() == HELLO
    assert await stream.receive() == requests


async def test_part_of_a_frame_behind_the_hello_is_kept() -> None:
    stream, theirs = wire()
    request = framed(b"r" * 4000)
    await theirs.send_all(framed(HELLO) + request[:2000])
    assert await stream.receive_handshake() == HELLO
    await theirs.send_all(request[2000:])
    assert await stream.receive() == [b"r" * 4000]


async def test_a_bad_frame_behind_the_hello_is_refused() -> None:
    stream, theirs = wire()
    await theirs.send_all(framed(HELLO) + (FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    assert await stream.receive_handshake() == HELLO
    with pytest.raises(MalformedMessage):
        await stream.receive()


async def test_several_handshake_frames_in_one_chunk_come_one_by_one() -> None:
    stream, theirs = wire()
    await theirs.send_all(framed(b"one") + framed(b"two"))
    assert await stream.receive_handshake() == b"one"
    assert await stream.receive_handshake() == b"two"


async def test_a_stream_that_ends_during_the_handshake() -> None:
    stream, theirs = wire()
    await theirs.send_all(framed(HELLO)[:-1])
    await theirs.aclose()
    with pytest.raises(MalformedMessage, match="closed before the handshake was done"):
        await stream.receive_handshake()


# -- time


async def test_one_who_says_nothing_is_dropped_at_the_handshakes_deadline(autojump_clock: MockClock) -> None:
    stream, _theirs = wire()
    with pytest.raises(trio.TooSlowError):
        await stream.receive_handshake()
    assert trio.current_time() == pytest.approx(HANDSHAKE_SECONDS_MAX)


async def test_the_handshakes_deadline_is_for_the_frame_and_not_for_each_byte(autojump_clock: MockClock) -> None:
    stream, theirs = wire()

    async def drip() -> None:
        for byte in framed(HELLO * 100):
            await theirs.send_all(bytes([byte]))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(trio.TooSlowError):
            await stream.receive_handshake()
        assert trio.current_time() == pytest.approx(HANDSHAKE_SECONDS_MAX)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("behind_a_whole_frame", [False, True])
async def test_one_byte_per_minute_is_dropped_at_the_frames_deadline(
    autojump_clock: MockClock, behind_a_whole_frame: bool
) -> None:
    stream, theirs = wire()
    await greeted(stream, theirs)
    if behind_a_whole_frame:
        await theirs.send_all(framed(b"whole") + b"\x00")
        assert await stream.receive() == [b"whole"]
    began = trio.current_time()

    async def drip() -> None:
        for byte in framed(HELLO * 100):
            await theirs.send_all(bytes([byte]))
            await trio.sleep(60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(trio.TooSlowError):
            await stream.receive()
        assert trio.current_time() - began == pytest.approx(FRAME_SECONDS_MAX)
        nursery.cancel_scope.cancel()


async def test_a_quiet_connection_with_nothing_begun_may_stay(autojump_clock: MockClock) -> None:
    stream, theirs = wire()
    await greeted(stream, theirs)

    async def later() -> None:
        await trio.sleep(24 * 3600)
        await theirs.send_all(framed(b"good morning"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        assert await stream.receive() == [b"good morning"]


async def test_a_frame_that_was_begun_and_never_goes_on_is_dropped(autojump_clock: MockClock) -> None:
    stream, theirs = wire()
    await greeted(stream, theirs)
    await theirs.send_all(framed(b"whole") + framed(b"half of it")[:5])
    assert await stream.receive() == [b"whole"]
    with pytest.raises(trio.TooSlowError):
        await stream.receive()
    assert trio.current_time() == pytest.approx(FRAME_SECONDS_MAX)


async def test_one_who_takes_nothing_is_given_up(autojump_clock: MockClock) -> None:
    queue = SendQueue(10)
    queue.put_nowait(b"data")
    with pytest.raises(trio.TooSlowError):
        await queue.pump(FrameStream(cast("TlsStream", DeafStream()), frame_bytes_max=1))
    assert trio.current_time() == pytest.approx(SEND_SECONDS_MAX)


async def test_one_who_takes_a_little_now_and_then_is_not(autojump_clock: MockClock) -> None:
    """The deadline is for each write, and runs only while there is one."""
    slow = SlowStream(SEND_SECONDS_MAX - 1)
    queue = SendQueue(100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.pump, FrameStream(cast("TlsStream", slow), frame_bytes_max=1))
        for number in range(5):
            queue.put_nowait(bytes([number]))
            await trio.sleep(SEND_SECONDS_MAX * (1 + number))
        nursery.cancel_scope.cancel()
    assert slow.took == [bytes([number]) for number in range(5)]


# -- the send queue


async def pumping(queue: SendQueue, stream: FrameStream, then: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.pump, stream)
        await then()
        nursery.cancel_scope.cancel()


async def test_what_does_not_fit_is_refused_and_counted() -> None:
    queue = SendQueue(10)
    assert [queue.put_nowait(b"x" * size) for size in (4, 6, 1, 0)] == [True, True, False, True]
    assert queue.refused == 1


async def test_a_lone_frame_fits_whatever_its_size() -> None:
    queue = SendQueue(10)
    assert queue.put_nowait(b"x" * 1000)
    assert not queue.put_nowait(b"y")


async def test_room_comes_back_when_frames_are_sent() -> None:
    deaf = DeafStream()
    queue = SendQueue(10)
    stream = FrameStream(cast("TlsStream", deaf), frame_bytes_max=1)
    queue.put_nowait(b"x" * 10)

    async def then() -> None:
        await wait_all_tasks_blocked()
        assert queue.put_nowait(b"y" * 10), "what is being sent no longer waits"
        assert not queue.put_nowait(b"z")
        deaf.opened.set()
        await wait_all_tasks_blocked()
        assert queue.put_nowait(b"z")
        await wait_all_tasks_blocked()

    await pumping(queue, stream, then)
    assert deaf.took == [b"x" * 10, b"y" * 10, b"z"]
    assert queue.refused == 1


async def test_frames_leave_in_order_and_several_in_one_write() -> None:
    deaf = DeafStream()
    deaf.opened.set()
    queue = SendQueue(10 * SEND_BYTES)
    frames = [bytes([number]) * (SEND_BYTES // 3) for number in range(7)]
    for frame in frames:
        queue.put_nowait(frame)
    await pumping(queue, FrameStream(cast("TlsStream", deaf), frame_bytes_max=1), wait_all_tasks_blocked)
    assert b"".join(deaf.took) == b"".join(frames)
    assert [len(chunk) // (SEND_BYTES // 3) for chunk in deaf.took] == [3, 3, 1]


async def test_finish_sends_what_waits_and_the_last_and_then_ends() -> None:
    deaf = DeafStream()
    deaf.opened.set()
    queue = SendQueue(10)
    queue.put_nowait(b"first")
    queue.finish(b"the last, which always fits")
    queue.put_nowait(b"too late")
    await queue.pump(FrameStream(cast("TlsStream", deaf), frame_bytes_max=1))
    assert b"".join(deaf.took) == b"firstthe last, which always fits"


async def test_finish_ends_a_pump_that_waits() -> None:
    deaf = DeafStream()
    deaf.opened.set()
    queue = SendQueue(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.pump, FrameStream(cast("TlsStream", deaf), frame_bytes_max=1))
        await wait_all_tasks_blocked()
        queue.finish(b"bye")
    assert deaf.took == [b"bye"]


async def test_clear_forgets_what_waits() -> None:
    queue = SendQueue(10)
    queue.put_nowait(b"x" * 10)
    queue.clear()
    assert queue.put_nowait(b"y" * 5)
    assert queue.put_nowait(b"z" * 5)


# -- two tasks, one connection


async def ends() -> None:
    await trio.lowlevel.checkpoint()


async def fails(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def test_until_one_ends_cancels_the_others() -> None:
    cancelled = trio.Event()

    async def endless() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    await until_one_ends(endless, ends)
    assert cancelled.is_set()


@pytest.mark.parametrize("error", [MalformedMessage("bad"), trio.BrokenResourceError(), OSError(5, "x"), KeyError(1)])
async def test_until_one_ends_raises_what_was_raised_plainly(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await until_one_ends(trio.sleep_forever, partial(fails, error))
    assert caught.value is error


async def test_until_one_ends_raises_one_of_two_failures() -> None:
    first, second = MalformedMessage("one"), MalformedMessage("two")
    with pytest.raises(MalformedMessage) as caught:
        await until_one_ends(partial(fails, first), partial(fails, second))
    assert caught.value in {first, second}


async def test_until_one_ends_can_be_cancelled(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await until_one_ends(trio.sleep_forever, trio.sleep_forever)
    assert scope.cancelled_caught


async def test_cancelled_from_outside_while_a_task_fails_raises_only_the_failure(autojump_clock: MockClock) -> None:
    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise MalformedMessage("on the way out")

    with trio.move_on_after(1), pytest.raises(MalformedMessage):
        await until_one_ends(fails_when_cancelled, trio.sleep_forever)
