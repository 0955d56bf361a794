"""How long this node may take a job for its own.

Whoever holds a lease may be cut off without knowing it. So a lease is trusted only from the moment it was *asked for*,
by the clock that only goes forward, less a margin: counted from the answer, two nodes could run one job (part G of the
reliability notes, and ``tests/model``). When the trust in an attempt is over, it is killed, and another may start it:

    asked ├──────────── trusted ────────────┤── margin ──┤ lease over, another may claim
                                            └ kill

Each attempt has its own: from its claim, then from each renewal that named it. A file has one daemon, and needs none.
"""

from __future__ import annotations

from typing import NamedTuple

from stoker.model.clock import Clock
from stoker.settings import Current

MARGIN = 1 / 6
"""Part of a lease that is left to end what runs here before another node may start it."""
FAREWELL = 3.0
"""Seconds the store has to hear that this node leaves. What it does not hear runs out by itself; a service manager that
waits for us kills."""


class Trust(NamedTuple):
    """Until when, on the monotonic clock, what was asked for then is ours."""

    until: float
    clock: Clock

    @property
    def left(self) -> float:
        """Seconds; 0 or less when it is over."""
        return self.until - self.clock.mono()


def asked_now(settings: Current, clock: Clock) -> Trust:
    """The trust in a lease that is being asked for at this moment."""
    return Trust(clock.mono() + settings().lease * (1 - MARGIN), clock)
