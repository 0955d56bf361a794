"""An application as a package of 003 spells it, beside a second product with a command of the same name."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import msgspec
import pydantic

from stoker import Context, JobFailed, Product, command

notes = Product("notes")
shop = Product("shop")


class Source(pydantic.BaseModel):
    path: str
    embed: bool = True
    depth: int = pydantic.Field(default=1, ge=1, le=9)


class Indexed(pydantic.BaseModel):
    chunks: int
    source: Source


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class Size:
    width: int
    height: int = 5


@notes.command
def process(source: Source) -> Indexed:
    """Takes a pydantic model, gives one."""
    return Indexed(chunks=len(source.path) * source.depth, source=source)


@shop.command(name="process")
def process_order(number: int) -> str:
    return f"order {number}"


@notes.command
def move(point: Point) -> Point:
    return Point(point.x + 1, point.y + 1)


@notes.command
def area(size: Size) -> int:
    return size.width * size.height


@notes.command
def lies() -> int:
    return "not a number"  # type: ignore[return-value]  # what the test is about


@notes.command
def not_json() -> Any:
    return object()


@notes.command
async def coroutine(value: int) -> int:
    return value + 1


@command("open_notebook", "process_source", timeout=300)
async def process_source(path: str, ctx: Context) -> dict[str, Any]:
    return {"success": True, "path": path, "pid": os.getpid(), "attempt": ctx.attempt}


@command("embed", app="open_notebook", retry={"max_attempts": 2})
def embed(item: str, ctx: Context) -> dict[str, Any]:
    if ctx.attempt == 1:
        raise ConnectionError("once more")
    return {"item": item}


@notes.command
def unwell() -> dict[str, Any]:
    """Says in its result that it did not go well."""
    return {"success": False, "error_message": "Could not extract content: encrypted"}


@notes.command
def skips(done: bool) -> dict[str, Any]:
    return {"skipped": done}


def raised() -> type[Exception]:
    return JobFailed
