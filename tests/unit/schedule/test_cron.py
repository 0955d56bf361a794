"""When a cron expression is due: beside an independent calculator, over the zones, where clocks are set, for ever."""

from __future__ import annotations

import itertools
import random
import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pytest

from stoker.model.cron import COUNT_MAX, NAMES, Cron, cron, time_zone
from tests.daemon import scaled

SEED = random.randrange(1 << 32)
ODD = (
    "America/Chicago", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "Africa/Casablanca", "Europe/Dublin",
    "Antarctica/Troll", "Pacific/Chatham", "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo", "America/Havana",
    "Asia/Tehran", "America/St_Johns", "Europe/Berlin", "UTC",
)  # fmt: skip
EXPRESSIONS = (
    "* * * * *", "*/5 * * * *", "0 * * * *", "30 2 * * *", "15,45 1-3 * * *", "0 0 * * *", "*/20 0 * * *",
    "0 */2 * * *", "59 23 * * 0", "30 */3 1,15 * *", "0 12 * * mon-fri", "5 0 1-7 * 1", "10 4 */2 * *", "* 2 * * *",
    "0 3 31 * *", "7 7 7 7 7", "0 1 29 2 *",
)  # fmt: skip


class Oracle(NamedTuple):
    """The stated rules, done the slow way, from a parser of its own."""

    minutes: set[int]
    hours: set[int]
    days: set[int]
    months: set[int]
    weekdays: set[int]
    both: bool
    real: bool
    zone: zoneinfo.ZoneInfo

    @classmethod
    def of(cls, expression: str, zone: str) -> Oracle:
        parts = expression.split()
        weekdays = {day % 7 for day in _numbers(parts[4], 0, 7)}
        return cls(
            _numbers(parts[0], 0, 59), _numbers(parts[1], 0, 23), _numbers(parts[2], 1, 31), _numbers(parts[3], 1, 12),
            weekdays, parts[2][0] == "*" or parts[4][0] == "*", parts[0][0] == "*" or parts[1][0] == "*",
            zoneinfo.ZoneInfo(zone),
        )  # fmt: skip

    def on(self, day: date) -> bool:
        by_date, by_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        return day.month in self.months and ((by_date and by_week) if self.both else (by_date or by_week))

    def within(self, after: int, until: int) -> list[int]:
        """Every moment later than ``after`` and not later than ``until``."""
        return [at for at in (self._real if self.real else self._by_days)(after, until) if after < at <= until]

    def _real(self, after: int, until: int) -> Iterator[int]:
        """A star in the minute or the hour: every minute that shows the right time is one."""
        for at in range(after - after % 60, until + 1, 60):
            local = datetime.fromtimestamp(at, self.zone)
            if (
                local.minute in self.minutes
                and local.hour in self.hours
                and local.second == 0
                and self.on(local.date())
            ):
                yield at

    def _by_days(self, after: int, until: int) -> Iterator[int]:
        """Fixed minutes and hours: once on each day, after the gap if there is one, the first of two."""
        day = datetime.fromtimestamp(after, self.zone).date() - timedelta(days=2)
        found: set[int] = set()
        while day <= datetime.fromtimestamp(until, self.zone).date() + timedelta(days=1):
            if self.on(day):
                for hour, minute in itertools.product(self.hours, self.minutes):
                    local = datetime(day.year, day.month, day.day, hour, minute)
                    while (moment := local.replace(tzinfo=self.zone).astimezone(UTC)).astimezone(self.zone).replace(
                        tzinfo=None
                    ) != local:
                        local += timedelta(minutes=1)
                    found.add(int(moment.timestamp()))
            day += timedelta(days=1)
        yield from sorted(found)


