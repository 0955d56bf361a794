"""Too much of everything."""

from __future__ import annotations

import os
from typing import Any

from stoker import Context, Product

floods = Product("floods")


@floods.command
def takes(value: Any) -> int:
    return len(str(value))


@floods.command
def prints(size: int) -> int:
    """So many bytes of output in ordinary lines."""
    line = b"x" * 1023 + b"\n"
    for _ in range(size // len(line)):
        os.write(1, line)
    return size


@floods.command
def one_line(size: int) -> int:
    """A line without an end."""
    piece = b"y" * (1 << 20)
    for _ in range(size // len(piece)):
        os.write(2, piece)
    return size


@floods.command
def returns(size: int) -> str:
    return "r" * size


@floods.command
def streams(size: int, ctx: Context) -> None:
    ctx.stream.write("s" * size)


@floods.command
def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@floods.command
def strange() -> None:
    os.write(1, b"nul \x00 bad \xff\xfe ansi \x1b[2J\x1b]0;owned\x07 half \xe2\x82")
    os.write(1, b"\xac end\n")


@floods.command
def logs_strange(ctx: Context) -> None:
    ctx.log("nul \x00 ansi \x1b[2J", text="\ud800 lone surrogate".encode("utf-8", "replace").decode())
    ctx.progress(50, "\x1b[31mred\x00")
