"""What the story tests run: one product whose commands do one small thing each."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from stoker import Context, Product

with open("imports.txt", "a") as counter:
    counter.write("once\n")

story = Product("story")


def hold(name: str, seconds: float = 60.0) -> None:
    """Say that we are here, and wait until the test opens the gate."""
    with open(f"{name}.here", "a") as file:
        file.write(f"{os.getpid()}\n")
    end = time.monotonic() + seconds
    while not Path(f"{name}.gate").exists():
        if time.monotonic() > end:
            raise TimeoutError(f"nobody opened {name}")
        time.sleep(0.005)


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
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)
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
