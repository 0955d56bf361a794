"""What was said about a topic last, made ready once, and read by everyone who follows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from stoker.model.audience import Address


class Entry(NamedTuple):
    """One thing to tell. ``body`` is a JSON object on one line; ``offset`` None: lossy, not to be asked for again."""

    body: bytes
    offset: int | None = None
    kind: str = "message"
    to: Address | None = None
    """None: for everyone who follows."""
    state: bool = False
    """Of these only the newest matters: who is behind is not told the others."""


class Ring:
    """The newest entries, numbered from 0 on. The oldest go when there are more bytes than ``most``.

    ``floor`` is the offset up to which something may be missing here: all that came after it is in the ring.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.first = 0
        self.floor = 0
        self.newest = 0

    def begin(self, floor: int) -> None:
        """Forget all there was, and go on from this offset. No number is given twice."""
        self.first = self.next
        self._entries.clear()
        self._bytes = 0
        self.floor = self.newest = floor

    @property
    def next(self) -> int:
        """The number that the next entry gets."""
        return self.first + len(self._entries)

    @property
    def last(self) -> Entry:
        return self._entries[-1]

    def append(self, entry: Entry) -> int:
        """Its number. The newest entry is always kept."""
        self._entries.append(entry)
        self._bytes += len(entry.body)
        if entry.offset is not None:
            self.newest = entry.offset
        while self._bytes > self._most and len(self._entries) > 1:
            gone = self._entries.popleft()
            self._bytes -= len(gone.body)
            self.first += 1
            if gone.offset is not None:
                self.floor = gone.offset
        return self.next - 1

    def since(self, number: int) -> Iterator[Entry]:
        """The entries from that number on; it must not have gone."""
        return islice(self._entries, number - self.first, None)

    def number_after(self, offset: int) -> int | None:
        """The first entry beyond an offset that is not below the floor; None when there is none."""
        found = None
        for back, entry in enumerate(reversed(self._entries), 1):
            if entry.offset is not None and entry.offset <= offset:
                break
            found = self.next - back
        return found
