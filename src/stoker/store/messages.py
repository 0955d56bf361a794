"""What was pushed to people, kept for a while: what a store guarantees about it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import msgspec

from stoker.model.audience import Address, Message, NewMessage, Tab


class Pushed(msgspec.Struct, frozen=True):
    """Where a message stands, and since when by the store's clock."""

    offset: int
    at: float


class Head(msgspec.Struct, frozen=True):
    """The end of all messages: the offset of the newest one, 0 before the first. ``epoch`` names the row of numbers; it
    is another one in another store, and offsets of one mean nothing in the other."""

    epoch: str
    offset: int


class Page(msgspec.Struct, frozen=True):
    """Messages beyond a cursor, in order. ``offset`` is where to read on. ``reset``: some that were beyond the cursor
    are kept no longer, or the cursor was of another epoch; what is still kept is here."""

    epoch: str
    offset: int
    reset: bool
    messages: list[Message]


class Messages(Protocol):
    """Pushed events, numbered.

    Offsets grow by one, and the order of offsets is the order in which messages become visible, whoever writes: a
    cursor skips none. An offset is never used twice.
    """

    def push(self, messages: Sequence[NewMessage]) -> Awaitable[list[Pushed]]:
        """Store messages in order, all or none. One whose id is there already is not stored again: the answer is where
        it stands."""

    def head(self) -> Awaitable[Head]:
        """The end, as of now."""

    def after(
        self, offset: int, limit: int, *, role: str | None = None, to: Tab | None = None, epoch: str | None = None
    ) -> Awaitable[Page]:
        """Up to ``limit`` messages beyond a cursor: of one role, or for one tab, when that is asked. ``epoch`` is that
        of the cursor, where it is known."""

    def purge(self, keep: float, limit: int = 1000) -> Awaitable[int]:
        """Delete messages older than so many seconds, the oldest first, up to ``limit``; how many went."""


def page(rows: Sequence[tuple[Any, ...]], offset: int, epoch: str | None, limit: int) -> Page:
    """From what both drivers read: the state of the row of numbers, and beside it a message each, if there is any."""
    mine, newest, purged = rows[0][:3]
    found = [
        Message(seq, at, role, Address(user, session, instance), event, msgspec.Raw(data))
        for _, _, _, seq, at, role, user, session, instance, event, data in rows
        if seq is not None
    ]
    reset = epoch not in (None, mine) or not purged <= offset <= newest
    return Page(mine, found[-1].offset if len(found) >= limit else newest, reset, found)
