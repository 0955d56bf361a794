"""Who did what: what a store guarantees about it. Rows are added, read, and forgotten when old; never changed."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from stoker.model.audit import Deed, Done

AUDIT_MAX = 1000
"""Rows that one look gives at most."""
TEXT_MAX = 500
"""Characters of each text that are kept."""


class Audit(Protocol):
    """The list of it, as ``store.audit``."""

    def add(self, deed: Deed) -> Awaitable[None]:
        """One more, as of now."""

    def page(
        self, *, since: float = 0.0, before: int | None = None, user: str | None = None, method: str | None = None,
        limit: int = AUDIT_MAX,
    ) -> Awaitable[list[Done]]:  # fmt: skip
        """Up to ``limit`` rows, newest first: since a moment, of one user, of one method; ``before`` is the ``seq`` of
        the last one of the page before."""

    def forget(self, keep: float, limit: int = 1000) -> Awaitable[int]:
        """Delete rows older than so many seconds, up to ``limit``; how many went."""


def columns(deed: Deed) -> tuple[Any, ...]:
    """A deed as both drivers write it: texts that every store can hold, of bounded length."""
    return (
        _text(deed.node), _text(deed.role), _text(deed.user), _text(deed.level), deed.uid, _text(deed.method),
        _text(deed.object), _text(deed.before), _text(deed.after), _text(deed.reason),
    )  # fmt: skip


def done(row: tuple[Any, ...]) -> Done:
    """A row as both drivers read it."""
    seq, at, node, role, user, level, uid, method, object, before, after, reason = row
    return Done(
        seq=seq, at=at, node=node, role=role, user=user, level=level, uid=uid, method=method, object=object,
        before=before, after=after, reason=reason,
    )  # fmt: skip


def _text(text: str | None) -> str | None:
    return None if text is None else text[:TEXT_MAX].replace("\x00", "\ufffd")
