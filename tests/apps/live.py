"""What the tests of the browser side run: jobs that speak, and who a browser's user is."""

from __future__ import annotations

import time

from starlette.requests import HTTPConnection

from stoker import Context, Product
from stoker.web import Identity
from tests.apps.kit import hold

live = Product("live")


def who(asking: HTTPConnection) -> Identity | None:
    """The cookie ``who`` is ``user`` or ``user/session``; a test's login."""
    user, _, session = asking.cookies.get("who", "").partition("/")
    return Identity(user, session or "main") if user else None


@live.command
def count(ctx: Context, upto: int, pause: float = 0.0, gate: str = "") -> int:
    """Stream ``0 1 2 …``, with a pause between, and wait at the gate half way."""
    for number in range(upto):
        if gate and number == upto // 2:
            hold(gate)
        ctx.stream.write(f"{number} ")
        ctx.progress(100 * (number + 1) / upto, f"at {number}")
        time.sleep(pause)
    return upto


@live.command
def say(ctx: Context, text: str, fail: bool = False) -> str:
    """Stream this text, and answer with it."""
    ctx.stream.write(text)
    ctx.progress(50, text)
    if fail:
        raise ValueError(text)
    return text


@live.command
def pour(ctx: Context, pieces: int, size: int, gate: str = "") -> int:
    """Stream numbered pieces of so many characters."""
    for number in range(pieces):
        if gate and number == pieces // 10:
            hold(gate)
        ctx.stream.write(f"{number:08d}".ljust(size, "."))
    return pieces
