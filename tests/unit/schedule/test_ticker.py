"""The ticker over a real store, with a clock that a test sets: steps, restarts, redefinition, roles, and idle cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stoker import settings as settings_module
from stoker.model.command import CommandSpec
from stoker.model.job import Job, Submission
from stoker.model.request import Request, resolve
from stoker.model.schedule import Defaults, Entry, read
from stoker.schedule.ticker import Ticker
from stoker.settings import Current
from stoker.store.base import Filter
from stoker.store.sqlite import SqliteStore


class Steered:
    """The machine's clocks, the wall clock set off by as much as the test says."""

    def __init__(self, start: float) -> None:
        self._offset = start - time.time()

    def wall(self) -> float:
        return time.time() + self._offset

    def mono(self) -> float:
        return time.monotonic()

    def step(self, seconds: float) -> None:
        self._offset += seconds


class House:
    """A daemon that knows one command and takes every job."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.roles: set[str] = set()

    @property
    def commands(self) -> Mapping[str, CommandSpec]:
        return {"app.work": CommandSpec(name="app.work")}

    def admit(self, request: Request) -> Submission:
        return resolve(request, self.commands.get(request.command), self._store.now())

    def stored(self, commands: set[str]) -> None:
        assert commands == {"app.work"}

    async def cancel(self, job: str, reason: str) -> None:
        await self._store.cancel(job, reason)

    def holds(self, role: str) -> bool:
        return not role or role in self.roles


class Place:
    """A store with a steered clock, and tickers over it."""

    def __init__(self, store: SqliteStore, clock: Steered, root: Path) -> None:
        self.store = store
        self.clock = clock
        self.house = House(store)
        self.settings = Current(settings_module.load({"root": root}, environ={}))

    def ticker(self) -> Ticker:
        return Ticker(self.store, self.settings, self.house)

    async def slots(self) -> list[str]:
        """Of every job there is, the slot, in order."""
        jobs: list[Job] = await self.store.jobs(Filter(limit=1000))
        return sorted(tag for job in jobs for tag in job.tags if tag.startswith("slot:"))

    async def fates(self) -> list[str]:
        return [str(slot.fate) for slot in reversed(await self.store.schedules.slots(None, None, 1000))]

    async def until_slots(self, count: int) -> list[str]:
        for _ in range(2000):
            found = await self.slots()
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"not {count} slots: {await self.slots()}")


def run(tmp_path: Path, test: Callable[[Place], Awaitable[None]], start: float = 1_800_000_000.0) -> None:
    """Run a test over a place whose clock begins at ``start``."""

    async def main() -> None:
        clock = Steered(start)
        store = SqliteStore(tmp_path / "stoker.db", clock)
        await store.open()
        try:
            await test(Place(store, clock, tmp_path))
        finally:
            await store.close()

    asyncio.run(main())


def every(schedule: str = "* * * * *", **more: Any) -> Entry:
    return read({"name": "it", "schedule": schedule, "job": "app.work", "overlap": "queue", **more}, Defaults())


async def tick(ticker: Ticker) -> None:
    """What the daemon's look and the timer do, without waiting for them."""
    ticker.look()
    await ticker.stopped()
    await asyncio.sleep(0.02)
    await ticker.stopped()


def test_what_is_due_at_a_start_is_fired_once_for_each(tmp_path: Path) -> None:
    """V54: what was left is resumed by every start, with nobody asking."""

    async def test(place: Place) -> None:
        entries = [every("@reboot", overlap="queue"), every("@reboot", name="off", active=0)]
        first = place.ticker()
        first.look()
        await first.set(entries)
        await first.stopped()
        assert len(await place.slots()) == 1
        place.clock.step(86400)
        await tick(first)
        await first.set([*entries, every("@reboot", name="later")])
        await tick(first)
        assert await place.fates() == ["fired"], "at its start, and at no other time"
        first.stop()
        second = place.ticker()
        await second.set([*entries, every("@reboot", name="another", role="sync")])
        await second.stopped()
        assert await place.fates() == ["fired", "fired"], "not for a role that is another node's"
        second.stop()

    run(tmp_path, test)


def test_of_runs_that_queue_only_so_many_wait(tmp_path: Path) -> None:
    """Without a bound, a schedule that takes longer than its interval falls behind for ever."""

    async def test(place: Place) -> None:
        ticker = place.ticker()
        await ticker.set([every(waiting=2, catch_up="all")])
        for _ in range(4):
            place.clock.step(60)
            await tick(ticker)
        assert await place.fates() == ["fired", "fired", "skipped", "skipped"]
        place.clock.step(600)
        await tick(ticker)
        assert len(await place.slots()) == 12, "what is caught up is as much as was asked for"
        place.clock.step(60)
        await tick(ticker)
        (newest,) = await place.store.schedules.slots("it", None, 1)
        assert (str(newest.fate), newest.reason) == ("skipped", "12 runs wait already")
        ticker.stop()

    run(tmp_path, test)