def _numbers(text: str, least: int, most: int) -> set[int]:
    names = {"mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6, "sun": 0}
    found: set[int] = set()
    for term in text.split(","):
        span, _, step = term.partition("/")
        if span == "*":
            begin, end = least, most
        else:
            first, _, last = span.partition("-")
            begin, end = (int(names.get(word, word)) for word in (first, last or first))
            end = most if step and not last else end
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def moments(one: Cron, after: float, until: float) -> list[int]:
    found: list[int] = []
    at = one.next(after)
    while at is not None and at <= until:
        found.append(int(at))
        later = one.next(at)
        assert later is None or later > at, "it stands still"
        at = later
    return found


def transitions(zone: str, begin: int, end: int) -> list[int]:
    """Moments at which a zone's clock is set, to the hour."""
    place, found, step = zoneinfo.ZoneInfo(zone), [], 86400
    for at in range(begin, end, step):
        if datetime.fromtimestamp(at, place).utcoffset() != datetime.fromtimestamp(at + step, place).utcoffset():
            found.append(at)
    return found


@pytest.mark.parametrize("zone", ODD)
def test_every_moment_is_the_oracles_around_changes_of_the_clock(zone: str) -> None:
    chance = random.Random(SEED)
    begin = int(datetime(2011, 1, 1, tzinfo=UTC).timestamp())
    changes = transitions(zone, begin, begin + 3 * 365 * 86400)[-4:] or [begin]
    for expression in EXPRESSIONS:
        change = chance.choice(changes)
        after, until = change - 86400 + chance.randrange(3600), change + 2 * 86400
        expected = Oracle.of(expression, zone).within(after, until)
        assert moments(cron(expression, zone), after, until) == expected, f"{expression} in {zone}, seed {SEED}"


def test_over_all_zones_and_forty_years_moments_grow_and_are_the_oracles() -> None:
    chance = random.Random(SEED)
    zones = sorted(zoneinfo.available_timezones())
    spent: list[float] = []
    for zone in chance.sample(zones, min(len(zones), scaled(60, 20))):
        for expression in chance.sample(EXPRESSIONS, 4):
            after = chance.randrange(946684800, 2208988800)
            one, oracle = cron(expression, zone), Oracle.of(expression, zone)
            begun = time.thread_time()
            first = one.next(after)
            spent.append(time.thread_time() - begun)
            assert first is not None
            assert first > after
            until = after + 86400
            expected = oracle.within(after, until)
            assert moments(one, after, until) == expected, f"{expression} in {zone} after {after}, seed {SEED}"
    assert sorted(spent)[len(spent) // 2] <= 0.001


def test_a_clock_that_goes_back_over_midnight_ends_nobody_in_a_circle() -> None:
    """St. John's, until 2011: at 00:01 it is 23:01 again; cronsim alone goes round for ever (as apscheduler#1021)."""
    after = int(datetime(2009, 11, 1, 2, 20, tzinfo=UTC).timestamp())
    for expression in ("30 */3 1,15 * *", "*/20 0 * * *", "0 0 1 * 0"):
        expected = Oracle.of(expression, "America/St_Johns").within(after, after + 86400)
        assert moments(cron(expression, "America/St_Johns"), after, after + 86400) == expected


def test_a_year_of_days_is_the_oracles() -> None:
    after = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
    for expression in ("30 2 * * *", "0 9 * * 1-5", "15 10 L * *".replace("L", "28-31")):
        expected = Oracle.of(expression, "America/Chicago").within(after, after + 366 * 86400)
        assert moments(cron(expression, "America/Chicago"), after, after + 366 * 86400) == expected


def test_a_daily_job_runs_once_on_every_day_that_there_is() -> None:
    """Bugs sidekiq#5049, apscheduler#980: the hour that comes twice, the hour that does not come."""
    for zone in ODD:
        one = cron("30 2 * * *", zone)
        begin = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
        days = [datetime.fromtimestamp(at, one.zone).date() for at in moments(one, begin, begin + 366 * 86400)]
        assert len(days) == len(set(days)) >= 365


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("30 2 * * *", "2026-03-08T00:00", "2026-03-08T03:00"),  # the hour does not come: right after it
        ("30 1 * * *", "2026-11-01T00:00", "2026-11-01T01:30"),  # the hour comes twice: the first time
        ("30 1 * * *", "2026-11-01T01:30", "2026-11-02T01:30"),
        ("0 * * * *", "2026-03-08T01:00", "2026-03-08T03:00"),
        ("0 17 * * *", "2026-07-01T17:00", "2026-07-02T17:00"),
    ],
)
def test_the_rules_for_changes_of_the_clock_in_chicago(expression: str, after: str, due: str) -> None:
    zone = zoneinfo.ZoneInfo("America/Chicago")
    begin = datetime.fromisoformat(after).replace(tzinfo=zone).timestamp()
    found = cron(expression, "America/Chicago").next(begin)
    assert found is not None
    assert datetime.fromtimestamp(found, zone).replace(tzinfo=None) == datetime.fromisoformat(due)


