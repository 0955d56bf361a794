"""When a cron expression is due, in a zone: five fields, six with seconds in front, or a name like ``@daily``.

Changes of the clock go by the rules of Debian's cron, as :mod:`cronsim` has them. With a star in the minute or the hour
a schedule counts real time: nothing is skipped and nothing comes twice. With fixed minutes and hours it counts days: a
moment that the clock jumps over comes right after the jump, one that the clock shows twice comes the first time only.
"""

from __future__ import annotations

import copy
import functools
import math
import zoneinfo
from datetime import UTC, datetime, tzinfo

from cronsim import CronSim, CronSimError
from cronsim.cronsim import DAYS_IN_MONTH

TEXT_MAX = 200
"""Characters of an expression at most; nobody needs more, and what is longer costs more than it is worth."""
COUNT_MAX = 100
"""Slots that are counted at most when some were missed."""
_WINDOW = 3600.0
NAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
REBOOT = "@reboot"
"""Due whenever a daemon starts, and at no other time."""
_FIELDS = ("minute 0-59", "hour 0-23", "day of month 1-31", "month 1-12", "day of week 0-7, 0 and 7 are Sunday")
_WORDS = {"minute": 0, "hour": 1, "day-of-month": 2, "month": 3, "day-of-week": 4}


class _Sim(CronSim):
    """Without the two slips of cronsim in zones whose clocks are set at odd moments: its steps of an hour begin at the
    start of the hour, so that they miss what a clock shows that is set within it; and a day begins at its first
    midnight, so that where a clock goes back over midnight it goes round for ever."""

    def advance_hour(self) -> bool:
        if self.dt.hour in self.hours:
            return False
        step = 60 if self.dt.tzinfo in (None, UTC) else 15
        day = self.dt.day
        while self.dt.hour not in self.hours and self.dt.day == day:
            self.tick(seconds=60 * (step - self.dt.minute % step) - self.dt.second)
        return True

    def advance_day(self) -> bool:
        before = self.dt
        moved = super().advance_day()
        self._forward(before)
        return moved

    def advance_month(self) -> None:
        before = self.dt
        super().advance_month()
        self._forward(before)

    def _forward(self, before: datetime) -> None:
        if self.dt.tzinfo not in (None, UTC) and self.dt.timestamp() < before.timestamp():
            self.dt = self.dt.replace(fold=1)


class Cron:
    """An expression in a zone. Made by :func:`cron`, which says what is wrong with one."""

    __slots__ = ("_asked", "_found", "_sim", "zone")

    def __init__(self, expression: str, zone: tzinfo) -> None:
        self.zone = zone
        self._sim = _Sim(expression, datetime(2000, 1, 1, tzinfo=zone))
        self._asked = math.nan
        self._found: float | None = None

    def next(self, after: float) -> float | None:
        """The first moment later than ``after``, seconds since the epoch; None when there is none within 50 years."""
        # many schedules have one expression, and ask for the same moment
        if after != self._asked:
            self._found = self._next(after)
            self._asked = after
        return self._found

    def _next(self, after: float) -> float | None:
        try:
            at = datetime.fromtimestamp(math.floor(after), self.zone)
            sim = copy.copy(self._sim)
            sim.dt = at.replace(tzinfo=None) if sim.fixup_tz is not None else at
            # it counts by what the clock shows: in the hour that comes twice it may find a moment of the first time
            while (found := next(sim).timestamp()) <= after:
                pass
        except (StopIteration, OverflowError, ValueError, OSError):
            return None
        return found

    def newest(self, after: float, until: float, most: int) -> list[float]:
        """The last moments later than ``after`` and not later than ``until``, in order, ``most`` of them at most."""
        window = _WINDOW
        while True:
            start = max(after, until - window)
            found = self._within(start, until, most)
            if len(found) >= most or start <= after:
                return found
            window *= 8

    def count(self, after: float, until: float) -> int:
        """How many moments there are later than ``after`` and not later than ``until``; counted up to
        :data:`COUNT_MAX`."""
        found, at = 0, self.next(after)
        while at is not None and at <= until and found < COUNT_MAX:
            found, at = found + 1, self.next(at)
        return found

    def _within(self, start: float, until: float, most: int) -> list[float]:
        found: list[float] = []
        at = self.next(start)
        while at is not None and at <= until:
            found.append(at)
            at = self.next(at)
        return found[-most:]


class _AtStart(Cron):
    """No moment of any clock."""

    __slots__ = ()

    def next(self, after: float) -> float | None:
        return None


@functools.lru_cache(maxsize=8192)
def cron(text: str, zone: str) -> Cron:
    """Read an expression. Raises ValueError with one sentence that says what would be right."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"a cron expression has {TEXT_MAX} characters at most, not {len(text)}")
    place = time_zone(zone)
    if text.strip().lower() == REBOOT:
        return _AtStart(NAMES["@yearly"], place)
    expression = _expression(text)
    try:
        sim = CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(_wrong(text, expression, str(error))) from None
    if not _possible(sim):
        raise ValueError(f"{text!r} is never due: there is no such day")
    return Cron(expression, place)


@functools.lru_cache(maxsize=1024)
def time_zone(name: str) -> tzinfo:
    """A zone by its name in the tz database. Raises ValueError."""
    if name.upper() == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r:.60} is not a time zone; write for example UTC or America/Chicago") from None


def _expression(text: str) -> str:
    word = text.strip()
    if not word.startswith("@"):
        return word
    found = NAMES.get(word.lower())
    if found is None:
        raise ValueError(f"{word!r} is not known; known are {', '.join([*NAMES, REBOOT])}")
    return found


def _wrong(text: str, expression: str, said: str) -> str:
    """What cronsim means, with the field and its bounds."""
    parts = expression.split()
    if len(parts) not in (5, 6):
        return f"{text!r} has {len(parts)} fields; a cron expression has five: {', '.join(_FIELDS)}"
    name = said.removeprefix("Bad ")
    if name not in _WORDS:
        return f"{text!r}: {said}"
    place = _WORDS[name]
    return f"{text!r}: {parts[len(parts) - 5 + place]!r} is not right for {_FIELDS[place]}"


def _possible(sim: CronSim) -> bool:
    """Whether any day of any year fits: so that what is never due is not looked for in fifty years of days."""
    if not sim.day_and:
        return any(True for day in sim.days if _fits(day, sim)) or bool(sim.weekdays)
    by_date = {day for spec in sim.days for day in _dates(spec)}
    by_week = {day for spec in sim.weekdays for day in _weeks(spec)}
    longest = max(DAYS_IN_MONTH[month] for month in sim.months)
    return any(day <= longest for day in by_date & by_week)


def _fits(day: int, sim: CronSim) -> bool:
    return day < 0 or day <= max(DAYS_IN_MONTH[month] for month in sim.months)


def _dates(spec: int) -> range:
    """The days of a month that a day of month may be; the negative ones are counted from its end."""
    return range(26, 32) if spec < 0 else range(spec, spec + 1)


def _weeks(spec: int | tuple[int, int]) -> range:
    """The days of a month that a day of the week may be."""
    if isinstance(spec, int):
        return range(1, 32)
    nth = spec[1]
    return range(22, 32) if nth < 0 else range(7 * nth - 6, min(7 * nth, 31) + 1)
