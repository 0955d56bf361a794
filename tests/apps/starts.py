"""Workers that take their time to start, die at it, or never come to its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from stoker import Context, Product
from tests.apps.kit import append, hold

slow = Product("slow", isolation="process", workers=2)
elastic = Product("elastic", isolation="process", workers=0, max_workers=1)
loops = Product("loops", isolation="async", workers=1, slots=10)
dying = Product("dying", isolation="process", workers=1)
hanging = Product("hanging", isolation="process", workers=1, start_timeout="0.3s")
stopped = Product("stopped", isolation="process", workers=1)
careless = Product("careless")


@slow.resident
def takes_long() -> Iterator[int]:
    time.sleep(0.3)
    if Path("broken").exists():
        raise RuntimeError("the model is gone")
    append("slow.hook", str(os.getpid()))
    yield os.getpid()


@slow.command
def double(left: int) -> list[int]:
    return [2 * left, os.getpid()]


@slow.command
def marked(number: int, ctx: Context) -> int:
    append("marks", str(number))
    return ctx.attempt


@elastic.command(name="where")
def elastic_where() -> int:
    return os.getpid()


@loops.command(name="where")
async def loops_where() -> int:
    return os.getpid()


@dying.resident
def dies() -> Iterator[None]:
    way = Path("way").read_text()
    if way == "exit":
        os.write(2, b"loading\nno CUDA device\n")
        os._exit(3)
    if way == "silent":
        os._exit(0)
    if way == "signal":
        print("about to crash", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if way == "thread":
        sys.stderr.write("half a line")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    yield None


@dying.command
def lives() -> str:
    return "lives"


@hanging.resident
def hangs() -> Iterator[None]:
    while not Path("mended").exists():
        os.write(2, b"waiting for the licence server\n")
        time.sleep(60)
    yield None


@hanging.command
def works() -> str:
    return "works"


@stopped.command
def held(gate: str) -> int:
    hold(gate)
    return os.getpid()


@loops.command
async def blocked(gate: str) -> int:
    hold(gate)
    return os.getpid()


def linger() -> None:
    while not Path("over").exists():
        time.sleep(0.02)


@careless.command(isolation="inline")
def starts_a_thread() -> None:
    """In the zygote, which then cannot fork."""
    threading.Thread(target=linger, daemon=True).start()
