"""The store's clock, as far as it can be known here: the server's, when it was asked last, and the time since then.

Time since then is monotonic, so a jump of this machine's wall clock moves nothing.
"""

from __future__ import annotations

from stoker.model.clock import Clock


class ServerClock:
    """An estimate of the server's time; off by half a round trip at most."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: tuple[float, float] | None = None

    def mono(self) -> float:
        return self._clock.mono()

    def heard(self, asked: float, server: float) -> None:
        """The server said its time, asked for at ``asked`` on the monotonic clock."""
        self._at = ((asked + self._clock.mono()) / 2, server)

    def now(self) -> float:
        if self._at is None:
            return self._clock.wall()
        # to the microsecond, as the server gives its times
        return round(self._at[1] + (self._clock.mono() - self._at[0]), 6)
