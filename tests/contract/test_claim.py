"""claim: what is taken, in which order, how much of it, and by whom."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from stoker.model.job import Overrides, State
from stoker.store.base import Filter, Store
from tests.contract.make import LEASE, OWNER, WORK, again, done, finish, held, job, put, quota, take, take_one
from tests.contract.places import Place


async def test_a_claimed_job_is_the_job_that_was_submitted(store: Store) -> None:
    new = job(input=b'{"n":1}', user="u7", tags=("a",), key="app.work:k", overrides=Overrides(timeout=2.0))
    await put(store, new)
    claimed = await take_one(store)
    found = await store.get(new.id)
    assert (claimed.id, claimed.command, claimed.input) == (new.id, WORK, new.input)
    assert (claimed.user, claimed.tags, claimed.overrides, claimed.key) == ("u7", ("a",), new.overrides, "app.work:k")
    assert (claimed.seq, claimed.created) == (found.seq, found.created)


async def test_the_attempt_is_counted_when_it_is_claimed(store: Store, place: Place) -> None:
    (id,) = await put(store, job())
    claimed = await take_one(store)
    found = await store.get(id)
    assert (claimed.attempt, claimed.fence) == (found.attempt, found.fence) == (1, 1)
    assert (found.state, found.owner, found.started) == (State.RUNNING, OWNER, store.now())
    other = await place.open()
    assert (await other.get(id)).attempt == 1


async def test_the_first_submitted_is_the_first_claimed(store: Store) -> None:
    ids = await put(store, *(job() for _ in range(5)))
    assert [(await take_one(store)).id for _ in ids] == ids


async def test_a_higher_priority_goes_first(store: Store) -> None:
    low, high, middle, high_too = await put(store, *(job(priority=rank) for rank in (-5, 10, 0, 10)))
    assert [(await take_one(store)).id for _ in range(4)] == [high, high_too, middle, low]


@pytest.mark.parametrize("commands", [1, 3])
async def test_one_claim_keeps_the_order_too(store: Store, commands: int) -> None:
    names = [f"app.c{number}" for number in range(commands)]
    chance = random.Random(7)
    new = [job(chance.choice(names), priority=chance.randint(-2, 2)) for _ in range(60)]
    await put(store, *new)
    in_order = sorted(new, key=lambda one: -one.priority)
    first = await take(store, 25, *names)
    rest = await take(store, 1000, *names)
    assert [claimed.id for claimed in first + rest] == [one.id for one in in_order]


async def test_odd_jobs_115_a_claim_never_takes_more_than_asked(store: Store) -> None:
    names = ["app.a", "app.b", "app.c"]
    await put(store, *(job(name) for name in names for _ in range(20)))
    for total, rooms in [(1, (5, 5, 5)), (7, (5, 5, 5)), (50, (1, 2, 0)), (4, (1, 0, 0))]:
        quotas = [quota(name, room) for name, room in zip(names, rooms, strict=True)]
        claimed = await store.claim(OWNER, LEASE, quotas, total)
        by_name = [sum(one.command == name for one in claimed) for name in names]
        assert len(claimed) == min(total, sum(rooms))
        assert all(count <= room for count, room in zip(by_name, rooms, strict=True))
    assert (await store.counts()).running == 1 + 7 + 3 + 1


async def test_nothing_asked_is_nothing_taken(store: Store) -> None:
    await put(store, job())
    assert await store.claim(OWNER, LEASE, [], 10) == []
    assert await store.claim(OWNER, LEASE, [quota()], 0) == []
    assert await store.claim(OWNER, LEASE, [quota(room=0)], 10) == []
    assert await take(store, 10, "app.other") == []


async def test_one_command_fills_the_room_that_another_cannot_use(store: Store) -> None:
    await put(store, *(job("app.busy") for _ in range(5)))
    claimed = await take(store, 5, "app.idle", "app.busy")
    assert len(claimed) == 5


async def test_jentic_one_529_two_claimers_never_share_a_job(store: Store, place: Place) -> None:
    await put(store, *(job(WORK if number % 3 else "app.other") for number in range(300)))
    other = await place.open()

    async def claim_all(mine: Store, owner: str, *commands: str) -> list[str]:
        found: list[str] = []
        while claimed := await take(mine, 7, *commands, owner=owner):
            found += [one.id for one in claimed]
        return found

    both = (WORK, "app.other")
    taken = await asyncio.gather(
        claim_all(store, "a", *both),
        claim_all(other, "b", *both),
        claim_all(store, "c", WORK),
        claim_all(other, "d", WORK),
    )
    flat = [id for ids in taken for id in ids]
    assert len(flat) == len(set(flat)) == 300
    for owner, ids in zip("abcd", taken, strict=True):
        assert {(await store.get(id)).owner for id in ids} <= {owner}


async def test_a_commands_limit_counts_what_runs_anywhere(store: Store, place: Place) -> None:
    await put(store, *(job() for _ in range(6)))
    other = await place.open()
    limited = [quota(limit=3)]
    first = await store.claim("a", LEASE, limited, 2)
    second = await other.claim("b", LEASE, limited, 10)
    assert (len(first), len(second)) == (2, 1)
    assert await store.claim("a", LEASE, limited, 10) == []
    await finish(store, first[0])
    assert len(await other.claim("b", LEASE, limited, 10)) == 1


async def test_a_limit_below_what_runs_already_takes_nothing(store: Store) -> None:
    await put(store, *(job() for _ in range(4)))
    await take(store, 3)
    assert await store.claim(OWNER, LEASE, [quota(limit=1), quota("app.other")], 10) == []


async def test_a_rate_spaces_the_starts(store: Store, place: Place) -> None:
    await put(store, *(job() for _ in range(10)))
    started = []
    for _ in range(100):
        for claimed in await store.claim(OWNER, LEASE, [quota(interval=6.0)], 10):
            started.append(store.now())
            await store.settle([done(claimed)])
        place.advance(0.7)
    gaps = [after - before for before, after in itertools.pairwise(started)]
    assert len(started) == 10
    assert all(6.0 <= gap < 6.8 for gap in gaps)


async def test_a_rate_outlives_the_daemon(store: Store, place: Place) -> None:
    await put(store, job(), job())
    assert len(await store.claim("a", LEASE, [quota(interval=60.0)], 10)) == 1
    other = await place.open()
    assert await other.claim("b", LEASE, [quota(interval=60.0)], 10) == []
    place.advance(60.0)
    assert len(await other.claim("b", LEASE, [quota(interval=60.0)], 10)) == 1


async def test_another_commands_rate_holds_nobody_up(store: Store) -> None:
    await put(store, job(), job(), job("app.free"), job("app.free"))
    claimed = await store.claim(OWNER, LEASE, [quota(interval=60.0), quota("app.free")], 10)
    assert sorted(one.command for one in claimed) == ["app.free", "app.free", WORK]


@pytest.mark.parametrize("name", [WORK, "app", "*"])
async def test_a_pause_stops_the_claims_it_names(store: Store, name: str) -> None:
    await put(store, job())
    await store.pause(name)
    assert await store.pauses() == {name}
    assert await take(store) == []
    assert await take(store, 10, WORK, "app.other") == []
    assert await store.resume(name) is True
    assert len(await take(store)) == 1


async def test_a_pause_stops_nothing_else(store: Store) -> None:
    await put(store, job("app.work"), job("app.other"), job("apple.work"))
    await store.pause("app.work")
    claimed = await take(store, 10, "app.work", "app.other", "apple.work")
    assert [one.command for one in claimed] == ["app.other", "apple.work"]
    await store.pause("app")
    assert await take(store, 10, "app.work", "app.other", "apple.work") == []


async def test_what_runs_goes_on_under_a_pause(store: Store) -> None:
    await put(store, job())
    claimed = await take_one(store)
    await store.pause("*")
    assert await store.renew(OWNER, LEASE, held(claimed)) == [True]
    await finish(store, claimed)


async def test_pauses_are_kept_and_each_is_taken_back_once(store: Store, place: Place) -> None:
    await store.pause("app")
    await store.pause("app")
    await store.pause("*")
    other = await place.open()
    assert await other.pauses() == {"app", "*"}
    assert [await other.resume("app"), await other.resume("app")] == [True, False]
    assert await store.resume("never paused") is False
    assert await store.pauses() == {"*"}


async def test_a_job_that_waited_too_long_is_not_claimed(store: Store, place: Place) -> None:
    await put(store, job(id="late", expires=10.0), job(id="good"))
    place.advance(10.0)
    assert [one.id for one in await take(store)] == ["good"]
    assert await take(store, 10, WORK, "app.other") == []


async def test_a_job_that_had_its_slot_waits_no_longer_against_its_expiry(store: Store, place: Place) -> None:
    """It ran, and failed, and is tried again after it would have been too late to begin."""
    await put(store, job(id="slow", expires=10.0))
    claimed = await take_one(store)
    place.advance(20.0)
    assert await store.settle([again(claimed, store.now())]) == [True]
    assert await store.expire() == []
    assert (await take_one(store)).attempt == 2


async def test_every_list_a_claim_gives_is_what_the_store_says_runs(store: Store) -> None:
    await put(store, *(job() for _ in range(10)))
    claimed = await take(store, 4)
    running = await store.jobs(Filter(state=State.RUNNING, limit=100))
    assert sorted(one.id for one in claimed) == sorted(found.id for found in running)
