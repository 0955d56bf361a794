"""Jobs that go too far: in time, in memory, in output; and jobs that will not stop."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time

from stoker import CancelRequested, Context, Product, TimeLimitExceeded
from tests.apps.kit import append, hold

limits = Product("limits")
HOG = "import time; data = bytearray({}); data[::4096] = b'x' * len(data[::4096]); time.sleep(60)"


@limits.command(timeout=0.3)
def polite(gate: str) -> str:
    try:
        hold(gate)
    except TimeLimitExceeded as limit:
        append("polite.txt", limit.reason)
        raise
    return "in time"


@limits.command(timeout=0.3, retries=1)
def tries_again(ctx: Context) -> int:
    if ctx.attempt == 1:
        time.sleep(60)
    return ctx.attempt


@limits.command(timeout=0.3)
def swallows() -> None:
    """Ordinary care for errors does not swallow the limit."""
    while True:
        try:
            time.sleep(60)
        except Exception:
            append("swallowed.txt", "yes")


@limits.command(timeout=0.3)
def stubborn(gate: str) -> None:
    """Nothing but SIGKILL ends this one."""
    signal.signal(signal.SIGTERM, lambda *_: append("stubborn.txt", "TERM"))
    while True:
        try:
            hold(gate)
        except BaseException as error:
            append("stubborn.txt", type(error).__name__)


@limits.command(timeout=0.3)
def in_c() -> int:
    """A loop that never comes back to the interpreter."""
    return sum(range(10**15))


@limits.command(timeout=0.3)
def finishes_anyway() -> str:
    try:
        time.sleep(60)
    except BaseException:
        return "made it"
    return "never"


@limits.command(timeout=0.3)
async def in_a_loop() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        append("loop.txt", "finally")


@limits.command
def unlimited(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


@limits.command(memory="100MB")
def grows() -> int:
    rows: list[list[int]] = []
    while True:
        rows.append(list(range(10_000)))


@limits.command(memory="100MB")
def modest() -> int:
    return len(bytearray(50 << 20))


@limits.command(memory="100MB")
def hogs_below(size: int, count: int) -> list[int]:
    """Subprocesses grow in this job's place."""
    argv = [sys.executable, "-I", "-S", "-c", HOG.format(size)]
    hogs = [subprocess.Popen(argv, stdout=subprocess.DEVNULL) for _ in range(count)]
    return [hog.wait() for hog in hogs]


@limits.command
def hog(size: int) -> None:
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    hold("hog")


@limits.command(output="10KB")
def floods(lines: int) -> int:
    for number in range(lines):
        print(f"line {number:08}")
    return lines


@limits.command(output="10KB")
def streams(count: int, ctx: Context) -> int:
    for number in range(count):
        ctx.stream.write(f"piece {number:08}")
    return count


@limits.command
def waits(gate: str) -> str:
    try:
        hold(gate)
    except CancelRequested as request:
        append("cancelled.txt", request.reason)
        raise
    return "not cancelled"


@limits.command
def too_late(gate: str) -> str:
    """A result that comes in spite of the cancel."""
    try:
        hold(gate)
    except BaseException:
        return "a result"
    return "not cancelled"


@limits.command(retries=5)
def fails_when_cancelled(gate: str) -> None:
    try:
        hold(gate)
    except BaseException:
        raise ValueError("an error on the way out") from None


@limits.command(isolation="async", timeout=5)
async def async_waits(gate: str) -> str:
    append(f"{gate}.here", str(os.getpid()))
    try:
        await asyncio.sleep(60)
    finally:
        append("async.txt", "finally")
    return "never"


@limits.command(isolation="thread", timeout=5)
def thread_waits(gate: str) -> str:
    try:
        hold(gate)
    finally:
        append("thread.txt", "finally")
    return "released"


@limits.command(isolation="thread", timeout=0.3)
def thread_in_c() -> int:
    return sum(range(10**15))


@limits.command(key="input.name")
def one_at_a_time(name: str, gate: str) -> None:
    hold(gate)


@limits.command
def descriptors() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_NOFILE)
