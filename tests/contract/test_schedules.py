"""Schedules: each slot is decided once, together with its job, whoever asks and however often."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from stoker.model.job import OnDuplicate, State, Submission, Unique
from stoker.model.slot import Decided, Defined, Fate, Line, Slot, Standing, Tick
from stoker.store.base import Store
from stoker.store.schedules import Known
from tests.contract.make import WORK, finish, job, take_one
from tests.contract.places import SHARED, Place, needs

NIGHTLY = Line("nightly")
HERE = "alpha"


def single(**more: Any) -> Submission:
    """One that only one may be of at a time, as a schedule that skips what overlaps submits it."""
    return job(unique=Unique("schedule:nightly", None, OnDuplicate.EXISTING), fresh=True, **more)


def tick(slot: float, line: Line = NIGHTLY, submission: Submission | None = None, **more: Any) -> Tick:
    return Tick(line=line, slot=slot, submission=job(fresh=True) if submission is None else submission, **more)


def missed(slot: float, first: float, count: int) -> Tick:
    return Tick(line=NIGHTLY, slot=slot, fate=Fate.MISSED, reason="nobody was there", first=first, count=count)


async def known(store: Store, line: Line = NIGHTLY, fingerprint: str = "f1") -> Standing:
    (standing,) = await store.schedules.know([Defined(line, fingerprint)])
    return standing


async def decide(store: Store, *ticks: Tick) -> list[Decided]:
    return await store.schedules.decide(ticks, HERE)


async def fates(store: Store, *ticks: Tick) -> list[Fate]:
    return [one.fate for one in await decide(store, *ticks)]


async def slots(store: Store, name: str | None = "nightly") -> list[tuple[float, Fate]]:
    return [(one.slot, one.fate) for one in await store.schedules.slots(name, None, 100)]


async def test_a_new_schedule_owes_nothing_before_now(store: Store, place: Place) -> None:
    """Bug redbeat#81: a fresh schedule fires at once."""
    now = store.now()
    assert await known(store) == Standing(NIGHTLY, now)
    place.advance(60)
    assert await known(store) == Standing(NIGHTLY, now)
    assert await store.schedules.standings([Line("other"), NIGHTLY]) == [None, Standing(NIGHTLY, now)]


async def test_what_is_defined_anew_begins_now(store: Store, place: Place) -> None:
    await known(store)
    place.advance(3600)
    assert (await known(store, fingerprint="f2")).last == store.now()
    place.advance(60)
    (named, also) = await store.schedules.know([Defined(Line("nightly"), "f2"), Defined(Line("other"), "f2")])
    assert (named.last, also.last) == (store.now() - 60, store.now())


async def test_a_new_definition_never_goes_back_behind_what_was_decided(store: Store, place: Place) -> None:
    await known(store)
    later = store.now() + 100
    await decide(store, tick(later))
    assert (await known(store, fingerprint="f2")).last == later


async def test_a_slot_is_decided_once_and_its_job_is_stored_with_it(store: Store) -> None:
    await known(store)
    at = store.now() + 60
    (first,) = await decide(store, tick(at))
    assert first.fate is Fate.FIRED
    assert first.job is not None
    assert (await store.get(first.job)).state is State.NEW
    assert await decide(store, tick(at)) == [Decided(Fate.REPEATED)]
    assert len(await _all_jobs(store)) == 1
    (slot,) = await store.schedules.slots("nightly", None, 10)
    assert slot == Slot(
        line=NIGHTLY, slot=at, first=at, count=1, at=store.now(), fate=Fate.FIRED, job=first.job, reason="",
        decider=HERE,
    )  # fmt: skip


async def test_a_slot_before_a_decided_one_is_never_fired_again(store: Store) -> None:
    """Bugs oban-py and apscheduler: a clock that goes back enters a minute twice."""
    await known(store)
    now = store.now()
    assert await fates(store, tick(now + 120)) == [Fate.FIRED]
    assert await fates(store, tick(now + 60), tick(now + 120)) == [Fate.REPEATED, Fate.REPEATED]
    assert len(await _all_jobs(store)) == 1


