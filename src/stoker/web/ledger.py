"""What was taken back before its time, as the bridge knows it: the daemon keeps it for all on its store.

A copy of what was taken back is held here and brought up to date every few seconds, so that no request waits for it;
while the daemon is away the copy is as good as it was. Until there is one, no proof of ours is taken. What is good once
is asked about each time, and is not taken while the daemon is away.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
import structlog

from stoker.model.errors import DaemonError, StokerError
from stoker.store.proofs import Revocations
from stoker.web.identity import Identity
from stoker.web.link import WAIT_UP, Link
from stoker.web.refusal import Refusal
from stoker.wire.messages import Who

log = structlog.get_logger(role="web")

LOOK_WITHIN = 2.0
"""Seconds that the daemon has to say what was taken back, until it is asked again."""


class Ledger:
    """The copy of one bridge."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._at: dict[tuple[str, str | None], tuple[float, float]] = {}
        self._offset = 0
        self._number = -1
        self._known = asyncio.Event()
        self.ahead = 0.0
        """Seconds that the store's clock, by which proofs are signed, is ahead of ours."""

    def now(self) -> float:
        """The store's clock."""
        return time.time() + self.ahead

    async def known(self) -> None:
        """Wait until there is a copy. Raises :class:`Refusal` when there is none after a while."""
        if self._known.is_set():
            return
        try:
            async with asyncio.timeout(WAIT_UP):
                await self._known.wait()
        except TimeoutError:
            raise _away("the daemon is away, so nobody knows which proofs were taken back; try again") from None

    def revoked(self, user: str, session: str, since: float) -> bool:
        """Whether what was signed then, by the store's clock, is no good any more."""
        return any(since <= self._at.get(key, (0.0, 0.0))[0] for key in ((user, session), (user, None)))

    async def look(self) -> None:
        """Bring the copy up to date; when that cannot be, it stays as it is."""
        try:
            async with asyncio.timeout(LOOK_WITHIN):
                await self._look()
        except DaemonError:
            return  # the link says so
        except (StokerError, msgspec.MsgspecError, TimeoutError) as error:
            log.warning("what was taken back is not known; trying again", error=str(error) or type(error).__name__)

    async def revoke(self, who: Identity) -> None:
        """Take back all that was given to this session. Raises what the daemon says, when it is not taken back."""
        asked = {"user": who.user, "session": who.session}
        await self._link.call("revoke", asked, Who(who.user, who.session, level=who.level))
        await self.look()

    async def spend(self, id: str, life: float) -> bool:
        """Use up what is good once; False when it was used before, wherever. Raises :class:`Refusal` when nobody can
        say so."""
        try:
            answer = await self._link.call("spend", {"id": id, "life": life})
        except StokerError as error:
            raise _away(f"whether this was used before is not known: {error.message}") from None
        return msgspec.json.decode(answer, type=bool)

    async def _look(self) -> None:
        number = self._link.number
        if number != self._number:
            # another daemon, or the same with another store
            self._offset = 0
        more = True
        while more:
            page = await self._link.get(Revocations, "revocations", {"after": self._offset})
            self.ahead = page.now - time.time()
            for one in page.revoked:
                key = (one.user, one.session)
                at, until = self._at.get(key, (0.0, 0.0))
                self._at[key] = max(at, one.at), max(until, one.until)
            if page.revoked:
                self._sweep()
            self._offset, more = page.offset, page.more
        self._number = number
        self._known.set()

    def _sweep(self) -> None:
        now = self.now()
        for key in [key for key, (_, until) in self._at.items() if until <= now]:
            del self._at[key]


def _away(message: str) -> Refusal:
    return Refusal(503, "unavailable", message, {"Retry-After": "2"})
