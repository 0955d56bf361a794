"""Products with workers of their own: warm state, recycling, and all the ways a worker can go wrong."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from stoker import Context, Product
from tests.apps.kit import append, hold

images = Product("images", isolation="process", workers=3)
one = Product("one", isolation="process")
worn = Product("worn", isolation="process", recycle_jobs=5)
leaky = Product("leaky", isolation="process", recycle_memory="150MB")
old = Product("old", isolation="process", recycle_age="0.5s")
elastic = Product("elastic", isolation="process", workers=1, max_workers=3, grow_after="50ms", shrink_after="300ms")
threads = Product("threads", isolation="thread", slots=4)
loops = Product("loops", isolation="async", slots=50)
crashing = Product("crashing", isolation="process")
apart = Product("apart")
heavy = Product("heavy", weight=3)
light = Product("light")
kept = Product("kept", reserved=2)
lone = Product("lone", isolation="process")
bare = Product("bare", isolation="process", workers=1, max_workers=1)


@images.resident
def model() -> Iterator[dict[str, int]]:
    append("images.hook", f"start {os.getpid()}")
    yield {"pid": os.getpid(), "jobs": 0}
    append("images.hook", f"stop {os.getpid()}")


@images.command
def warm(ctx: Context) -> list[int]:
    ctx.resident["jobs"] += 1
    return [ctx.resident["pid"], os.getpid(), ctx.resident["jobs"]]


@images.command
def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@images.command
def gated(gate: str) -> int:
    hold(gate)
    return os.getpid()


@images.command(retries=1)
def gated_again(gate: str, ctx: Context) -> list[int]:
    hold(gate)
    return [ctx.attempt, os.getpid()]


@images.command
def busy_in_c(gate: str, seconds: float) -> None:
    """With the interpreter's lock held: PyDLL does not let go of it."""
    append(f"{gate}.here", str(os.getpid()))
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


one.command(name="busy_in_c")(busy_in_c.handler)


@images.command
def waits_for_another(gate: str, ctx: Context) -> str:
    here = Path(f"{gate}.here")
    while not here.exists() or len(here.read_text().split()) < 2:
        time.sleep(0.005)
    job = ctx.submit(nap, 0.0)
    append("asking.here", str(os.getpid()))
    return str(ctx.ask("wait", job=job, seconds=20)["status"])


@images.command
def talks(me: str, ctx: Context) -> None:
    ctx.cleanup(lambda: append(f"{me}.cleaned", "once"))
    append(f"{me}.here", str(os.getpid()))
    while True:
        ctx.progress(50, "x" * 1000)


@one.command
def add(left: int, right: int = 1) -> int:
    return left + right


@one.command
def recites(pieces: int, ctx: Context) -> int:
    for _ in range(pieces):
        ctx.emit("piece", "x" * 60_000)
    return pieces


@one.command
def where() -> int:
    return os.getpid()


@lone.command
def stays(gate: str) -> int:
    hold(gate)
    return os.getpid()


@one.command
def waits(gate: str) -> int:
    hold(gate)
    return os.getpid()


@one.command(retries=1)
def killed_once(ctx: Context) -> int:
    if ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.attempt


@one.command
def says(text: str, ctx: Context) -> str:
    print(text)
    print(f"to stderr: {text}", file=__import__("sys").stderr)
    ctx.progress(50, text)
    return text


@one.command
def asks(ctx: Context) -> str:
    return str(ctx.ask("ping"))


@one.command
def fails() -> None:
    raise LookupError("in a worker")


@one.command(timeout=0.3)
def too_long() -> None:
    time.sleep(60)


@one.command(timeout=0.3)
def deadlocks() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@one.command(timeout=0.3)
def swallows() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(1)
        except BaseException:
            append("swallowed", "once")


@one.command(timeout=0.5)
def stopped() -> None:
    append("stopped.here", str(os.getpid()))
    time.sleep(60)


@one.command(memory="100MB")
def hoards(size: int) -> int:
    return len(bytearray(size))


@worn.command(name="where")
def worn_where() -> int:
    return os.getpid()


@leaky.command
def leaks(size: int) -> int:
    held.append(bytearray(os.urandom(1)) * size)
    return os.getpid()


held: list[Any] = []


@old.command(name="where")
def old_where() -> int:
    return os.getpid()


@elastic.command(name="gated")
def elastic_gated(gate: str) -> int:
    hold(gate)
    return os.getpid()


@threads.command(name="gated")
def thread_gated(gate: str) -> list[int]:
    hold(gate)
    return [os.getpid(), threading.get_ident()]


def ends(how: str) -> None:
    raise {"keyboard": KeyboardInterrupt, "generator": GeneratorExit}[how]("in a worker")


threads.command(name="ends")(ends)
loops.command(name="plain_ends")(ends)
apart.command(name="inline_ends", isolation="inline")(ends)


@loops.command(name="ends")
async def loop_ends(how: str) -> None:
    ends(how)


@loops.resident
async def session() -> AsyncIterator[dict[str, int]]:
    yield {"loop": id(asyncio.get_running_loop())}
    append("loops.hook", "stop")


@loops.command
async def same_loop(ctx: Context) -> bool:
    await asyncio.sleep(0)
    return bool(ctx.resident["loop"] == id(asyncio.get_running_loop()))


@loops.command
def plain(ctx: Context) -> list[Any]:
    return [os.getpid(), threading.current_thread() is threading.main_thread(), ctx.resident is not None]


@crashing.resident
def broken_hook() -> Iterator[None]:
    append("crashing.hook", str(os.getpid()))
    if Path("exits").exists():
        raise SystemExit(3)
    if Path("ends").exists():
        return
    if not Path("mended").exists():
        raise RuntimeError("no model there")
    yield None


@crashing.command
def works() -> str:
    return "works"


@apart.resident
def each() -> Iterator[str]:
    append("apart.hook", "start")
    yield "fresh"
    append("apart.hook", "stop")


@apart.command
def state(ctx: Context) -> list[Any]:
    return [ctx.resident, os.getpid()]


@apart.command(name="talks")
def apart_talks(me: str, ctx: Context) -> None:
    talks(me, ctx)


@apart.command
def double(left: int) -> int:
    return 2 * left


@heavy.command(name="gated")
def heavy_gated(gate: str) -> None:
    hold(gate)


@light.command(name="gated")
def light_gated(gate: str) -> None:
    hold(gate)


@kept.command(name="gated")
def kept_gated(gate: str) -> None:
    hold(gate)


@bare.command
def nothing() -> None:
    pass


class PicturesProduct(Product):
    """The class form of 001."""

    def start(self) -> None:
        append("pictures.start", str(os.getpid()))
        self.warm = True

    def handle_job(self, action: str, msg: dict[str, Any]) -> Any:
        if action == "process_image":
            return {"size": msg["size"] * 2, "job": msg["jobId"], "warm": self.warm, "pid": os.getpid()}
        if action in ("refuse", "explode"):
            raise ValueError("x")
        return super().handle_job(action, msg)


pictures = PicturesProduct(isolation="process", workers=1)
pictures.script("list", ["ls", "{input.path}"])
pictures.script("told", ["echo", '{"said": 1}'], result="json")


@pictures.script(timeout=0.5)
def sleeps(seconds: int) -> list[str]:
    return ["sleep", str(seconds)]


@pictures.script
def exits(code: int) -> list[str]:
    return ["sh", "-c", 'echo "before"; echo "problem" >&2; exit "$0"', str(code)]


@pictures.script
def kills_itself() -> list[str]:
    return ["sh", "-c", "kill -9 $$"]
