"""Which slots of a schedule are to be fired now, and which were missed: one pure decision."""

from __future__ import annotations

from typing import NamedTuple

from stoker.model.cron import Cron
from stoker.model.schedule_keys import CATCH_UP_MAX


class Gap(NamedTuple):
    """Slots that nobody fired in time: the first and the last of them, and how many, as far as counted."""

    first: float
    last: float
    slots: int


class Owed(NamedTuple):
    """What is to be done: ``fire`` in order, after ``gap``. ``late`` of those to be fired are so by more than the
    grace."""

    fire: list[float]
    gap: Gap | None = None
    late: int = 0


NOTHING = Owed([])


def owed(cron: Cron, last: float, until: float, grace: float, catch_up: int) -> Owed:
    """What there is to decide of the slots later than ``last`` and not later than ``until``.

    A slot that is at most ``grace`` seconds old is on time, and fired. Of those that are older the newest are, so that
    with those on time there are up to ``catch_up``; the rest is the gap.
    """
    first = cron.next(last)
    if first is None or first > until:
        return NOTHING
    on_time = cron.newest(max(last, until - grace), until, CATCH_UP_MAX)
    fire = cron.newest(last, until, catch_up) if catch_up > len(on_time) else on_time
    if fire and fire[0] == first:
        return Owed(fire, None, len(fire) - len(on_time))
    (end,) = cron.newest(last, fire[0] - 1 if fire else until, 1)
    return Owed(fire, Gap(first, end, cron.count(last, end)), len(fire) - len(on_time))
