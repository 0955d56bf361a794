"""An application that may run on several nodes."""

from __future__ import annotations

import os
import time

from stoker import Context, Product
from tests.apps.kit import hold as wait_at

fleet = Product("fleet")


@fleet.command
def where() -> str:
    """The folder of the node that runs it."""
    return os.environ["STOKER_ROOT"]


@fleet.command(labels="gpu")
def train() -> str:
    return os.environ["STOKER_ROOT"]


@fleet.command
def hold(gate: str = "door") -> str:
    wait_at(gate)
    return os.environ["STOKER_ROOT"]


@fleet.command(retries=3)
def talk(words: int = 50, every: float = 0.02, *, ctx: Context) -> int:
    """Stream some words, one after the other."""
    for number in range(words):
        ctx.stream.write(number)
        ctx.progress(100 * number / words)
        time.sleep(every)
    return words


@fleet.command
def echo(text: str, times: int = 1) -> str:
    return text * times
