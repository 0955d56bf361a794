"""Reading a document into the library: extract, cut, keep; then embed.

Every step can be cut off and done again. Text and vectors are kept as they come, in places that are given by the
content, so a second attempt finds what the first one left and does only the rest.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from examples.notebook import chunks, extract, vectors
from examples.notebook.library import Library, Marked, Shelved
from examples.notebook.records import Indexed, Item, Source
from examples.notebook.words import shorten
from stoker import Context

_ROWS = 1000
"""Passages of one write: short enough that other jobs get their turn, long enough not to wait for the disk."""
_READ = 10.0
"""The percent at which the text is there and the embedding begins, by far the longer part."""


def index(request: Source, library: Library, ctx: Context) -> Indexed:
    """Have the document in the library; at once, if its content is there already.

    Raises ExtractionError, and then has noted on the source why.
    """
    begun = time.monotonic()
    path = Path(request.path).expanduser().absolute()
    source = extract.identity(path)
    if skipped := _is_done(source, library, request.embed):
        ctx.log("already indexed, skipped", source=source)
    else:
        try:
            _take_in(source, path, request, library, ctx)
        except extract.ExtractionError as error:
            reason = f"Could not extract content: {error}"
            library.fail(source, request.title or path.stem, str(path), reason)
            raise extract.ExtractionError(reason) from error
        if request.embed:
            embed_missing(source, library, ctx, begin=_READ)
    ctx.progress(100, "Ready")
    there = shelved(source, library)
    return Indexed(
        source=source,
        title=there.title,
        chunks=there.passages,
        characters=there.characters,
        seconds=round(time.monotonic() - begun, 3),
        skipped=skipped,
    )


def keep_item(item: Item, library: Library) -> str:
    """Keep a single text as a source of one passage, with its vector; its id, the same for the same text."""
    source = f"item:{hashlib.blake2b(item.text.encode(), digest_size=10).hexdigest()}"
    if not _is_done(source, library, embed=True):
        library.begin(source, item.title or shorten(item.text), path="")
        library.add(source, 0, [item.text])
        library.keep([Marked(source, 0, vectors.embed([item.text])[0].tobytes())], vectors.MODEL)
        library.finish(source, len(item.text))
    return source


def embed_missing(source: str, library: Library, ctx: Context, *, before: float = 0.0, begin: float = 0.0) -> int:
    """Embed the passages that have no vector, or one from ``before``; how many that were. ``begin`` is the percent
    that the job has reached already."""
    total = library.count_bare(source, before)
    done, last = 0, -1
    while batch := library.bare(source, last, vectors.BATCH, before):
        ctx.progress(round(begin + (100 - begin) * done / total, 1), "Generating embeddings...", step="embed")
        rows = vectors.embed([passage.text for passage in batch])
        marked = [Marked(source, p.position, row.tobytes()) for p, row in zip(batch, rows, strict=True)]
        library.keep(marked, vectors.MODEL)
        done, last = done + len(batch), batch[-1].position
    return done


def shelved(source: str, library: Library) -> Shelved:
    """The source of that id. Raises LookupError."""
    for found in library.sources(source):
        return found
    raise LookupError(f"the notebook has no source {source}")


def _is_done(source: str, library: Library, embed: bool) -> bool:
    return any(
        there.state == "indexed" and (not embed or there.embedded == there.passages)
        for there in library.sources(source)
    )


def _take_in(source: str, path: Path, request: Source, library: Library, ctx: Context) -> None:
    ctx.progress(0, "Extracting text...", step="extract")
    with extract.opened(path) as document:
        library.begin(source, request.title or document.title, str(path))
        seen = _Seen(document.blocks, _READ if request.embed else 100.0, ctx)
        kept = 0
        for batch in chunks.batches(chunks.passages(seen), _ROWS):
            library.add(source, kept, batch)
            kept += len(batch)
    library.finish(source, seen.characters)


class _Seen:
    """The text of the blocks, counted and reported as it goes by; ``end`` is the percent at its end."""

    def __init__(self, blocks: Iterator[extract.Block], end: float, ctx: Context) -> None:
        self.characters = 0
        self._blocks = blocks
        self._end = end
        self._ctx = ctx

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            self.characters += len(block.text)
            self._ctx.progress(round(self._end * block.done, 1), "Extracting text...", step="extract")
            yield block.text
