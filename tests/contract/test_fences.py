"""Fences: an attempt ends once, by whoever holds its newest number.

Tests that keep a known bug of another system out bear its name, with the number of its issue there.
"""

from __future__ import annotations

import asyncio

from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, Progress, State
from stoker.store.base import Report, Store
from tests.contract.make import LEASE, OWNER, again, cancelled, done, failed, finish, held, job, put, take_one
from tests.contract.places import ONE_DAEMON, Place, needs


def says(claimed: Claimed, text: bytes = b'"hello"') -> Report:
    event = NewEvent(EventKind.CHUNK, 1.0, text)
    return Report(claimed.seq, claimed.fence, (event,), Progress(50.0, "half"))


async def superseded(store: Store, id: str = "a") -> tuple[Claimed, Claimed]:
    """Two claims of one job: the first was given up for lost, the second is at work."""
    await put(store, job(id=id))
    old = await take_one(store)
    assert await store.settle([again(old, store.now())]) == [True]
    return old, await take_one(store)


async def test_the_fence_grows_with_every_claim_and_never_starts_anew(store: Store) -> None:
    old, new = await superseded(store)
    assert (old.fence, new.fence) == (1, 2)
    await finish(store, new)
    await store.retry("a")
    third = await take_one(store)
    assert (third.attempt, third.fence) == (1, 3)
    assert await store.settle([done(old), done(new)]) == [False, False]
    await finish(store, third)


async def test_a_late_ending_writes_nothing(store: Store) -> None:
    old, _ = await superseded(store)
    before = await store.get("a")
    for late in (done(old, b'"late"'), failed(old), cancelled(old), again(old, store.now() + 5)):
        assert await store.settle([late]) == [False]
    assert await store.get("a") == before


async def test_a_late_report_writes_nothing(store: Store) -> None:
    old, new = await superseded(store)
    before = await store.get("a")
    assert await store.report([says(old), says(new, b'"mine"'), says(old)]) == [False, True, False]
    assert [bytes(event.data) for event in await store.events("a")] == [b'"mine"']
    assert before.progress is None


