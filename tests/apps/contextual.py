"""What a handler does with its context, in a process of its own and in residents."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from stoker import Backoff, Context, Product
from tests.apps.kit import append, hold

ctx_product = Product("context")
say_aloud = logging.getLogger("contextual.voice")


@ctx_product.command
def steps(texts: list[str], ctx: Context) -> None:
    for number, text in enumerate(texts):
        ctx.progress(100 * number / len(texts), text, step=f"step {number}")
        hold(text)


@ctx_product.command
def progress_of(percent: float, ctx: Context) -> None:
    ctx.progress(percent)


@ctx_product.command
def talk(ctx: Context) -> None:
    ctx.log("plain")
    ctx.log("with fields", level="warning", page=3, nested={"ü": [1]})
    say_aloud.info("by logging %d", 7)
    try:
        raise KeyError("inner")
    except KeyError:
        say_aloud.exception("an accident")


@ctx_product.command
def output() -> None:
    print("from python")
    print("to stderr", file=sys.stderr)
    sys.stdout.flush()
    subprocess.run(["sh", "-c", "echo from a subprocess; echo its stderr >&2"], check=True)
    libc = ctypes.CDLL(None)
    libc.puts(b"from C")
    libc.fflush(None)
    os.write(1, b"raw \xff bytes and a \x1b[31mcolour\n")
    print("unfinished line", end="")


@ctx_product.command
def pieces(ctx: Context) -> int:
    for piece in ("word ", {"tokens": [1, 2]}, None, "ü\nnew line"):
        ctx.stream.write(piece)
    ctx.emit("chapter", {"number": 1})
    return 4


@ctx_product.command
def order(ctx: Context) -> list[str]:
    found: list[str] = []
    ctx.later(lambda: found.append("later"))
    ctx.later(lambda: append("order.txt", "deferred"))
    append("order.txt", "first")
    found.append("now")
    return found


@ctx_product.command
def child(number: int, ctx: Context) -> dict[str, Any]:
    return {"number": number, "user": ctx.user}


@ctx_product.command(retries=2, backoff=Backoff(base=0.01))
def parent(count: int, ctx: Context) -> list[str]:
    """Submits the same children in every attempt, and fails in the first."""
    found = [ctx.submit("context.child", number=number) for number in range(count)]
    append("submitted.txt", " ".join(found))
    if ctx.attempt == 1:
        raise RuntimeError("after submitting")
    return found


@ctx_product.command
def asks(ctx: Context) -> dict[str, Any]:
    me = ctx.ask("job", job=ctx.job)
    try:
        ctx.ask("stop")
    except Exception as error:
        refused = type(error).__name__
    return {"status": me["status"], "pid": ctx.ask("stats")["pid"], "refused": refused}


@ctx_product.command
async def async_asks(ctx: Context) -> list[Any]:
    me, stats = await asyncio.gather(ctx.aask("job", job=ctx.job), ctx.aask("stats"))
    id = await ctx.asubmit("context.child", number=5)
    return [me["status"], stats["running"], id]


@ctx_product.command(isolation="async")
async def resident_asks(ctx: Context) -> list[Any]:
    me, stats = await asyncio.gather(ctx.aask("job", job=ctx.job), ctx.aask("stats"))
    id = await ctx.asubmit("context.child", number=6)
    order: list[str] = []
    ctx.later(lambda: order.append("later"))
    order.append("now")
    await asyncio.sleep(0)
    return [me["status"], stats["running"], id, order]


def look() -> dict[str, Any]:
    return {"key": os.environ.get("OPENAI_API_KEY"), "pid": os.getpid()}


@ctx_product.command
def keys(gate: str, ctx: Context) -> dict[str, Any]:
    """One user's keys, seen by this job and by what it starts, for as long as it wants."""
    before = dict(os.environ)
    with ctx.environment({"OPENAI_API_KEY": f"key-of-{ctx.user}"}):
        hold(gate)
        found = look()
        found["below"] = subprocess.run(["printenv", "OPENAI_API_KEY"], capture_output=True, text=True).stdout.strip()
    return {**found, "restored": dict(os.environ) == before}


@ctx_product.command(isolation="async")
async def async_keys(gate: str, ctx: Context) -> dict[str, Any]:
    before = dict(os.environ)
    with ctx.environment({"OPENAI_API_KEY": f"key-of-{ctx.user}"}):
        append(f"{gate}.here", str(os.getpid()))
        while not Path(f"{gate}.gate").exists():
            await asyncio.sleep(0.005)
        found = look()
    return {**found, "restored": dict(os.environ) == before, "after": os.environ.get("OPENAI_API_KEY")}


@ctx_product.command(isolation="thread")
def thread_keys(gate: str, ctx: Context) -> dict[str, Any]:
    before = dict(os.environ)
    with ctx.environment({"OPENAI_API_KEY": f"key-of-{ctx.user}"}):
        hold(gate)
        found = look()
    print(f"printed for {ctx.user}")
    say_aloud.info("logged for %s", ctx.user)
    return {**found, "restored": dict(os.environ) == before, "thread": threading.get_ident()}


@ctx_product.command(timeout=0.4)
def tidy(how: str, ctx: Context) -> str:
    """Makes a file, and takes it away however it ends."""
    file = tempfile.NamedTemporaryFile(prefix="tidy-", dir=".", delete=False)  # noqa: SIM115 (closed by the clean-up)
    ctx.cleanup(lambda: append("tidied.txt", how))
    ctx.cleanup(lambda: os.unlink(file.name))
    ctx.enter(file)
    try:
        if how == "error":
            raise ValueError("on purpose")
        if how in ("timeout", "cancel"):
            hold(f"tidy-{how}")
        return how
    finally:
        append("finally.txt", how)
