"""Words and sentences of a text; English, as the documents are."""

from __future__ import annotations

import re
from pathlib import Path

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_END = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"”’)\]]))(?<!\s[A-Z]\.)(?<!\bDr\.)(?<!\bMr\.)\s+(?=[^a-z\s])")
_BLANK = re.compile(r"\n[^\S\n]*\n")
_CLOSED = re.compile(r"[.!?…][\"”’)\]]*\Z")

STOPWORDS = frozenset(Path(__file__).with_name("stopwords.txt").read_text("utf-8").split())
"""Words that say nothing about what a text is about."""


def words(text: str) -> list[str]:
    """Every word in lower case, in order."""
    return _WORD.findall(text.lower())


def is_term(word: str) -> bool:
    """Whether a word carries meaning."""
    return len(word) > 2 and word not in STOPWORDS


def terms(text: str) -> list[str]:
    """The words that carry meaning."""
    return [word for word in words(text) if is_term(word)]


def sentences(text: str) -> list[str]:
    """The whole sentences of a text, without headings and other scraps. A blank line ends a paragraph."""
    found = (" ".join(part.split()) for paragraph in _BLANK.split(text) for part in _END.split(paragraph))
    return [part for part in found if _CLOSED.search(part) and len(words(part)) >= 4]


def shorten(text: str, most: int = 60) -> str:
    """The beginning of a text, for a title."""
    first = " ".join(text.split())
    return first if len(first) <= most else first[: most - 1].rsplit(" ", 1)[0] + "…"