def test_an_hour_that_comes_twice_has_every_five_minutes_twice() -> None:
    zone = zoneinfo.ZoneInfo("America/Chicago")
    begin = datetime(2026, 11, 1, 0, 59, tzinfo=zone).timestamp()
    found = moments(cron("*/5 1 * * *", "America/Chicago"), begin, begin + 3 * 3600)
    assert len(found) == 24


def test_leap_days() -> None:
    one = cron("0 0 29 2 *", "UTC")
    at: float | None = datetime(2096, 3, 1, tzinfo=UTC).timestamp()
    assert at is not None
    at = one.next(at)
    assert at == datetime(2104, 2, 29, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 24 32 13 8", "'60' is not right for minute 0-59"),
        ("0 24 * * *", "'24' is not right for hour"),
        ("0 0 * 13 *", "'13' is not right for month"),
        ("0 0 * * 8", "'8' is not right for day of week"),
        ("0 0 30 2 *", "'30' is not right for day of month"),
        ("0 0 */20 * 1L", "is never due"),
        ("0 0 */29 2 MON#5", "is never due"),
        ("* * * *", "has 4 fields"),
        ("", "has 0 fields"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("@rebot", "@hourly, @reboot"),
        ("@daly", "is not known"),
        ("9" * 100 + " * * * *", "minute"),
        ("1," * 300 + "1 * * * *", "characters at most"),
        ("x" * (1 << 20), "characters at most"),
    ],
)
def test_what_is_no_expression_is_said_at_once(text: str, said: str) -> None:
    begun = time.thread_time()
    with pytest.raises(ValueError, match=said.replace("*", r"\*").replace("?", r"\?")):
        cron(text, "UTC")
    assert time.thread_time() - begun < 0.5


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    found = cron(name, "UTC").next(0.0)
    assert found is not None
    assert found == cron(NAMES[name], "UTC").next(0.0)
    assert found > 0


@pytest.mark.parametrize(
    "zone", ["", "Mars/Phobos", "../../etc/passwd", "America/Chicago\0", "x" * 10_000, "/etc/localtime"]
)
def test_what_is_no_zone(zone: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone"):
        time_zone(zone)


def test_the_newest_moments_of_a_long_time_cost_little() -> None:
    one = cron("* * * * *", "America/Chicago")
    begun = time.thread_time()
    found = one.newest(0.0, 1.8e9 + 30, 3)
    assert time.thread_time() - begun < 1.0
    assert found == [1.8e9 - 120, 1.8e9 - 60, 1.8e9]
    assert one.newest(1.8e9 - 61, 1.8e9, 100) == [1.8e9 - 60, 1.8e9]
    assert one.newest(1.8e9, 1.8e9 + 59, 5) == []
    assert one.count(0.0, 1.8e9) == COUNT_MAX
    assert cron("0 0 29 2 *", "UTC").newest(0.0, 1.8e9, 2) == [
        datetime(2020, 2, 29, tzinfo=UTC).timestamp(), datetime(2024, 2, 29, tzinfo=UTC).timestamp()
    ]  # fmt: skip


def test_seconds() -> None:
    assert moments(cron("*/20 * * * * *", "UTC"), 1.8e9, 1.8e9 + 60) == [1800000020, 1800000040, 1800000060]


def test_beyond_the_calendar_there_is_nothing() -> None:
    assert cron("0 0 1 1 *", "UTC").next(253402300799.0) is None
    assert cron("0 0 1 1 *", "America/Chicago").next(1e18) is None
