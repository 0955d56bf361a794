"""Who a browser is, and how we know."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model.audience import Tab


class Identity(msgspec.Struct, frozen=True):
    """A user in one of their sessions. ``all`` lets them see and touch the jobs of every user.

    Raises :class:`RequestError` for what cannot be: an empty text, one longer than 256 characters, or the user ``"0"``,
    which is everybody's address.
    """

    user: str
    session: str = "main"
    all: bool = False

    def __post_init__(self) -> None:
        Tab(self.user, self.session, "any").check()


class Caller(msgspec.Struct, frozen=True):
    """An identity with the proof it came with. Times are seconds since the epoch; ``until`` None: as long as the
    application says so."""

    identity: Identity
    since: float
    until: float | None
    by: str
    """``token``, ``cookie``, ``ticket`` or ``application``."""
    asking: Any = None
    """The request, when the application knew it: it can be asked again."""
