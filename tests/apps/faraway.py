"""Jobs for several nodes: those of ``far`` ask for a label, so a test decides where they run; ``any`` run anywhere."""

from __future__ import annotations

import os
import time
from typing import Any

from stoker import Backoff, Context, Product
from tests.apps.kit import append, enter
from tests.apps.kit import hold as wait_at

far = Product("far")
anywhere = Product("any")
QUICK = Backoff(base=0.02, cap=0.1)
ROOT = "STOKER_ROOT"


@anywhere.command(backoff=QUICK)
def work(ctx: Context, gate: str = "", seconds: float = 0.0) -> dict[str, Any]:
    """A job in the ledger; the result says who it was, and where."""
    enter(ctx.job, ctx.attempt, "begin")
    if gate:
        wait_at(gate)
    if seconds:
        time.sleep(seconds)
    enter(ctx.job, ctx.attempt, "end")
    return {"attempt": ctx.attempt, "pid": os.getpid(), "node": os.environ[ROOT]}


@far.command(labels="gpu")
def where() -> str:
    return os.environ[ROOT]


@far.command(labels="gpu")
def hold(gate: str) -> str:
    wait_at(gate)
    return os.environ[ROOT]


@far.command(labels="gpu")
def tell(lines: int, ctx: Context, gate: str = "") -> int:
    """Something of every kind of event, half of it before the gate."""
    for number in range(lines):
        if gate and number == lines // 2:
            wait_at(gate)
        ctx.stream.write(number)
        ctx.progress(100 * (number + 1) / lines, f"at {number}")
        ctx.log(f"line {number}")
    return lines


def chatter(words: int, a_second: float, ctx: Context) -> int:
    """Write so many words at that rate, however late some of them come."""
    begun = time.monotonic()
    for number in range(words):
        ctx.stream.write(number)
        time.sleep(max(0.0, begun + (number + 1) / a_second - time.monotonic()))
    return words


@far.command(labels="gpu", isolation="thread")
def far_chatter(words: int, a_second: float, ctx: Context) -> int:
    return chatter(words, a_second, ctx)


@anywhere.command(labels="near", isolation="thread")
def near_chatter(words: int, a_second: float, ctx: Context) -> int:
    return chatter(words, a_second, ctx)


@anywhere.command(backoff=QUICK)
def breathe(ctx: Context, gate: str) -> dict[str, Any]:
    """A job in the ledger that writes down, all the time, that it is alive; until the gate is open."""
    enter(ctx.job, ctx.attempt, "begin")
    while not os.path.exists(f"{gate}.gate"):
        append(f"{ctx.job}.breaths", repr(time.time()))
        time.sleep(0.005)
    append(f"{ctx.job}.breaths", repr(time.time()))
    enter(ctx.job, ctx.attempt, "end")
    return {"attempt": ctx.attempt, "pid": os.getpid()}


@anywhere.command(backoff=QUICK, key="input.source")
def keyed(ctx: Context, source: str, gate: str = "") -> dict[str, Any]:
    """One at a time of a source."""
    enter(ctx.job, ctx.attempt, "begin")
    if gate:
        wait_at(gate)
    enter(ctx.job, ctx.attempt, "end")
    return {"attempt": ctx.attempt, "pid": os.getpid()}
