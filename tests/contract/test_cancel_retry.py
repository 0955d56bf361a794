"""cancel and retry: what a person can do to a job in each of its states."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stoker.model.errors import UnknownJob, WrongState
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, Progress, State, Waits
from stoker.model.outcome import Fault
from stoker.store.base import Report, Settlement, Store
from tests.contract.make import again, cancelled, done, failed, finish, job, put, take, take_one
from tests.contract.places import Place

ENDINGS = [done, failed, cancelled]


async def test_a_new_job_is_cancelled_at_once(store: Store) -> None:
    await put(store, job(id="a"))
    found = await store.cancel("a", "not wanted")
    assert (found.state, found.fault, found.finished) == (
        State.CANCELLED,
        Fault("Cancelled", "not wanted"),
        store.now(),
    )
    assert await store.get("a") == found
    assert await take(store) == []


async def test_a_delayed_job_is_cancelled_at_once(store: Store, place: Place) -> None:
    await put(store, job(id="a", run_at=store.now() + 10))
    assert (await store.cancel("a", "not wanted")).state is State.CANCELLED
    place.advance(20)
    assert await store.promote() is None
    assert await take(store) == []


async def test_a_running_job_is_marked_for_its_owner(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    found = await store.cancel("a", "not wanted")
    assert (found.state, found.cancel, found.fence) == (State.RUNNING, "not wanted", claimed.fence)
    assert await store.settle([cancelled(claimed, "not wanted")]) == [True]
    after = await store.get("a")
    assert (after.state, after.fault, after.cancel) == (State.CANCELLED, Fault("Cancelled", "not wanted"), None)


async def test_the_first_reason_stays(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await store.cancel("a", "first")
    assert (await store.cancel("a", "second")).cancel == "first"
    await store.settle([cancelled(claimed, "second")])
    assert (await store.get("a")).fault == Fault("Cancelled", "first")


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ended_job_is_left_as_it_is(
    store: Store, place: Place, ending: Callable[[Claimed], Settlement]
) -> None:
    await put(store, job(id="a"))
    await store.settle([ending(await take_one(store))])
    before = await store.get("a")
    place.advance(5)
    assert await store.cancel("a", "too late") == before
    assert await store.get("a") == before


async def test_what_is_not_there_cannot_be_cancelled_or_retried(store: Store) -> None:
    with pytest.raises(UnknownJob, match="nobody"):
        await store.cancel("nobody", "why not")
    with pytest.raises(UnknownJob, match="nobody"):
        await store.retry("nobody")
    with pytest.raises(UnknownJob, match="nobody"):
        await store.get("nobody")
    with pytest.raises(UnknownJob, match="nobody"):
        await store.events("nobody")


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ended_job_can_begin_anew(store: Store, place: Place, ending: Callable[[Claimed], Settlement]) -> None:
    await put(store, job(id="a", input=b'{"n":1}', tags=("t",), user="u"))
    claimed = await take_one(store)
    await store.report([Report(claimed.seq, claimed.fence, (), Progress(50.0))])
    await store.settle([ending(claimed)])
    place.advance(5)
    found = await store.retry("a")
    assert (found.state, found.waits, found.attempt, found.run_at) == (State.NEW, Waits.SLOT, 0, store.now())
    assert (found.output, found.fault, found.progress, found.finished, found.started) == (None,) * 5
    assert (found.input, found.tags, found.user, found.fence) == (b'{"n":1}', ("t",), "u", claimed.fence)
    anew = await take_one(store)
    assert (anew.id, anew.attempt) == ("a", 1)
    await finish(store, anew)


async def test_a_claim_says_how_often_the_job_was_begun_anew(store: Store) -> None:
    await put(store, job(id="a"))
    rounds = []
    for _ in range(3):
        claimed = await take_one(store)
        await store.settle([again(claimed, store.now())])
        claimed = await take_one(store)
        rounds.append((claimed.round, claimed.attempt))
        await finish(store, claimed)
        await store.retry("a")
    assert rounds == [(0, 2), (1, 2), (2, 2)]


async def test_a_job_cancelled_before_it_began_can_begin_anew(store: Store) -> None:
    await put(store, job(id="a", run_at=store.now() + 100))
    await store.cancel("a", "not wanted")
    await store.retry("a")
    await finish(store, await take_one(store))


async def test_an_expired_job_can_begin_anew_and_does_not_expire_again(store: Store, place: Place) -> None:
    await put(store, job(id="a", expires=10.0))
    place.advance(10)
    await store.expire()
    await store.retry("a")
    assert await store.expire() == []
    assert (await take_one(store)).id == "a"


async def test_a_job_that_has_not_ended_cannot_be_retried(store: Store) -> None:
    await put(store, job(id="a"))
    with pytest.raises(WrongState, match="new"):
        await store.retry("a")
    claimed = await take_one(store)
    with pytest.raises(WrongState, match="running"):
        await store.retry("a")
    await finish(store, claimed)


async def test_a_request_to_cancel_ends_with_the_run_it_was_made_for(store: Store) -> None:
    """A retried job is not cancelled by what was asked of its last run."""
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await store.cancel("a", "not wanted")
    await store.settle([cancelled(claimed)])
    assert (await store.retry("a")).cancel is None
    await finish(store, await take_one(store))
    assert (await store.get("a")).state is State.COMPLETED


async def test_the_events_of_earlier_runs_stay_readable_after_a_retry(store: Store) -> None:
    await put(store, job(id="a"))
    for _ in range(2):
        claimed = await take_one(store)
        await store.report([Report(claimed.seq, claimed.fence, (NewEvent(EventKind.CHUNK, 1.0, b"1"),))])
        await finish(store, claimed)
        await store.retry("a")
    assert len(await store.events("a")) == 2