def test_a_fresh_schedule_does_not_fire_at_once(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        ticker = place.ticker()
        await ticker.set([every()])
        await tick(ticker)
        assert await place.slots() == []
        place.clock.step(60)
        await tick(ticker)
        assert await place.slots() == ["slot:2027-01-15T08:01:00Z"]
        ticker.stop()

    run(tmp_path, test)


def test_a_clock_that_goes_back_fires_nothing_again_and_forward_goes_on(tmp_path: Path) -> None:
    """Bugs good_job#1543, oban-py, celery#6742: the minute that is entered twice; a ticker that stops for ever."""

    async def test(place: Place) -> None:
        ticker = place.ticker()
        await ticker.set([every()])
        place.clock.step(60)
        await tick(ticker)
        for step in (-45, 30, -60, 70, -1, 1):
            place.clock.step(step)
            await tick(ticker)
        assert await place.slots() == ["slot:2027-01-15T08:01:00Z"]
        place.clock.step(70)
        await tick(ticker)
        assert await place.slots() == ["slot:2027-01-15T08:01:00Z", "slot:2027-01-15T08:02:00Z"]
        ticker.stop()

    run(tmp_path, test)


def test_a_clock_that_was_a_year_ahead_does_not_keep_a_schedule_silent_for_a_year(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        ticker = place.ticker()
        await ticker.set([every()])
        place.clock.step(365 * 86400)
        await tick(ticker)
        place.clock.step(-365 * 86400)
        await tick(ticker)
        place.clock.step(60)
        await tick(ticker)
        slots = await place.slots()
        assert "slot:2027-01-15T08:01:00Z" in slots
        assert len(slots) == len(set(slots))
        ticker.stop()

    run(tmp_path, test)


@pytest.mark.parametrize(("catch_up", "fired"), [("skip", 1), ("one", 1), (5, 5), ("all", 180)])
def test_three_hours_down_are_caught_up_by_policy(tmp_path: Path, catch_up: Any, fired: int) -> None:
    """Row of D20; bug django-celery-beat#459."""

    async def test(place: Place) -> None:
        ticker = place.ticker()
        await ticker.set([every(catch_up=catch_up)])
        ticker.stop()
        place.clock.step(3 * 3600)
        ticker = place.ticker()
        await ticker.set([every(catch_up=catch_up)])
        await tick(ticker)
        assert len(await place.until_slots(fired)) == fired
        assert (await place.fates()).count("missed") == (0 if fired == 180 else 1)
        ticker.stop()
        again = place.ticker()
        await again.set([every(catch_up=catch_up)])
        await tick(again)
        assert len(await place.slots()) == fired
        again.stop()

    run(tmp_path, test)


def test_setting_the_same_again_and_again_or_another_never_storms(tmp_path: Path) -> None:
    """Bugs rq#2447, celery#4041, arq#196."""

    async def test(place: Place) -> None:
        ticker = place.ticker()
        place.clock.step(-1)
        for _ in range(10):
            await asyncio.gather(
                ticker.set([every()]), ticker.set([every(catch_up="all")]), place.ticker().set([every()])
            )
        place.clock.step(3600)
        await ticker.set([every("*/2 * * * *", catch_up="all")])
        await tick(ticker)
        assert await place.slots() in ([], ["slot:2027-01-15T09:00:00Z"])
        assert len(await place.store.schedules.slots("it", None, 10)) <= 1
        ticker.stop()

    run(tmp_path, test)


def test_two_tickers_fire_each_slot_once(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        tickers = [place.ticker() for _ in range(3)]
        for ticker in tickers:
            await ticker.set([every("* * * * * *")])
        found = await place.until_slots(3)
        for ticker in tickers:
            ticker.stop()
            await ticker.stopped()
        found = await place.slots()
        assert len(found) == len(set(found))

    run(tmp_path, test)


def test_a_role_that_comes_brings_its_schedules_and_what_they_missed(tmp_path: Path) -> None:
    """Bug sidekiq#6804: the slot between two leaders."""

    async def test(place: Place) -> None:
        ticker = place.ticker()
        await ticker.set([every(role="sync")])
        place.clock.step(60)
        await tick(ticker)
        assert await place.slots() == []
        place.house.roles.add("sync")
        await tick(ticker)
        assert await place.slots() == ["slot:2027-01-15T08:01:00Z"]
        place.house.roles.clear()
        place.clock.step(60)
        await tick(ticker)
        assert len(await place.slots()) == 1
        ticker.stop()

    run(tmp_path, test)


def test_jitter_is_the_same_for_every_slot_and_start(tmp_path: Path) -> None:
    one, other = every(jitter=30), every(jitter=30)
    assert one.delay() == other.delay() > 0
    assert one.delay("alpha") != one.delay("beta")

    async def test(place: Place) -> None:
        ticker = place.ticker()
        await ticker.set([one])
        place.clock.step(60 + one.delay() - 10)
        await tick(ticker)
        assert await place.slots() == []
        place.clock.step(10)
        await tick(ticker)
        assert await place.until_slots(1) == ["slot:2027-01-15T08:01:00Z"]
        ticker.stop()

    run(tmp_path, test)


def test_a_job_that_cannot_be_is_a_refused_slot_and_the_next_ones_go_on(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        ticker = place.ticker()
        await ticker.set([every("* * * * * *", name="x" * 150, priority=0), every()])
        place.clock.step(60)
        await tick(ticker)
        assert "slot:2027-01-15T08:01:00Z" in await place.slots()
        ticker.stop()

    run(tmp_path, test)


def test_nothing_wakes_up_but_for_a_slot(tmp_path: Path) -> None:
    """Idle cost: a thousand schedules, none of them due, one timer and no turn of the ticker."""

    async def test(place: Place) -> None:
        ticker = place.ticker()
        turns = 0
        ring = ticker._ring

        def counted() -> None:
            nonlocal turns
            turns += 1
            ring()

        ticker._ring = counted  # type: ignore[method-assign]
        await ticker.set([every("0 0 1 1 *", name=f"n{number}") for number in range(1000)] + [every("*/2 * * * * *")])
        await place.until_slots(2)
        assert turns <= 2 + 2  # a timer may ring a moment early, and is set again
        ticker.stop()

    run(tmp_path, test)
