"""What a browser may ask of the daemon, by whichever transport."""

from __future__ import annotations

import msgspec

from stoker.model.errors import NotAllowed
from stoker.web.hub import Hub
from stoker.web.identity import Identity
from stoker.web.refusal import full
from stoker.wire.messages import Who

INNER = frozenset({"attach", "detach", "subscribe", "unsubscribe", "messages", "spend", "revocations", "streams"})
"""Methods that the bridge calls for itself, and for nobody else."""
LONG_MAX = 600
"""Calls that wait for jobs, at one time: the daemon takes 1000 of all kinds over one connection."""
WAITING = ("wait",)


class Calls:
    """Calls in the name of somebody."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._long = 0

    async def call(
        self, who: Identity, method: str, params: object, *, instance: str = "", wait: bool | None = None
    ) -> msgspec.Raw:
        """The daemon's answer, as JSON. Raises its error, or :class:`Refusal`."""
        if method in INNER:
            raise NotAllowed(f"{method} is for the bridge itself to ask")
        whom = Who(who.user, who.session, instance, who.level)
        if method not in WAITING and ("." not in method or wait is False):
            return await self._hub.link.call(method, params, whom, wait)
        if self._long >= LONG_MAX:
            raise full(f"{LONG_MAX} calls wait for their jobs; submit it, and follow its events")
        self._long += 1
        try:
            return await self._hub.link.call(method, params, whom, wait)
        finally:
            self._long -= 1
