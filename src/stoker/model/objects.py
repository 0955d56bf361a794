"""JSON objects in which no key may stand twice: the standard library would keep the last, and say nothing."""

from __future__ import annotations

from typing import Any


class Twice(Exception):
    """A key of an object came again."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``object_pairs_hook`` of :mod:`json`. Raises :class:`Twice`."""
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Twice(key)
            seen.add(key)
    return found
