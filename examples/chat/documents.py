"""The documents of each user: a folder of their own, in which nothing is found of anybody else."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from examples.notebook.extract import ExtractionError
from examples.notebook.library import opened

SIZE_MAX = 20 << 20
KINDS = (".pdf", ".md", ".markdown", ".txt", ".html", ".htm")


class Refused(Exception):
    """A document that is not taken; says why."""


class Known(NamedTuple):
    """A document as a user sees it."""

    title: str
    state: str
    error: str | None
    passages: int


def home() -> Path:
    """Where everything of the chat is kept: ``CHAT_HOME``, or a folder below the current one."""
    folder = Path(os.environ.get("CHAT_HOME") or ".stoker/chat").absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def folder(user: str | None) -> Path:
    """That of one user. Whatever they are called, it is one below ``home``."""
    return home() / ("user-" + quote(user, safe="") if user else "nobody")


def path(user: str | None, name: str) -> Path:
    """The document of that name. Raises ExtractionError for one that is not there."""
    file = folder(user) / "documents" / name
    if name != _clean(name) or not file.is_file():
        raise ExtractionError(f"{name} is not among the documents")
    return file


async def keep(user: str, name: str, body: AsyncIterator[bytes]) -> str:
    """Keep what is uploaded, whole or not at all; the name under which it is kept. Raises Refused."""
    name = _clean(name)
    if Path(name).suffix.lower() not in KINDS:
        raise Refused(f"A document ends with one of {', '.join(KINDS)}.")
    place = folder(user) / "documents"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    coming = place / f".{os.urandom(8).hex()}"
    try:
        size = 0
        with coming.open("wb") as file:
            async for block in body:
                size += len(block)
                if size > SIZE_MAX:
                    raise Refused(f"A document has {SIZE_MAX >> 20} MB at most.")
                file.write(block)
        if not size:
            raise Refused(f"There is nothing in {name}.")
        coming.replace(place / name)
    finally:
        coming.unlink(missing_ok=True)
    return name


def known(user: str) -> list[Known]:
    """What the user has uploaded, and what became of it."""
    base = folder(user) / "base"
    if not base.exists():
        return []
    with opened(base) as shelf:
        return [Known(source.title, source.state, source.error, source.embedded) for source in shelf.sources()]


def _clean(name: str) -> str:
    """A file's name that is one: no folders, no control characters, not hidden, not too long."""
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    name = "".join(letter for letter in name if letter.isprintable()).strip().lstrip(".")
    stem, dot, kind = name.rpartition(".")
    return f"{stem[:60]}{dot}{kind[:10]}"
