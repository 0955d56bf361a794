"""What can be said of a lot of text, or of a table, by counting."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path

from examples.notebook import vectors
from examples.notebook.library import Library, Marked
from examples.notebook.records import Column, Insights, Neighbours, Term
from examples.notebook.words import is_term, words

_COMPARED = 1000
"""Sources that are compared with each other at most."""
_KINDS_MAX = 100_000
"""Different words, or values of a column, that are counted at most, so that memory has a bound; of more, the rare ones
are let go."""


def of_notebook(library: Library) -> Insights:
    """Counts, the most frequent words, and which source is nearest to which."""
    sources = [source for source in library.sources() if source.state == "indexed"]
    counted = 0
    frequent: Counter[str] = Counter()
    for page in library.texts():
        found = words("\n".join(page))
        counted += len(found)
        frequent.update(found)
        _bound(frequent)
    counts = {
        "sources": len(sources),
        "failed": sum(source.state == "failed" for source in library.sources()),
        "passages": sum(source.passages for source in sources),
        "embedded": sum(source.embedded for source in sources),
        "characters": sum(source.characters for source in sources),
        "words": counted,
    }
    telling = Counter({word: times for word, times in frequent.items() if is_term(word)})
    titles = {source.id: source.title for source in sources}
    return Insights(counts=counts, terms=_most(telling, 10), neighbours=_neighbours(library, titles))


def of_table(path: Path) -> Insights:
    """Each column of a CSV file with a line of headings. Raises ValueError for a file without one."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        names = next(reader, [])
        if not names:
            raise ValueError(f"{path.name} is empty; a table begins with the names of its columns")
        tallies = [_Tally() for _ in names]
        rows = 0
        for row in reader:
            rows += 1
            for tally, value in zip(tallies, row, strict=False):
                tally.add(value.strip())
    columns = [tally.column(name) for name, tally in zip(names, tallies, strict=True)]
    return Insights(counts={"rows": rows, "columns": len(columns)}, columns=columns)


def _bound(counter: Counter[str]) -> None:
    if len(counter) > _KINDS_MAX:
        common = dict(counter.most_common(_KINDS_MAX // 2))
        counter.clear()
        counter.update(common)


def _most(counter: Counter[str], number: int) -> list[Term]:
    return [Term(word=word, times=times) for word, times in counter.most_common(number)]


def _neighbours(library: Library, titles: dict[str, str]) -> list[Neighbours]:
    sums: dict[str, vectors.Vectors] = {}
    for page in library.vectors():
        _add_up(page, sums)
    ids = [id for id in sums if id in titles][:_COMPARED]
    if len(ids) < 2:
        return []
    middles = vectors.unpack([vectors.middle(sums[id].reshape(1, -1)).tobytes() for id in ids])
    likeness = middles @ middles.T
    found = []
    for number, id in enumerate(ids):
        likeness[number, number] = -1.0
        nearest = int(likeness[number].argmax())
        score = round(float(likeness[number, nearest]), 4)
        found.append(Neighbours(title=titles[id], nearest=titles[ids[nearest]], likeness=score))
    return sorted(found, key=lambda pair: -pair.likeness)


def _add_up(page: list[Marked], sums: dict[str, vectors.Vectors]) -> None:
    for marked, vector in zip(page, vectors.unpack([marked.vector for marked in page]), strict=True):
        sums[marked.source] = sums[marked.source] + vector if marked.source in sums else vector


class _Tally:
    """A column as it goes by: its numbers by Welford's method, its other values counted."""

    def __init__(self) -> None:
        self._numbers = 0
        self._mean = 0.0
        self._squares = 0.0
        self._least = math.inf
        self._most = -math.inf
        self._filled = 0
        self._kinds: Counter[str] = Counter()

    def add(self, value: str) -> None:
        if not value:
            return
        self._filled += 1
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            self._numbers += 1
            step = number - self._mean
            self._mean += step / self._numbers
            self._squares += step * (number - self._mean)
            self._least, self._most = min(self._least, number), max(self._most, number)
        else:
            self._kinds[value] += 1
            _bound(self._kinds)

    def column(self, name: str) -> Column:
        column = Column(name=name, filled=self._filled, terms=_most(self._kinds, 5))
        if self._numbers:
            column.least, column.most, column.mean = self._least, self._most, self._mean
            column.deviation = math.sqrt(self._squares / self._numbers)
        return column
