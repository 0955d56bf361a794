"""Words and sentences of a text; English, as the documents are."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_END = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"”’)\]]))(?<!\s[A-Z]\.)(?<!\bDr\.)(?<!\bMr\.)\s+(?=[^a-z\s])")
_CLOSED = re.compile(r"[.!?…][\"”’)\]]*\Z")

STOPWORDS = frozenset(
    """
    a about after again all almost also although always am among an and another any anybody anything are as at away be
    became because been before being best between both but by came can could did do does done down during each either
    else even ever every everybody few for from further get gets give given go goes had has have having he hence her here
    hers him his how i if in into is it its itself just keep kept know less let like little long made make makes many may
    me might mine more most much must my neither never no nobody none nor not nothing now of off often on once one only
    onto or other others our out over own per perhaps put quite rather said same say see seem several shall she should
    since so some somebody something soon still such take taken than that the their them then there these they thing
    things this those though through thus till to together too took toward two under until up upon us use used very was
    way we well went were what when where whether which while who whoever whole whom whose why will with within without
    would yet you your
    """.split()
)


def words(text: str) -> Iterator[str]:
    """Every word in lower case, in order."""
    return (found.group().lower() for found in _WORD.finditer(text))


def terms(text: str) -> Iterator[str]:
    """The words that carry meaning."""
    return (word for word in words(text) if len(word) > 2 and word not in STOPWORDS)


def sentences(text: str) -> list[str]:
    """The whole sentences of a text, without headings and other scraps. A line break ends a paragraph."""
    found = (part.strip() for line in text.splitlines() for part in _END.split(line))
    return [part for part in found if _CLOSED.search(part) and sum(1 for _ in words(part)) >= 4]


def shorten(text: str, most: int = 60) -> str:
    """The beginning of a text, for a title."""
    first = " ".join(text.split())
    return first if len(first) <= most else first[: most - 1].rsplit(" ", 1)[0] + "…"
