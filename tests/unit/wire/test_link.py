"""The same frames on an event loop: order, backlog, descriptors, and one end only."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stoker.wire import frames
from stoker.wire.frames import FROM_RUNNER, Fork, Leave, Said
from stoker.wire.link import CHUNK, Link

SAID = Said(1, "log", 1.0, b"x")


class Ends:
    """A link, the socket at its other end, and what the link has told."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.frames: list[Any] = []
        self.closed = 0
        self.changed = asyncio.Event()
        self.link = Link(asyncio.get_running_loop(), ours, FROM_RUNNER, self._heard, self._close)

    def _heard(self, frames: list[Any]) -> None:
        self.frames += frames
        self.changed.set()

    def _close(self) -> None:
        self.closed += 1
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def read(self, count: int) -> bytes:
        """What came over the wire, read as slowly as the loop likes."""
        self.theirs.setblocking(False)
        found = b""
        while len(found) < count:
            found += await asyncio.get_running_loop().sock_recv(self.theirs, 1 << 16)
        return found


def on_a_loop(test: Callable[[Ends], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def body() -> None:
            ends = Ends()
            try:
                await test(ends)
            finally:
                ends.link.close()
                ends.theirs.close()

        asyncio.run(body())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_a_loop
async def test_each_frame_is_handed_on_in_order(ends: Ends) -> None:
    sent = [Said(number, "log", 1.0, b"x" * number) for number in range(200)]
    ends.theirs.sendall(b"".join(frames.encode([frame]) for frame in sent))
    await ends.until(lambda: len(ends.frames) == 200)
    assert ends.frames == sent


@on_a_loop
async def test_a_frame_in_pieces_is_waited_for(ends: Ends) -> None:
    data = frames.encode([SAID])
    ends.theirs.sendall(data[:7])
    await asyncio.sleep(0)
    ends.link.drain()
    assert ends.frames == []
    ends.theirs.sendall(data[7:])
    await ends.until(lambda: bool(ends.frames))
    assert ends.frames == [SAID]


@on_a_loop
async def test_a_frame_larger_than_one_read_comes_whole(ends: Ends) -> None:
    large = Said(1, "log", 1.0, os.urandom(3 * CHUNK))
    await asyncio.gather(
        asyncio.to_thread(ends.theirs.sendall, frames.encode([large])), ends.until(lambda: bool(ends.frames))
    )
    assert ends.frames == [large]


@on_a_loop
async def test_the_end_is_told_once_and_after_the_last_frame(ends: Ends) -> None:
    ends.theirs.sendall(frames.encode([SAID]))
    ends.theirs.close()
    await ends.until(lambda: bool(ends.closed))
    assert (ends.frames, ends.closed, ends.link.closed) == ([SAID], 1, True)
    ends.link.close()
    ends.link.drain()
    assert ends.closed == 1


JUNK = {
    "too long": b"\xff\xff\xff\xff",
    "no msgpack": b"\x03\x00\x00\x00abc",
    "of another family": frames.encode([Leave()]),
    "deep": b"\x10\x27\x00\x00" + b"\x91" * 10_000,
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
def test_nonsense_ends_the_link(junk: bytes) -> None:
    @on_a_loop
    async def test(ends: Ends) -> None:
        ends.theirs.sendall(junk)
        await ends.until(lambda: bool(ends.closed))
        assert ends.frames == []

    test()


@on_a_loop
async def test_what_a_slow_reader_has_not_taken_is_kept_in_order(ends: Ends) -> None:
    sent = [Said(number, "log", 1.0, bytes([number]) * 100_000) for number in range(30)]
    for frame in sent:
        ends.link.send(frame)
    data = b"".join(frames.encode([frame]) for frame in sent)
    assert await ends.read(len(data)) == data


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@on_a_loop
async def test_descriptors_go_with_their_frames_and_are_given_away(ends: Ends) -> None:
    read, write = os.pipe()
    ends.link.send(Fork(1, "fork", 1), (write,))
    assert not is_open(write)
    data, fds, _, _ = socket.recv_fds(ends.theirs, 1 << 16, 4)
    assert data == frames.encode([Fork(1, "fork", 1)])
    os.write(fds[0], b"hello")
    assert os.read(read, 10) == b"hello"
    for fd in (read, *fds):
        os.close(fd)


@on_a_loop
async def test_descriptors_wait_behind_a_backlog(ends: Ends) -> None:
    sent = [Said(1, "log", 1.0, b"x" * (4 << 20)), Fork(1, "fork", 1)]
    read, write = os.pipe()
    ends.link.send(sent[0])
    ends.link.send(sent[1], (write,))
    assert is_open(write)
    size = sum(len(frames.encode([frame])) for frame in sent)
    found, fds = b"", list[int]()
    while len(found) < size:
        data, more, _, _ = await asyncio.to_thread(socket.recv_fds, ends.theirs, 1 << 18, 4)
        found, fds = found + data, fds + more
    assert found == b"".join(frames.encode([frame]) for frame in sent)
    assert len(fds) == 1
    for fd in (read, *fds):
        os.close(fd)


@on_a_loop
async def test_descriptors_that_cannot_be_sent_are_closed_all_the_same(ends: Ends) -> None:
    backlog, closed = os.pipe(), os.pipe()
    ends.link.send(Said(1, "log", 1.0, b"x" * (4 << 20)))
    ends.link.send(Leave(), backlog)
    ends.link.close()
    ends.link.send(Leave(), closed)
    assert not any(is_open(fd) for fd in (*backlog, *closed))


@on_a_loop
async def test_sending_to_one_who_left_ends_the_link(ends: Ends) -> None:
    ends.theirs.close()
    ends.link.send(SAID)
    await ends.until(lambda: bool(ends.closed))
    assert ends.link.closed


@on_a_loop
async def test_what_was_said_before_leaving_is_heard_though_something_is_sent_first(ends: Ends) -> None:
    """A job ends, and its process with it, while the answer to a question of it is on its way."""
    ends.theirs.sendall(frames.encode([SAID]))
    ends.theirs.close()
    ends.link.send(Leave())
    await ends.until(lambda: ends.closed > 0)
    assert (ends.frames, ends.closed) == ([SAID], 1)


@on_a_loop
async def test_a_paused_link_reads_nothing_until_it_goes_on(ends: Ends) -> None:
    ends.link.pause()
    ends.theirs.sendall(frames.encode([SAID]))
    for _ in range(5):
        await asyncio.sleep(0)
    assert ends.frames == []
    ends.link.resume()
    await ends.until(lambda: bool(ends.frames))
    assert ends.frames == [SAID]


def test_descriptors_that_come_with_frames_wait_until_they_are_taken() -> None:
    async def body() -> None:
        ours, theirs = socket.socketpair()
        taken: list[int] = []
        link: Link

        def on_frames(frames: list[Said]) -> None:
            for frame in frames:
                taken.extend(link.take_fds(frame.run))

        link = Link(asyncio.get_running_loop(), ours, FROM_RUNNER, on_frames, lambda: None, descriptors=True)
        pipe = os.pipe()
        socket.send_fds(theirs, [frames.encode([Said(2, "log", 1.0, b"x")])], pipe)
        for fd in pipe:
            os.close(fd)
        async with asyncio.timeout(20):
            while len(taken) < 2:
                await asyncio.sleep(0)
        with pytest.raises(ValueError, match="1 descriptors were announced, and 0 came"):
            link.take_fds(1)
        for fd in taken:
            os.close(fd)
        link.close()
        theirs.close()

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(body())
    assert len(os.listdir("/proc/self/fd")) == before
