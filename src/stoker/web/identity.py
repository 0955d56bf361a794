"""Who a browser is, and how we know."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model.access import LEVELS, Access
from stoker.model.audience import Tab, user_name
from stoker.model.errors import RequestError


class Identity(msgspec.Struct, frozen=True):
    """A user in one of their sessions, and what they may do: as a ``user`` with their own jobs, as a ``viewer`` see
    everything, as an ``operator`` rule jobs and schedules of everybody, as an ``admin`` the daemon, too. A user's id
    may be given as a whole number: 7 is ``"7"``.

    Raises :class:`RequestError` for what cannot be: another level, an empty text, one longer than 256 characters, or
    the user ``"0"``, which is everybody's address.
    """

    user: str
    session: str = "main"
    level: Access = "user"

    @property
    def all(self) -> bool:
        """Whether they see what is others', too."""
        return self.level != "user"

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "user", user_name(self.user))
        Tab(self.user, self.session, "any").check()
        if self.level not in LEVELS:
            raise RequestError(f"the level {str(self.level)[:60]!r} is none of {', '.join(LEVELS)}")


class Caller(msgspec.Struct, frozen=True):
    """An identity with the proof it came with. ``since`` is when that was made, by the store's clock, ``until`` when it
    is over, by ours; None: as long as the application says so."""

    identity: Identity
    since: float
    until: float | None
    by: str
    """``token``, ``cookie``, ``ticket`` or ``application``."""
    asking: Any = None
    """The request, when the application knew it: it can be asked again."""