async def test_several_slots_of_one_schedule_are_decided_in_order(store: Store) -> None:
    await known(store)
    now = store.now()
    done = await decide(store, tick(now + 1), tick(now + 1, Line("other")), tick(now + 2), tick(now + 2), tick(now + 3))
    assert [one.fate for one in done] == [Fate.FIRED, Fate.FIRED, Fate.FIRED, Fate.REPEATED, Fate.FIRED]
    assert [one.before for one in done if one.fate is Fate.FIRED] == [None, None, done[0].job, done[2].job]
    assert await slots(store) == [(now + 3, Fate.FIRED), (now + 2, Fate.FIRED), (now + 1, Fate.FIRED)]


async def test_what_overlaps_is_skipped_until_the_job_has_ended(store: Store) -> None:
    await known(store)
    now = store.now()
    (first,) = await decide(store, tick(now + 1, submission=single()))
    assert await decide(store, tick(now + 2, submission=single())) == [
        Decided(Fate.SKIPPED, first.job, first.job)
    ]  # fmt: skip
    await finish(store, await take_one(store))
    (third,) = await decide(store, tick(now + 3, submission=single()))
    assert (third.fate, third.before) == (Fate.FIRED, first.job)


async def test_of_what_queues_only_so_many_wait(store: Store, place: Place) -> None:
    await known(store)
    now, key = store.now(), "schedule:nightly"
    done = await decide(store, *(tick(now + at, submission=job(key=key), waiting=2) for at in range(1, 6)))
    assert [one.fate for one in done] == [Fate.FIRED, Fate.FIRED, *[Fate.SKIPPED] * 3]
    assert (done[2].job, done[2].reason) == (None, "2 runs wait already")
    assert (await store.schedules.slots("nightly", None, 1))[0].reason == "2 runs wait already"
    first = await take_one(store)
    more = (tick(now + 6, submission=job(key=key), waiting=2), tick(now + 6, Line("other"), waiting=2))
    assert await fates(store, *more) == [Fate.FIRED] * 2, "a run that has begun waits no more; another line has its own"
    assert await fates(store, tick(now + 7, submission=job(key=key), waiting=2)) == [Fate.SKIPPED]
    await finish(store, first)
    await take_one(store)
    unbounded = (tick(now + at, submission=job(key=key)) for at in range(8, 20))
    assert set(await fates(store, *unbounded)) == {Fate.FIRED}
    assert await fates(store, tick(now + 20, submission=job(key=key), waiting=2)) == [Fate.SKIPPED]


async def test_runs_are_the_newest_slots_with_their_jobs(store: Store) -> None:
    now = store.now()
    b = Line("base", "b")
    done = await decide(store, *(tick(now + at) for at in range(1, 4)), missed(now + 5, now + 4, 2))
    await decide(store, tick(now + 1, Line("base", "a")), tick(now + 2, b, job(input=b'{"x":1}')))
    await finish(store, await take_one(store))
    mine, none, other = await store.schedules.runs([(NIGHTLY, 3), (Line("nothing"), 9), (b, 9)])
    assert [run.slot.slot for run in mine] == [now + 2, now + 3, now + 5]
    assert [run.job.id if run.job else None for run in mine] == [done[1].job, done[2].job, None]
    assert none == []
    ((slot, found),) = other
    assert found is not None
    assert (slot.line, found.id, found.state, found.input, found.output) == (b, slot.job, State.NEW, b"", None)
    (whole,) = await store.schedules.runs([(NIGHTLY, 99)])
    assert [run.job.state if run.job else None for run in whole] == [State.COMPLETED, State.NEW, State.NEW, None]
    assert whole[0].job is not None
    assert whole[0].job == msgspec.structs.replace(await store.get(whole[0].job.id), input=b"", output=None)
    assert await store.schedules.runs([]) == []


