"""Finding passages by what they mean."""

from __future__ import annotations

import heapq

from examples.notebook import vectors
from examples.notebook.library import Library
from examples.notebook.records import Hit


def find(question: str, most: int, library: Library) -> list[Hit]:
    """The passages nearest in meaning to the question, best first.

    All vectors are compared, a page at a time: for the tens of thousands of passages that a person has, that is faster
    than an index would be worth, and never wrong.
    """
    asked = vectors.embed_question(question)
    best: list[tuple[float, str, int]] = []
    for page in library.vectors():
        scores = vectors.unpack([marked.vector for marked in page]) @ asked
        scored = ((float(score), m.source, m.position) for score, m in zip(scores, page, strict=True))
        best = heapq.nlargest(most, [*best, *scored])
    hits = []
    for score, source, position in best:
        title, text = library.passage(source, position)
        hits.append(Hit(score=round(score, 4), title=title, source=source, text=text))
    return hits
