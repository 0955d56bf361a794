"""The consumers: a process for each job, some of them forked before there is one.

waiting ──► a spare ──► runs its job ──► gone
              ▲             └─ meanwhile the next one is forked
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence

from stoker.model.outcome import Outcome
from stoker.router.jobs.attempt import Attempt
from stoker.router.pools.workers import Consumer
from stoker.settings import Current


class Consumers:
    """At most ``consumers_max`` of them run jobs at one time; a job claimed for a slot whose last process has not quite
    gone waits here for that moment. ``make`` forks one, or gives None while nothing can be forked; ``ahead`` says how
    many there shall be without a job; ``on_lost`` gets the attempts whose process died, ``on_room`` is called when
    more could start than before."""

    def __init__(
        self, settings: Current, make: Callable[[], Consumer | None], ahead: Callable[[], int],
        on_lost: Callable[[Attempt, Outcome], None], on_room: Callable[[], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._make = make
        self._ahead = ahead
        self._on_lost = on_lost
        self._on_room = on_room
        self._spares: deque[Consumer] = deque()
        self._occupied = 0
        """Those that got a job and are not reaped yet."""
        self.waiting: deque[Attempt] = deque()
        self.by_product: Counter[str] = Counter()
        """Attempts in consumers, or on their way there."""

    @property
    def room(self) -> int:
        """How many more jobs could be claimed for them."""
        return self._settings().consumers_max - self.by_product.total()

    def start(self, attempts: Sequence[Attempt]) -> None:
        """Run them: at once, or as soon as processes are there."""
        self.by_product.update(attempt.spec.product for attempt in attempts)
        self.waiting.extend(attempts)
        self.match()

    def ended(self, attempt: Attempt) -> None:
        """A job of theirs has ended; its slot may be claimed for."""
        self.by_product[attempt.spec.product] -= 1

    def match(self) -> None:
        """Give those that wait to spares, and have more forked."""
        limit = self._settings().consumers_max
        while self.waiting and self._occupied < limit:
            if not self._spares:
                self.replenish()
            if not self._spares:
                return
            self._occupied += 1
            self._spares.popleft().assign(self.waiting.popleft(), self._settings().kill_grace)
        self.replenish()

    def replenish(self) -> None:
        """Keep some forked ahead, but never more than may run jobs and wait for them."""
        wanted = len(self.waiting) + self._ahead()
        while len(self._spares) < wanted and (consumer := self._make()) is not None:
            self._spares.append(consumer)

    def renew(self) -> None:
        """Let the spares go: others are to be forked from now on, or none."""
        for spare in self._spares:
            spare.release()
        self._spares.clear()

    def died(self, worker: Consumer, found: Outcome, how: str, *, counts: bool = True) -> None:
        """One is gone, after its job or before."""
        if worker.used:
            self._occupied -= 1
        elif worker in self._spares:
            self._spares.remove(worker)
        for attempt in worker.died():
            self._on_lost(attempt, attempt.fate(found))
        self.match()
        self._on_room()
