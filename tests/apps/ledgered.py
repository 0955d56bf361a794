"""Jobs that write themselves down; what the crash tests run."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Any

from stoker import Backoff, Context, Product
from tests.apps.kit import enter, hold

led = Product("led")
QUICK = Backoff(base=0.02, cap=0.1)


@led.command(backoff=QUICK)
def work(ctx: Context, gate: str = "", seconds: float = 0.0, text: str = "") -> dict[str, Any]:
    """Begin, wait for what the test says, end; the result says who it was."""
    enter(ctx.job, ctx.attempt, "begin")
    if gate:
        hold(gate)
    if seconds:
        time.sleep(seconds)
    for _ in range(3):
        ctx.stream.write(text)
    enter(ctx.job, ctx.attempt, "end")
    return {"attempt": ctx.attempt, "pid": os.getpid()}


@led.command(backoff=QUICK, retries=10)
def mortal(ctx: Context, seconds: float = 0.0) -> dict[str, Any]:
    """The same, for a test that kills the process itself: such a loss is the job's, and needs retries."""
    enter(ctx.job, ctx.attempt, "begin")
    time.sleep(seconds)
    enter(ctx.job, ctx.attempt, "end")
    return {"attempt": ctx.attempt, "pid": os.getpid()}


@led.command(backoff=QUICK, retries=2)
def poison(how: str, ctx: Context) -> None:
    enter(ctx.job, ctx.attempt, "begin")
    match how:
        case "segv":
            ctypes.string_at(0)
        case "exit0":
            os._exit(0)
        case "sysexit":
            sys.exit(0)
        case "oom":
            os.kill(os.getpid(), 9)
        case "error":
            raise ValueError(how)


@led.command(once=True)
def once(ctx: Context, gate: str) -> dict[str, Any]:
    """Must never start twice."""
    enter(ctx.job, ctx.attempt, "begin")
    hold(gate)
    enter(ctx.job, ctx.attempt, "end")
    return {"attempt": ctx.attempt, "pid": os.getpid()}


@led.command
def holds_the_interpreter(seconds: float, ctx: Context) -> dict[str, Any]:
    """Busy in C with the interpreter's lock held: PyDLL does not let go of it while it sleeps."""
    enter(ctx.job, ctx.attempt, "begin")
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    enter(ctx.job, ctx.attempt, "end")
    return {"attempt": ctx.attempt, "pid": os.getpid()}