async def test_what_one_store_knows_goes_into_another(store: Store, place: Place) -> None:
    await store.schedules.know([Defined(NIGHTLY, "f1"), Defined(Line("base", "a"), "f2"), Defined(Line("base"), "f3")])
    now = store.now()
    await decide(store, tick(now + 1), tick(now + 1, Line("base", "a")), missed(now + 9, now + 2, 8))
    await store.schedules.pause("base")
    known_here, slots_here = await kept(store)
    assert [one.standing.line for one in known_here] == [Line("base"), Line("base", "a"), NIGHTLY]
    assert len(slots_here) == 3
    other = await place.beside()
    assert await other.schedules.restore(known_here, slots_here) == 6
    assert await kept(other) == (known_here, slots_here)
    assert await other.schedules.standings([NIGHTLY]) == await store.schedules.standings([NIGHTLY])
    assert await fates(other, tick(now + 1), tick(now + 9), tick(now + 10)) == [*[Fate.REPEATED] * 2, Fate.FIRED]


async def test_a_schedule_that_is_known_keeps_its_pause_and_owes_nothing_of_before(store: Store, place: Place) -> None:
    await known(store)
    now = store.now()
    await decide(store, tick(now + 60))
    other = await place.beside()
    await known(other, fingerprint="mine")
    await other.schedules.pause("nightly")
    here = await kept(store)
    assert await other.schedules.restore(*here) == 1
    assert await other.schedules.restore(*here) == 0
    (found,) = await other.schedules.dump(None, 9)
    assert (found.fingerprint, found.standing.paused, found.standing.last) == ("mine", now, now + 60)


async def kept(store: Store, page: int = 2) -> tuple[list[Known], list[Slot]]:
    """All of it, by small pages."""
    lines: list[Known] = []
    while found := await store.schedules.dump(lines[-1].standing.line if lines else None, page):
        lines += found
    slots: list[Slot] = []
    while more := await store.schedules.dump_slots(slots[-1] if slots else None, page):
        slots += more
    return lines, slots


async def test_a_paused_schedule_lets_its_slots_pass_and_catches_up_none(store: Store, place: Place) -> None:
    await known(store)
    now = store.now()
    assert await store.schedules.pause("nightly") is True
    assert await store.schedules.pause("weekly") is False
    assert await fates(store, tick(now + 1)) == [Fate.PAUSED]
    (standing,) = await store.schedules.standings([NIGHTLY])
    assert standing is not None
    assert (standing.paused, standing.last) == (now, now + 1)
    place.advance(100)
    assert await store.schedules.resume("nightly") is True
    assert await store.schedules.resume("nightly") is False
    assert (await known(store)).last == now + 100
    assert await fates(store, tick(now + 60), tick(now + 101)) == [Fate.REPEATED, Fate.FIRED]
    assert len(await _all_jobs(store)) == 1


async def test_a_pause_holds_on_every_node_also_one_that_comes_later(store: Store) -> None:
    await store.schedules.know([Defined(Line("base", "alpha"), "f"), Defined(Line("base", "beta"), "f")])
    await store.schedules.pause("base")
    now = store.now()
    later = Line("base", "gamma")
    assert (await known(store, later)).paused == now
    done = await fates(store, *(tick(now + 1, Line("base", node)) for node in ("alpha", "beta", "gamma", "delta")))
    assert done == [Fate.PAUSED] * 4
    await store.schedules.resume("base")
    assert await fates(store, tick(now + 2, later)) == [Fate.FIRED]


async def test_each_node_has_slots_of_its_own(store: Store) -> None:
    now = store.now()
    assert await fates(store, tick(now + 1, Line("base", "a")), tick(now + 1, Line("base", "b"))) == [Fate.FIRED] * 2
    assert await slots(store, "base") == [(now + 1, Fate.FIRED)] * 2


async def test_what_was_missed_is_one_row_and_later_slots_go_on(store: Store) -> None:
    await known(store)
    now = store.now()
    assert await fates(store, missed(now + 600, now + 60, 10), tick(now + 660)) == [Fate.MISSED, Fate.FIRED]
    assert await fates(store, tick(now + 300)) == [Fate.REPEATED]
    (_, gap) = await store.schedules.slots("nightly", None, 10)
    assert (gap.slot, gap.first, gap.count, gap.reason) == (now + 600, now + 60, 10, "nobody was there")


