"""What a store guarantees of roles. See :mod:`stoker.model.role` for the words, ``tests/model/roles.py`` for the rules.

As everywhere: time is judged by the store's clock, and what returned is committed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from stoker.model.role import Candidate, Holding, Taken, View


class Roles(Protocol):
    """Who holds which role, as ``store.roles``."""

    def hold(self, me: Candidate, held: Sequence[Holding]) -> Awaitable[View]:
        """Be there, extend the leases of these holdings, and look at everything; one statement.

        A holding is extended only if the role is still ``me.boot``'s and in that very term: whether it was can be seen
        in the view. What is held but not named is not extended.
        """

    def claim(self, me: Candidate, names: Sequence[str], dead: Sequence[str] = ()) -> Awaitable[list[Taken]]:
        """Take what is free of these roles, each in a new term that is higher than any it ever had. Free is what has no
        owner, what is ``me.boot``'s (an answer was lost), what a boot in ``dead`` holds, and what is not renewed in
        time. ``dead`` names boots that are known to have ended."""

    def release(self, boot: str, held: Sequence[Holding]) -> Awaitable[list[str]]:
        """Give roles back that are this boot's in these terms; the names of those that were. A term stays what it is.
        Whoever waits for them is woken."""

    def leave(self, boot: str) -> Awaitable[list[str]]:
        """Give back whatever is this boot's, and be no candidate any more; the names of what was."""

    def reap(self, boot: str) -> Awaitable[bool]:
        """Forget a candidate that was silent for longer than it said and free what it held, if that is so by now."""

    def order(self, name: str, wanted: str) -> Awaitable[bool]:
        """Say where a role should be: the name of a node, or :data:`~stoker.model.role.ANYONE`; "" takes it back. The
        next claim does. Whether there is such a role."""

    def view(self) -> Awaitable[View]:
        """Look only."""
