"""Commands with every rule of waiting and of trying again."""

from __future__ import annotations

import time

from stoker import Backoff, Cancel, Context, Product, Retry, Snooze, Unique
from stoker.model.job import OnDuplicate
from tests.apps.kit import append, hold

queue = Product("queue")
other = Product("other")


@queue.command
def door(gate: str = "door") -> None:
    hold(gate)


@queue.command
def mark(text: str, file: str = "marks.txt") -> float:
    began = time.time()
    append(file, text)
    return began


@queue.command(priority="critical")
def urgent(text: str) -> None:
    append("marks.txt", text)


@other.command
def mark_other(text: str) -> None:
    append("marks.txt", text)


@queue.command(unique=True)
def only_one(source: str, gate: str = "door") -> str:
    hold(gate)
    return source


@queue.command(unique=Unique(key="the-sync", on_duplicate=OnDuplicate.REJECT))
def sync(number: int = 0) -> int:
    hold("sync")
    return number


@queue.command(unique=Unique(key="latest", on_duplicate=OnDuplicate.REPLACE))
def latest(number: int) -> int:
    return number


@queue.command(unique=Unique(window=0.7))
def windowed(number: int) -> int:
    return number


@queue.command(key="input.source")
def per_source(source: str, gate: str) -> str:
    hold(gate)
    return source


@queue.command(key="user", key_limit=2)
def per_user(gate: str) -> None:
    hold(gate)


@queue.command(concurrency=2)
def pairwise(gate: str) -> None:
    hold(gate)


@queue.command(rate="10/s")
def rated(number: int) -> float:
    return time.time()


@queue.command(expires=0.3)
def perishable() -> None:
    append("perished.txt", "ran")


@queue.command(retries=3, backoff=Backoff(base=0.1, factor=2, jitter=0))
def flaky(succeed_at: int, ctx: Context) -> int:
    append("flaky.txt", f"{time.time()}")
    if ctx.attempt < succeed_at:
        raise ConnectionError(f"attempt {ctx.attempt}")
    return ctx.attempt


@queue.command(retries=2, backoff=Backoff(base=0.01), retry_on=(OSError,), never_retry=(FileNotFoundError,))
def picky(kind: str, ctx: Context) -> None:
    append(f"picky-{kind}.txt", str(ctx.attempt))
    raise {"OSError": OSError, "FileNotFoundError": FileNotFoundError, "ValueError": ValueError}[kind]("no")


@queue.command(retries=5, backoff=Backoff(base=60))
def asks_again(ctx: Context) -> int:
    if ctx.attempt < 3:
        raise Retry("the other side said 429", after=0.1)
    return ctx.attempt


@queue.command
def snoozes(ctx: Context) -> int:
    append("snoozes.txt", "here")
    with open("snoozes.txt") as file:
        if len(file.readlines()) < 4:
            raise Snooze(0.05, "not ready yet")
    return ctx.attempt


@queue.command(retries=5)
def gives_up() -> None:
    raise Cancel("the source is gone")


@queue.command(once=True, retries=0)
def once_only() -> None:
    append("once.txt", "ran")
    hold("once")


@queue.command
def fails_until(file: str) -> str:
    with open(file) as found:
        return found.read()
