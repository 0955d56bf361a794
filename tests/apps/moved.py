"""Products that are dispatched to: moved buffers in and out, failures, deaths; one pool of each kind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import msgspec

from stoker import Buffer, Context, Product
from tests.apps.kit import append, hold

images = Product("images", isolation="process", workers=2)
threads = Product("threads", isolation="thread", workers=1, slots=4)
tasks = Product("tasks", isolation="async", workers=1, slots=4)
alone = Product("alone")


class Picture(msgspec.Struct):
    pixels: Buffer
    width: int
    pid: int


@images.command
def invert(pixels: Buffer, width: int = 1) -> Picture:
    """In place, and back without a copy."""
    pixels[:] = bytes(255 - byte for byte in pixels[:])
    return Picture(pixels, width, os.getpid())


@images.command
def digest(pixels: Buffer) -> str:
    return hashlib.sha256(pixels.view()).hexdigest()


@images.command
def total(pixels: Buffer) -> list[int]:
    """Reads every page, whatever is in it; its length, its sum over one byte a page, and who did it."""
    return [len(pixels), sum(pixels.view()[::4096]), os.getpid()]


@images.command
def size(pixels: Buffer) -> int:
    return len(pixels)


@images.command
def adler(pixels: Buffer) -> int:
    """Reads every byte, as fast as memory goes."""
    return zlib.adler32(pixels.view())


@images.command
def make(size: int, count: int = 1) -> list[Buffer]:
    return [Buffer.of(bytes([number]) * size) for number in range(count)]


@images.command
def whatever(data: dict[str, Any]) -> dict[str, Any]:
    """No type says where the Buffers are."""
    found = data["deep"][0]["here"]
    return {"size": len(found), "back": [found], "pid": os.getpid()}


@images.command
def who() -> int:
    return os.getpid()


@images.command
def fails(message: str = "x") -> None:
    raise ValueError(message)


@images.command
def waits(gate: str) -> int:
    append(f"{gate}.runs", str(os.getpid()))
    hold(gate)
    return os.getpid()


@images.command
def reads_at_gate(pixels: Buffer, gate: str) -> list[Any]:
    append(f"{gate}.runs", str(os.getpid()))
    hold(gate)
    return [pixels[:5].decode(), os.getpid()]


@images.command
def dies_in_a_worker(host: int, value: int) -> list[int]:
    """Once in a worker, where it is the end of it; in the host it does what it should."""
    append("dies.runs", str(os.getpid()))
    if os.getpid() != host:
        os.kill(os.getpid(), signal.SIGKILL)
    return [value + 1, os.getpid()]


@images.command(fallback="wait")
def wants_a_worker() -> int:
    return os.getpid()


@images.command(fallback="error")
def insists_on_a_worker() -> int:
    return os.getpid()


@images.command
def burns(seconds: float) -> int:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return os.getpid()


@images.command
def writes_file(path: str, pixels: Buffer) -> str:
    Path(path).write_bytes(bytes(pixels))
    return path


@images.command(timeout=0.3)
def forever() -> None:
    while True:
        time.sleep(0.01)


@images.command
def asks(ctx: Context) -> str:
    """A job that is stored, submitted by one that is not."""
    return ctx.submit(who)


@images.command(isolation="fork")
def apart() -> int:
    return os.getpid()


@threads.command
def in_thread(pixels: Buffer, gate: str | None = None) -> list[int]:
    if gate is not None:
        hold(gate)
    return [len(pixels), os.getpid(), threading.get_ident()]


@threads.command
def back(pixels: Buffer) -> Buffer:
    return pixels


@tasks.command
async def in_task(pixels: Buffer) -> list[int]:
    return [len(pixels), os.getpid()]


@tasks.command
async def returns(pixels: Buffer) -> Buffer:
    pixels[0:2] = b"ok"
    return pixels


_came = asyncio.Condition()
_shared: list[Buffer] = []


@tasks.command
async def returns_the_same(count: int) -> Buffer:
    """So many calls return one and the same Buffer, in one turn of the loop."""
    async with _came:
        _shared.append(_shared[0] if _shared else Buffer.of(b"same"))
        _came.notify_all()
        await _came.wait_for(lambda: len(_shared) == count)
    return _shared[0]


@alone.command
def by_fork(pixels: Buffer) -> int:
    return os.getpid()