async def test_a_report_after_the_end_writes_nothing(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await finish(store, claimed)
    assert await store.report([says(claimed)]) == [False]
    assert await store.events("a") == []


async def test_one_refused_ending_harms_no_other(store: Store) -> None:
    old, new = await superseded(store)
    await put(store, job(id="b"))
    other = await take_one(store)
    assert await store.settle([done(old), done(other), done(new), done(new)]) == [False, True, True, False]


async def test_river_1302_the_reaper_cannot_undo_a_finished_job(store: Store, place: Place) -> None:
    """D10: the reaper has read, the job completes, the reaper writes."""
    await put(store, job(id="a"))
    claimed = await take_one(store)
    place.advance(LEASE + 1)
    (found,) = await store.abandoned(OWNER)
    assert await store.settle([done(claimed, b'"result"')]) == [True]
    assert await store.settle([again(found, store.now())]) == [False]
    after = await store.get("a")
    assert (after.state, after.output, after.attempt) == (State.COMPLETED, b'"result"', 1)


async def test_solid_queue_589_a_job_does_not_both_fail_and_finish(store: Store, place: Place) -> None:
    """The worker was taken for dead, its job failed; then the worker, alive after all, finishes."""
    await put(store, job(id="a"))
    claimed = await take_one(store)
    place.advance(LEASE + 1)
    (found,) = await store.abandoned(OWNER)
    assert await store.settle([failed(found, "taken for dead")]) == [True]
    assert await store.settle([done(claimed, b'"late"')]) == [False]
    after = await store.get("a")
    assert (after.state, after.output) == (State.FAILED, None)
    assert after.fault is not None
    assert after.fault.message == "taken for dead"


async def test_rq_2289_a_finished_job_is_not_found_abandoned_later(store: Store, place: Place) -> None:
    await put(store, job(id="a"))
    await finish(store, await take_one(store))
    place.advance(100 * LEASE)
    assert await store.abandoned(OWNER) == []
    assert await store.abandoned("somebody else") == []


async def test_oban_1488_an_owners_name_is_not_a_fence(store: Store) -> None:
    """The same name holds the job twice; only the newer holding may write."""
    old, new = await superseded(store)
    assert (await store.get("a")).owner == OWNER
    assert await store.report([says(old)]) == [False]
    assert await store.settle([done(old)]) == [False]
    await finish(store, new)


async def test_airflow_51969_two_reapers_mend_a_job_once(store: Store, place: Place) -> None:
    other = await place.open()
    await put(store, *(job() for _ in range(20)))
    for _ in range(20):
        await take_one(store)
    place.advance(LEASE + 1)
    first, second = await store.abandoned(OWNER), await other.abandoned(OWNER)
    assert len(first) == len(second) == 20
    results = await asyncio.gather(
        store.settle([again(one, store.now()) for one in first]),
        other.settle([again(one, store.now()) for one in second]),
    )
    assert [sum(pair) for pair in zip(*results, strict=True)] == [1] * 20
    assert (await store.counts()).ready == 20


async def test_a_lost_reply_on_settle_changes_nothing_when_it_is_sent_again(store: Store, place: Place) -> None:
    """D11: the ending was written, the answer was lost, the router writes it again."""
    await put(store, job(id="a"))
    claimed = await take_one(store)
    assert await store.settle([done(claimed, b"1")]) == [True]
    before = await store.get("a")
    place.advance(5.0)
    assert await store.settle([done(claimed, b"1")]) == [False]
    assert await store.get("a") == before


async def test_a_lost_reply_on_claim_costs_an_attempt_and_no_job(store: Store, place: Place) -> None:
    """D11: the claim was committed, nobody heard of it: the job runs under a lease that nobody renews."""
    await put(store, job(id="a"))
    lost = await take_one(store)
    place.advance(LEASE + 1)
    (found,) = await store.abandoned(OWNER)
    assert (found.id, found.fence, found.attempt) == ("a", lost.fence, 1)
    assert await store.settle([again(found, store.now())]) == [True]
    assert (await take_one(store)).attempt == 2


async def test_dbos_759_attempts_are_counted_though_nothing_is_ever_reported(store: Store, place: Place) -> None:
    await put(store, job(id="a"))
    for expected in range(1, 6):
        claimed = await take_one(store)
        assert claimed.attempt == expected
        place.advance(LEASE + 1)
        (found,) = await store.abandoned(OWNER)
        assert await store.settle([again(found, store.now())]) == [True]
    assert (await store.get("a")).attempt == 5


async def test_an_attempt_that_does_not_count_leaves_the_fence_behind(store: Store) -> None:
    """A snooze gives the attempt back; the fence of the snoozed run stays spent."""
    await put(store, job(id="a"))
    first = await take_one(store)
    assert await store.settle([again(first, store.now(), attempt=0)]) == [True]
    second = await take_one(store)
    assert (second.attempt, second.fence) == (1, 2)
    assert await store.settle([done(first)]) == [False]


async def test_renew_is_not_fooled_by_an_attempt_that_was_taken_away(store: Store, place: Place) -> None:
    await put(store, job(id="a"))
    old = await take_one(store, owner="old")
    place.advance(LEASE + 1)
    (found,) = await store.abandoned("old")
    await store.settle([again(found, store.now())])
    new = await take_one(store, owner="new")
    assert await store.renew("old", LEASE, held(old)) == [False]
    assert await store.renew("old", LEASE, held(new)) == [False], "a fence is no owner"
    assert await store.renew("new", LEASE, held(old, new)) == [False, True]


@needs(ONE_DAEMON)
async def test_procrastinate_1518_a_restarted_daemon_finds_what_its_predecessor_left(store: Store) -> None:
    """A new boot is somebody else: what ran under the old one is lost at once, however long its lease."""
    await put(store, job(id="a"), job(id="b"))
    await take_one(store, owner="old", lease=3600.0)
    mine = await take_one(store, owner="new", lease=3600.0)
    assert [found.id for found in await store.abandoned("new")] == ["a"]
    assert mine.id == "b"
    assert await store.abandoned("old") == [mine]


async def test_the_end_leaves_no_owner_and_no_lease(store: Store, place: Place) -> None:
    await put(store, job(id="a"), job(id="b"))
    first, second = await take_one(store), await take_one(store)
    await store.settle([done(first), again(second, store.now() + 1000)])
    assert [(await store.get(id)).owner for id in ("a", "b")] == [None, None]
    place.advance(2 * LEASE)
    assert await store.abandoned(OWNER) == []
    assert await store.renew(OWNER, LEASE, held(first, second)) == [False, False]
