"""What time does to jobs: they fall due, expire, and are found abandoned; always by the store's own clock."""

from __future__ import annotations

import pytest

from stoker.model.job import State, Waits
from stoker.store.base import Store
from tests.contract.make import LEASE, OWNER, again, failed, finish, held, job, put, states, take, take_one
from tests.contract.places import Place


async def test_a_delayed_job_is_not_claimed_before_its_time(store: Store, place: Place) -> None:
    due = store.now() + 10
    await put(store, job(id="a", run_at=due))
    assert await store.promote() == due
    assert await take(store) == []
    place.advance(9.99)
    assert await store.promote() == due
    assert await take(store) == []
    place.advance(0.02)
    assert await store.promote() is None
    assert (await take_one(store)).id == "a"


async def test_promote_says_when_to_look_again(store: Store, place: Place) -> None:
    now = store.now()
    assert await store.promote() is None
    await put(store, job(run_at=now + 30), job(run_at=now + 10), job(run_at=now + 20), job())
    assert await store.promote() == now + 10
    place.advance(15)
    assert await store.promote() == now + 20


async def test_a_time_that_is_past_is_now(store: Store) -> None:
    (id,) = await put(store, job(run_at=store.now() - 1000))
    found = await store.get(id)
    assert (found.waits, found.run_at) == (Waits.SLOT, store.now())
    assert (await take_one(store)).id == id


async def test_due_jobs_stand_in_line_by_priority_and_submission_not_by_their_time(store: Store, place: Place) -> None:
    now = store.now()
    ids = await put(store, job(run_at=now + 3), job(run_at=now + 1), job(run_at=now + 2, priority=1), job())
    place.advance(5)
    await store.promote()
    assert [claimed.id for claimed in await take(store)] == [ids[2], ids[0], ids[1], ids[3]]


async def test_a_flood_of_due_jobs_is_promoted_within_a_few_calls(store: Store, place: Place) -> None:
    await put(store, *(job(run_at=store.now() + 1) for _ in range(1700)))
    place.advance(1)
    calls = 1
    while (coming := await store.promote()) is not None:
        assert coming <= store.now()
        calls += 1
        assert calls < 10
    assert (await store.counts()).ready == 1700


async def test_an_attempt_that_waits_for_its_back_off_is_a_delayed_job(store: Store, place: Place) -> None:
    await put(store, job(id="a"))
    await store.settle([again(await take_one(store), store.now() + 4)])
    assert await store.promote() == store.now() + 4
    place.advance(4)
    assert await store.promote() is None
    assert (await take_one(store)).attempt == 2


async def test_kombu_337_a_long_delay_is_not_a_lease(store: Store, place: Place) -> None:
    """A delay far beyond every lease starts the job once."""
    await put(store, job(id="a", run_at=store.now() + 100 * LEASE))
    for _ in range(99):
        place.advance(LEASE)
        await store.promote()
        assert await take(store) == []
        assert await store.abandoned(OWNER) == []
    place.advance(LEASE)
    await store.promote()
    assert (await take_one(store)).attempt == 1


async def test_expire_fails_what_waited_too_long_and_says_which(store: Store, place: Place) -> None:
    now = store.now()
    late, _, delayed, _ = await put(
        store, job(expires=10.0), job(expires=60.0), job(run_at=now + 5, expires=10.0), job()
    )
    assert await store.expire() == []
    place.advance(10.0)
    assert await store.expire() == [late]
    place.advance(5.0)
    assert await store.expire() == [delayed]
    assert await store.expire() == []
    found = await store.get(late)
    assert (found.state, found.finished, found.attempt) == (State.FAILED, now + 10, 0)
    assert found.fault is not None
    assert found.fault.type == "Expired"
    assert (await store.counts()).ready == 2


async def test_a_running_job_does_not_expire(store: Store, place: Place) -> None:
    await put(store, job(id="a", expires=10.0))
    claimed = await take_one(store)
    place.advance(100.0)
    assert await store.expire() == []
    await finish(store, claimed)


async def test_what_nobody_renews_is_found_when_its_lease_is_over(store: Store, place: Place) -> None:
    await put(store, job(id="a"), job(id="b"))
    claimed = await take_one(store)
    place.advance(LEASE - 0.01)
    assert await store.abandoned(OWNER) == []
    place.advance(0.02)
    assert await store.abandoned(OWNER) == [claimed]
    assert await store.abandoned(OWNER) == [claimed], "looking changes nothing"


async def test_hexpm_1825_a_job_that_is_renewed_is_never_taken_for_lost(store: Store, place: Place) -> None:
    """O60: however long it runs."""
    await put(store, job(id="a"))
    claimed = await take_one(store)
    for _ in range(100):
        place.advance(LEASE * 0.9)
        assert await store.renew(OWNER, LEASE, held(claimed)) == [True]
        assert await store.abandoned(OWNER) == []
    await finish(store, claimed)


async def test_renew_counts_and_touches_only_what_its_owner_runs(store: Store, place: Place) -> None:
    await put(store, *(job() for _ in range(4)))
    mine = [await take_one(store, owner="me") for _ in range(2)]
    other = await take_one(store, owner="other")
    place.advance(LEASE - 1)
    assert await store.renew("me", LEASE, held(*mine)) == [True, True]
    assert await store.renew("nobody", LEASE, held(other)) == [False]
    place.advance(2)
    assert [one.id for one in await store.abandoned("me")] == [other.id]


async def test_a_claim_that_nobody_heard_of_is_not_kept_alive_by_its_owner(store: Store, place: Place) -> None:
    """D11: the answer to a claim was lost, and the daemon that made it lives on and renews what it knows."""
    await put(store, job(id="known"), job(id="unheard"))
    known, unheard = await take_one(store), await take_one(store)
    place.advance(LEASE - 1)
    assert await store.renew(OWNER, LEASE, held(known)) == [True]
    place.advance(2)
    assert await store.abandoned(OWNER) == [unheard]


async def test_abandoned_takes_no_more_than_asked(store: Store, place: Place) -> None:
    await put(store, *(job() for _ in range(8)))
    await take(store)
    place.advance(LEASE + 1)
    assert len(await store.abandoned(OWNER, limit=3)) == 3
    assert len(await store.abandoned(OWNER)) == 8


async def test_orphan_fails_what_nobody_knows_and_names_it(store: Store) -> None:
    known, running, unknown, later = await put(
        store, job("app.work"), job("gone.work"), job("gone.work"), job("gone.work", run_at=store.now() + 10)
    )
    await take_one(store, "gone.work")
    assert await store.orphan(["app.work", "app.other"]) == [unknown]
    assert await states(store, [known, unknown, running, later]) == [State.NEW, State.FAILED, State.RUNNING, State.NEW]
    found = await store.get(unknown)
    assert found.fault is not None
    assert (found.fault.type, "gone.work" in found.fault.message) == ("UnknownCommand", True)
    assert await store.orphan(["app.work"]) == []


async def test_orphan_of_nothing_known_fails_all_that_is_ready(store: Store) -> None:
    ids = await put(store, *(job(f"gone.c{number}") for number in range(5)))
    assert sorted(await store.orphan([])) == sorted(ids)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_a_fence_needs_no_clock(store: Store, place: Place, jump: float) -> None:
    """D18: whatever the clock does, an ending is accepted from the newest attempt alone."""
    await put(store, job(id="a"))
    old = await take_one(store)
    place.advance(jump)
    assert await store.settle([again(old, store.now())]) == [True]
    new = await take_one(store)
    place.advance(-jump)
    assert await store.settle([failed(old)]) == [False]
    await finish(store, new)
