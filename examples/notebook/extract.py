"""The text of a document, block by block."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Imported here, and not where it is needed: it starts no threads, so the daemon imports it once and every job has it.
import pypdf

from examples.notebook.page import Page

BLOCK = 1 << 18
"""Bytes read at a time."""
_TAG_MAX = 16 * BLOCK
_MARKDOWN = re.compile(r"^#{1,6} +|\*\*|`", re.MULTILINE)
_HYPHENATED = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
_CHARSET = re.compile(rb"charset=[\"']?([\w-]+)", re.IGNORECASE)


class ExtractionError(Exception):
    """There is no text in the document that could be got at; trying again will not help."""


class Block(NamedTuple):
    text: str
    done: float
    """How much of the document has been read with it, from 0 to 1."""


@dataclass(frozen=True)
class Document:
    """A document being read. ``blocks`` can be gone through once; it raises ExtractionError where the text ends."""

    title: str
    blocks: Iterator[Block]


def identity(path: Path) -> str:
    """A name for what the file says: the same content has the same, wherever it lies. Of a file that cannot be read,
    a name for its path."""
    digest = hashlib.blake2b(_reader(path).__name__.encode(), digest_size=10)
    try:
        with path.open("rb") as file:
            while data := file.read(BLOCK):
                digest.update(data)
    except OSError:
        digest.update(str(path).encode())
    return f"source:{digest.hexdigest()}"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Document]:
    """Open a document as what its name says it is. Raises ExtractionError, saying why."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise ExtractionError(f"{path.name}: {error.strerror or error}") from error
    with file:
        try:
            document = _reader(path)(file)
        except ExtractionError as error:
            raise ExtractionError(f"{path.name} {error}") from error
        yield Document(" ".join(document.title.split()) or path.stem, _with_text(document.blocks, path))


def _reader(path: Path) -> Callable[[BinaryIO], Document]:
    known = {".pdf": _pdf, ".html": _html, ".htm": _html, ".xhtml": _html, ".md": _markdown, ".markdown": _markdown}
    return known.get(path.suffix.lower(), _plain)


def _with_text(blocks: Iterator[Block], path: Path) -> Iterator[Block]:
    """The same blocks; a document without any text is an error and no empty success."""
    blank = True
    try:
        for block in blocks:
            blank = blank and not block.text.strip()
            yield block
    except ExtractionError as error:
        raise ExtractionError(f"{path.name} {error}") from error
    if blank:
        raise ExtractionError(f"{path.name} has no text in it; a scan has to go through OCR first")


def _decoded(file: BinaryIO, encoding: str = "utf-8-sig") -> Iterator[Block]:
    """The characters in blocks, with every line end as ``\\n``."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    size = max(os.fstat(file.fileno()).st_size, 1)
    while True:
        data = file.read(BLOCK)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise ExtractionError(f"is not text in {encoding}: {error.reason}") from error
        if "\0" in text:
            raise ExtractionError("is not text: it has zero bytes")
        yield Block(text, min(file.tell() / size, 1.0))
        if not data:
            return


def _plain(file: BinaryIO) -> Document:
    return Document("", _decoded(file))


def _markdown(file: BinaryIO) -> Document:
    first = file.readline(1000).decode("utf-8-sig", "replace")
    file.seek(0)
    blocks = (block._replace(text=_MARKDOWN.sub("", block.text)) for block in _decoded(file))
    return Document(first.removeprefix("# ") if first.startswith("# ") else "", blocks)


def _html(file: BinaryIO) -> Document:
    head = file.read(4096)
    file.seek(0)
    named = _CHARSET.search(head)
    try:
        encoding = codecs.lookup(named[1].decode()).name if named else "utf-8"
    except LookupError:
        encoding = "utf-8"
    page = Page()
    page.feed(head.decode(encoding, "replace"))
    return Document(page.title, _rendered(file, encoding))


def _rendered(file: BinaryIO, encoding: str) -> Iterator[Block]:
    page = Page()
    for block in _decoded(file, encoding):
        page.feed(block.text)
        if page.waiting > _TAG_MAX:
            raise ExtractionError("has a tag or comment without an end")
        yield Block(page.take(), block.done)
    page.close()
    yield Block(page.take(), 1.0)


def _pdf(file: BinaryIO) -> Document:
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted:
            raise ExtractionError("is locked with a password")
        title = reader.metadata.title if reader.metadata else None
        pages = len(reader.pages)
    except ExtractionError:
        raise
    except Exception as error:  # what is wrong with a file shows in pypdf as exceptions of many kinds
        raise ExtractionError(f"is no PDF that can be read: {error}") from error
    return Document(str(title or ""), _pages(reader, pages))


def _pages(reader: pypdf.PdfReader, pages: int) -> Iterator[Block]:
    for number in range(pages):
        try:
            text = reader.pages[number].extract_text()
        except Exception as error:
            raise ExtractionError(f"cannot be read on page {number + 1}: {error}") from error
        clean = text.replace("\0", " ").encode("utf-8", "replace").decode()
        yield Block(_paragraphs(clean) + "\n", (number + 1) / pages)


def _paragraphs(page: str) -> str:
    """A page's lines with words put together again, and a blank line after each that is short: a PDF knows lines and
    no paragraphs."""
    lines = _HYPHENATED.sub("", page).splitlines()
    short = 0.7 * max(map(len, lines), default=0)
    return "\n".join(line + "\n" if len(line) < short else line for line in lines)