async def test_a_job_that_is_refused_harms_no_other(store: Store) -> None:
    now = store.now()
    bad = job(priority=1 << 70, unique=Unique("k"), fresh=True)
    done = await decide(store, tick(now + 1, Line("a")), tick(now + 1, Line("b"), bad), tick(now + 1, Line("c")))
    assert [one.fate for one in done] == [Fate.FIRED, Fate.REFUSED, Fate.FIRED]
    assert "cannot be stored" in done[1].reason
    (refused,) = await store.schedules.slots("b", None, 10)
    assert refused.reason == done[1].reason


async def test_pages_of_slots(store: Store, place: Place) -> None:
    start = store.now()
    for number in range(5):
        place.advance(1)
        await decide(store, tick(start + number, Line(f"s{number}")))
    newest = await store.schedules.slots(None, None, 2)
    assert [one.line.name for one in newest] == ["s4", "s3"]
    rest = await store.schedules.slots(None, newest[-1].at, 10)
    assert [one.line.name for one in rest] == ["s2", "s1", "s0"]


async def test_slots_are_forgotten_in_bites_and_with_them_what_nobody_defines(store: Store, place: Place) -> None:
    await store.schedules.know([Defined(Line("gone"), "f"), Defined(NIGHTLY, "f")])
    now = store.now()
    await decide(store, *(tick(now + number) for number in range(1, 6)))
    place.advance(1000)
    await known(store, fingerprint="f")
    assert await store.schedules.forget(500, 3) == 3
    assert await store.schedules.forget(500, 3) == 2
    assert await slots(store) == []
    found = await store.schedules.standings([NIGHTLY, Line("gone")])
    assert [one is None for one in found] == [False, True]
    assert await fates(store, tick(now + 5)) == [Fate.REPEATED]


async def test_a_slot_whose_schedule_was_forgotten_is_still_not_fired_twice(store: Store) -> None:
    now = store.now()
    await decide(store, tick(now + 1000))
    await store.schedules.forget(-1e9, 0)
    assert await fates(store, tick(now + 1000)) == [Fate.REPEATED]
    assert len(await _all_jobs(store)) == 1


async def test_decisions_survive_a_crash(store: Store, place: Place) -> None:
    await known(store)
    at = store.now() + 1
    (fired,) = await decide(store, tick(at))
    again = await place.crash()
    assert await decide(again, tick(at)) == [Decided(Fate.REPEATED)]
    assert fired.job is not None
    assert (await again.get(fired.job)).command == WORK


@needs(SHARED)
async def test_of_many_daemons_that_fire_a_slot_one_does(place: Place) -> None:
    """Bugs solid_queue e43f204, sidekiq#3773: two schedulers, one slot, two jobs."""
    stores = [await place.open() for _ in range(4)]
    lines = [Line(f"s{number:02}") for number in range(20)]
    now = stores[0].now()
    for round in range(1, 6):
        # each in another order, as daemons with files in another order would
        orders = [lines, lines[::-1], lines[7:] + lines[:7], lines[::2] + lines[1::2]]
        all_of_them = await asyncio.gather(
            *(
                store.schedules.decide([tick(now + round, line) for line in order], f"node-{number}")
                for number, (store, order) in enumerate(zip(stores, orders, strict=True))
            )
        )
        fired = [one.job for done in all_of_them for one in done if one.fate is Fate.FIRED]
        assert len(fired) == len(lines)
        assert {one.fate for done in all_of_them for one in done} == {Fate.FIRED, Fate.REPEATED}
    assert len(await _all_jobs(stores[0])) == 5 * len(lines)


@pytest.mark.parametrize("lines", [0, 1])
async def test_nothing_to_do(store: Store, lines: int) -> None:
    assert await store.schedules.decide([], HERE) == []
    assert await store.schedules.know([]) == []
    assert await store.schedules.standings([NIGHTLY][:lines]) == [None] * lines


async def _all_jobs(store: Store) -> list[Any]:
    from stoker.store.base import Filter

    return await store.jobs(Filter(limit=1000))
