"""Proofs of who somebody is that are good no longer: what a store guarantees about them.

A proof is signed, and its signature says all that has to be known but this: whether it was used before, where it is
good once, and whether it was taken back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import msgspec

REVOCATIONS = 1000
"""Revocations that one look gives at most."""


class Revocation(msgspec.Struct, frozen=True):
    """Nothing that was signed until ``at`` for this session, or for any of the user's, is good any more. After
    ``until`` all of it is over anyway."""

    user: str
    session: str | None
    at: float
    until: float


class Revocations(msgspec.Struct, frozen=True):
    """Those beyond a cursor, in order. ``offset`` is where to read on, ``more`` whether to do that at once, ``now`` the
    store's clock."""

    now: float
    offset: int
    more: bool
    revoked: list[Revocation]


class Proofs(Protocol):
    """What was used up and what was taken back, as ``store.proofs``."""

    def spend(self, id: str, life: float) -> Awaitable[bool]:
        """Use up what is good once. True for exactly one of all who ask, anywhere, within ``life`` seconds; when an
        answer is lost, for none."""

    def revoke(self, user: str, session: str | None, life: float) -> Awaitable[float]:
        """Take back what a session of the user was given until now, or every session (None); the moment. It is known
        for ``life`` seconds."""

    def revoked(self, after: int, limit: int = REVOCATIONS) -> Awaitable[Revocations]:
        """Up to ``limit`` revocations beyond a cursor, which skips none; 0 is before the first. A cursor of another
        store, which is beyond the end, reads all."""

    def restore(self, revoked: Sequence[Revocation]) -> Awaitable[None]:
        """Take over what another store knew to be taken back, as it was, all or nothing."""

    def forget(self, limit: int = 1000) -> Awaitable[int]:
        """Delete what is over anyway, up to ``limit`` of each kind; how many went of the kind of which more did."""


def page(rows: Sequence[tuple[Any, ...]], limit: int, now: float) -> Revocations:
    """From what both drivers read: the newest number, and beside it a revocation each, if there is any."""
    found = [row for row in rows if row[1] is not None]
    revoked = [Revocation(user, session or None, at, until) for _, _, user, session, at, until in found]
    more = len(found) >= limit
    return Revocations(now, found[-1][1] if more else rows[0][0], more, revoked)
