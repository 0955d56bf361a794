"""What the story tests run: one product whose commands do one small thing each."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import Any

from stoker import Backoff, Context, Product
from tests.apps.kit import append, hold

if "STOKER_ROOT" in os.environ:
    append("imports.txt", "once")

story = Product("story")


@story.command
def echo(value: Any) -> Any:
    return value


@story.command
def whoami(ctx: Context) -> dict[str, Any]:
    return {
        "pid": os.getpid(), "parent": os.getppid(), "user": ctx.user, "attempt": ctx.attempt, "job": ctx.job,
        "tags": list(ctx.tags), "command": ctx.command,
    }  # fmt: skip


@story.command
def wait(gate: str, tag: str = "") -> int:
    hold(gate)
    with open(f"{gate}.done", "a") as file:
        file.write(f"{tag}\n")
    return os.getpid()


@story.command
def note(file: str, text: str) -> float:
    """Append a line and say when."""
    began = time.time()
    append(file, text)
    return began


@story.command(wait=False)
def quiet(gate: str) -> str:
    hold(gate)
    return "heard by nobody"


@story.command
def double(number: int) -> int:
    return 2 * number


@story.command
def die(how: str) -> None:
    if how == "exit":
        os._exit(0)
    if how == "exit3":
        os._exit(3)
    if how == "sysexit":
        sys.exit(0)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)


@story.command
def fail(message: str) -> None:
    raise ValueError(message)


@story.command(callers=("script",))
def for_scripts() -> str:
    return "script"


@story.command(callers=("web",))
def for_web() -> str:
    return "web"


@story.command(isolation="inline")
def inside() -> int:
    return os.getpid()


@story.command
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@story.command
def say(words: list[str], ctx: Context) -> int:
    for word in words:
        ctx.stream.write(word)
    return len(words)


@story.command
def say_slowly(words: list[str], gate: str, ctx: Context) -> None:
    """The first word, and the others when the gate opens."""
    for number, word in enumerate(words):
        if number == 1:
            hold(gate)
        ctx.log(f"said {word}")
        ctx.stream.write(word)


@story.command
def deaf(gate: str) -> None:
    """Hears no signal that can be shut out, and no exception."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            hold(gate)
        except BaseException:
            continue


@story.command(retries=1, backoff=Backoff(base=0.01))
def wait_and_fail(gate: str) -> None:
    hold(gate)
    raise RuntimeError("too late")


@story.command
def whispers() -> None:
    logging.getLogger("story").debug("for the curious")
    logging.getLogger("story").info("for all")
