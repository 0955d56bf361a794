"""What the tests of the command line run: types to be read from words, things to be said, and ways to end."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

from pydantic import BaseModel

from stoker import Backoff, Context, Product
from tests.apps.kit import hold

shell = Product("shell")
other = Product("other")


class Source(BaseModel):
    path: str
    embed: bool = True
    depth: int | None = None


@shell.command
def convertPdf(documentId: int, mode: Literal["fast", "best"] = "fast") -> dict[str, Any]:
    """Convert a document."""
    return {"document": documentId, "mode": mode}


@shell.command
def typed(text: str, number: float = 0.5, flag: bool = False, tags: list[str] | None = None, extra: Any = None) -> Any:
    return [text, number, flag, tags, extra]


@shell.command
def process(source: Source) -> dict[str, Any]:
    return source.model_dump()


@shell.command
def tell(ctx: Context, gate: str = "") -> dict[str, str]:
    """Say something in every way there is."""
    ctx.progress(40, "reading page 3")
    ctx.stream.write("streamed ")
    ctx.stream.write("words\n")
    print("printed \x1b[31mred\x1b[0m")
    print("complained", file=sys.stderr)
    ctx.log("the disk is nearly full", level="warning", left=3)
    if gate:
        hold(gate)
    return {"said": "it"}


@shell.command
def wait(gate: str) -> int:
    hold(gate)
    return os.getpid()


@shell.command
def boom(text: str = "no luck") -> None:
    raise ValueError(text)


@shell.command(retries=1, backoff=Backoff(base=0.01))
def flaky() -> None:
    raise KeyError("again")


@shell.command(wait=False)
def quiet() -> None:
    pass


@shell.command
def twin() -> str:
    return "shell"


@other.command(name="twin")
def other_twin() -> str:
    return "other"
