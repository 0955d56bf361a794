"""A Unix socket's transport with descriptors: in order, given away, and none left open."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.model.errors import InvalidBuffer, ProtocolError
from stoker.wire.acceptor import Acceptor
from stoker.wire.transport import HIGH, Transport


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.transport: Transport | None = None
        self.data = b""
        self.lost = 0
        self.paused = 0
        self.resumed = 0
        self.troubles: list[InvalidBuffer] = []
        self.changed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1
        self.changed.set()

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1
        self.changed.set()

    def trouble(self, error: InvalidBuffer) -> None:
        self.troubles.append(error)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def on_a_loop(test: Callable[[Heard, Transport, socket.socket], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def body() -> None:
            ours, theirs = socket.socketpair()
            heard = Heard()
            transport = Transport(asyncio.get_running_loop(), ours, heard)
            try:
                await test(heard, transport, theirs)
            finally:
                transport.abort()
                theirs.close()

        before = len(os.listdir("/proc/self/fd"))
        asyncio.run(body())
        assert len(os.listdir("/proc/self/fd")) == before

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def some_fds(count: int) -> list[int]:
    return [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(count)]


def close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


@on_a_loop
async def test_descriptors_are_there_when_their_line_is(
    heard: Heard, transport: Transport, theirs: socket.socket
) -> None:
    fds = some_fds(3)
    socket.send_fds(theirs, [b"one\n"], fds[:1])
    socket.send_fds(theirs, [b"two\n"], fds[1:])
    close(fds)
    await heard.until(lambda: heard.data == b"one\ntwo\n")
    assert transport.stray_fds == 3
    taken = transport.take_fds(2)
    assert not any(os.get_inheritable(fd) for fd in taken)
    with pytest.raises(ProtocolError, match="2 buffers were announced, and 1 descriptors came"):
        transport.take_fds(2)
    close(taken)


@on_a_loop
async def test_what_is_sent_is_given_away(heard: Heard, transport: Transport, theirs: socket.socket) -> None:
    transport.write(b"line\n", some_fds(2))
    data, fds, _, _ = await asyncio.to_thread(socket.recv_fds, theirs, 100, 4)
    assert (data, len(fds)) == (b"line\n", 2)
    close(fds)
    transport.close()
    transport.write(b"late\n", some_fds(2))


@on_a_loop
async def test_closing_lets_what_was_written_out_first(
    heard: Heard, transport: Transport, theirs: socket.socket
) -> None:
    size = 4 << 20
    transport.write(b"x" * size)
    assert heard.paused == 1
    transport.write(b"", some_fds(0))
    transport.close()
    assert transport.is_closing()
    theirs.setblocking(False)
    found = 0
    while data := await asyncio.get_running_loop().sock_recv(theirs, 1 << 18):
        found += len(data)
    assert found == size
    await heard.until(lambda: heard.lost == 1)


@on_a_loop
async def test_a_writer_is_held_up_and_let_on(heard: Heard, transport: Transport, theirs: socket.socket) -> None:
    transport.write(b"x" * (HIGH * 20))
    assert (heard.paused, heard.resumed) == (1, 0)
    theirs.setblocking(False)
    found = 0
    while found < HIGH * 20:
        found += len(await asyncio.get_running_loop().sock_recv(theirs, 1 << 18))
    await heard.until(lambda: heard.resumed == 1)


@on_a_loop
async def test_the_other_sides_end_is_told_once(heard: Heard, transport: Transport, theirs: socket.socket) -> None:
    theirs.sendall(b"bye\n")
    theirs.close()
    await heard.until(lambda: heard.lost == 1)
    assert heard.data == b"bye\n"
    transport.abort()
    transport.close()
    assert heard.lost == 1


@on_a_loop
async def test_too_many_at_once_are_trouble(heard: Heard, transport: Transport, theirs: socket.socket) -> None:
    fds = some_fds(100)
    socket.send_fds(theirs, [b"line\n"], fds)
    close(fds)
    await heard.until(lambda: bool(heard.troubles))
    assert (heard.data, transport.stray_fds) == (b"", 0)


@on_a_loop
async def test_those_nobody_took_are_closed_with_it(heard: Heard, transport: Transport, theirs: socket.socket) -> None:
    fds = some_fds(5)
    socket.send_fds(theirs, [b"line\n"], fds)
    close(fds)
    await heard.until(lambda: heard.data == b"line\n")
    transport.write(b"x" * (4 << 20))
    transport.write(b"more", some_fds(2))


def test_a_listener_makes_one_for_each_client(tmp_path: Path) -> None:
    async def body() -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        made: list[Heard] = []

        def make() -> Heard:
            made.append(Heard())
            return made[-1]

        loop = asyncio.get_running_loop()
        acceptor = Acceptor(loop, listener, lambda sock: Transport(loop, sock, make()))
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for number, client in enumerate(clients):
            client.connect(str(tmp_path / "socket"))
            client.sendall(b"%d" % number)
        async with asyncio.timeout(20):
            while sorted(one.data for one in made) != [b"0", b"1", b"2"]:
                await asyncio.sleep(0)
        acceptor.close()
        acceptor.close()
        await acceptor.wait_closed()
        clients[0].sendall(b"!")
        await made[0].until(lambda: made[0].data == b"0!")
        for client in clients:
            client.close()
        for one in made:
            await one.until(lambda one=one: one.lost == 1)  # type: ignore[misc]

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(body())
    assert len(os.listdir("/proc/self/fd")) == before
