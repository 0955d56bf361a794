"""Summing up: the sentences of a text that say most of it, and the phrases it turns on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from examples.notebook import chunks, vectors
from examples.notebook.words import is_term, sentences, terms, words

_WEIGHED = 200
"""Sentences that are embedded at most, about ten seconds' worth."""
_NEW = 0.2
"""How much it counts that a sentence says what no chosen one has said, against how much it says of the whole."""
_BREAK = re.compile(r"[.,;:!?…()\[\]\"“”—–]+|\n\s*\n")


def sum_up(text: str, most: int, focus: str | None, told: Callable[[float], None]) -> list[str]:
    """The sentences that together say most of the text, or most about ``focus``, in the order of the text.

    Of a long text only the sentences with most of its frequent words are weighed. ``told`` hears the part done.
    """
    found = _promising(list(dict.fromkeys(sentences(text))) or [" ".join(text.split())])
    blobs: list[bytes] = []
    for batch in chunks.batches(found, vectors.BATCH):
        told(len(blobs) / len(found))
        blobs.extend(row.tobytes() for row in vectors.embed(batch))
    told(1.0)
    meanings = vectors.unpack(blobs)
    aim = vectors.embed_question(focus) if focus else vectors.middle(meanings)
    return [found[number] for number in sorted(_chosen(meanings, aim, most))]


def _promising(found: Sequence[str]) -> list[str]:
    frequent = Counter(term for sentence in found for term in terms(sentence))
    weights = [sum(frequent[term] for term in set(terms(sentence))) for sentence in found]
    best = sorted(range(len(found)), key=lambda number: -weights[number])[:_WEIGHED]
    return [found[number] for number in sorted(best)]


def _chosen(meanings: vectors.Vectors, aim: vectors.Vectors, most: int) -> list[int]:
    """Maximal marginal relevance: one after the other, the sentence nearest the aim and farthest from those taken."""
    relevance = meanings @ aim
    likeness = meanings @ meanings.T
    taken: list[int] = []
    left = set(range(len(meanings)))

    def worth(number: int) -> float:
        repeated = max((float(likeness[number, other]) for other in taken), default=0.0)
        return float((1 - _NEW) * relevance[number]) - _NEW * repeated

    while left and len(taken) < most:
        best = max(sorted(left), key=worth)
        taken.append(best)
        left.remove(best)
    return taken


def key_phrases(text: str, most: int = 6) -> list[str]:
    """The words a text turns on, and the phrases of two or three that come more than once, weightiest first."""
    frequent = Counter(terms(text))
    times = Counter(phrase for part in _BREAK.split(text) for phrase in _phrases(part))
    worth = {
        phrase: count * sum(frequent[word] for word in phrase)
        for phrase, count in times.items()
        if count > 1 or len(phrase) == 1
    }
    found: list[tuple[str, ...]] = []
    for phrase in sorted(worth, key=lambda phrase: (-worth[phrase], phrase)):
        if not any(set(phrase) <= set(longer) for longer in found):
            found.append(phrase)
    return [" ".join(phrase) for phrase in found[:most]]


def _phrases(part: str) -> Iterator[tuple[str, ...]]:
    """Up to three words that stand side by side, none of them a stop word."""
    found = words(part)
    for size in (1, 2, 3):
        for phrase in zip(*(found[first:] for first in range(size)), strict=False):
            if all(map(is_term, phrase)):
                yield phrase
