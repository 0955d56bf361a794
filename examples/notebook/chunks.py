"""Text cut into passages, of a size that a question can be compared with.

The text comes in blocks and is never whole in memory: a file of a gigabyte takes as little as a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

LIMIT = 600
"""Characters of a passage at most; about 120 words, well within the 512 tokens that the model reads at once."""

_SENTENCE_ENDS = (". ", "! ", "? ", ".\n", "!\n", "?\n")


def passages(blocks: Iterable[str], limit: int = LIMIT) -> Iterator[str]:
    """Passages of ``limit`` characters at most: together the whole text, in order, less white space.

    A passage ends with a paragraph if it can, else with a sentence, else with a word. Where it ends depends on the
    text alone and not on how it was cut into blocks, so the same text always gives the same passages.
    """
    rest = ""
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > limit:
            end = _end(rest, start, limit)
            yield from _tidy(rest[start:end])
            start = end
        rest = rest[start:]
    yield from _tidy(rest)


def _end(text: str, start: int, limit: int) -> int:
    """Where the passage that begins at ``start`` ends: as late as possible, but in its second half."""
    low, high = start + limit // 2, start + limit
    paragraph = text.rfind("\n\n", low, high)
    if paragraph >= 0:
        return paragraph + 2
    sentence = max(text.rfind(mark, low, high) for mark in _SENTENCE_ENDS)
    if sentence >= 0:
        return sentence + 2
    space = max(text.rfind(" ", low, high), text.rfind("\n", low, high))
    return space + 1 if space >= 0 else high


def _tidy(passage: str) -> Iterator[str]:
    """The passage with a blank line between paragraphs and none within; nothing if there is nothing in it."""
    paragraphs = (_plain(part) for part in passage.split("\n\n"))
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    if text:
        yield text


def _plain(paragraph: str) -> str:
    """The paragraph on one line, with one space between words. Twice as fast as to split and join it."""
    line = paragraph.replace("\n", " ").replace("\t", " ")
    while "  " in line:
        line = line.replace("  ", " ")
    return line.strip()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, ``size`` at a time; ``itertools.batched`` is not in Python 3.11."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
