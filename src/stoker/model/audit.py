"""Something that somebody did, as it is kept."""

from __future__ import annotations

import msgspec


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person or a program did. ``user`` and ``level`` are of whom the bridge asked for, ``uid`` of who
    is on the other end of a Unix socket; ``before`` and ``after`` is how ``object`` stood, where that is known."""

    node: str
    role: str
    method: str
    object: str
    user: str | None = None
    level: str | None = None
    uid: int | None = None
    before: str | None = None
    after: str | None = None
    reason: str | None = None


class Done(Deed, frozen=True, kw_only=True):
    """The same as it is kept; ``at`` is by the store's clock."""

    seq: int
    at: float
