"""settle and report: what is written about an attempt, and what is read of it afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, Progress, State, Waits
from stoker.model.outcome import Fault
from stoker.store.base import Report, Settlement, Store
from tests.contract.make import again, cancelled, done, end, failed, finish, job, put, take, take_one
from tests.contract.places import Place


async def test_a_completed_job_keeps_its_output(store: Store, place: Place) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    place.advance(3.0)
    assert await store.settle([done(claimed, b'{"chunks":42}')]) == [True]
    found = await store.get("a")
    assert (found.state, found.output, found.fault) == (State.COMPLETED, b'{"chunks":42}', None)
    assert (found.started, found.finished) == (store.now() - 3, store.now())


async def test_a_failed_job_keeps_its_fault(store: Store) -> None:
    await put(store, job(id="a"))
    fault = Fault("ValueError", "wrong: \u00e9\n\x00", "Traceback …")
    assert await store.settle([end(await take_one(store), State.FAILED, fault=fault)]) == [True]
    found = await store.get("a")
    assert (found.state, found.fault, found.output) == (State.FAILED, fault, None)


async def test_a_job_that_goes_back_keeps_the_fault_of_its_last_attempt(store: Store) -> None:
    await put(store, job(id="a"))
    assert await store.settle([again(await take_one(store), store.now() + 7)]) == [True]
    found = await store.get("a")
    assert (found.state, found.waits, found.run_at) == (State.NEW, Waits.TIME, store.now() + 7)
    assert found.fault == Fault("Lost", "gone")
    assert found.finished is None


async def test_a_job_that_goes_back_for_now_is_ready_without_a_promotion(store: Store) -> None:
    await put(store, job(id="a"))
    assert await store.settle([again(await take_one(store), store.now())]) == [True]
    assert (await store.get("a")).waits is Waits.SLOT
    assert (await take_one(store)).attempt == 2


async def test_nothing_to_settle_or_report_is_nothing_wrong(store: Store) -> None:
    assert await store.settle([]) == []
    assert await store.report([]) == []


async def test_progress_is_the_newest_and_begins_anew_with_an_attempt(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    for percent in (10.0, 20.0):
        report = Report(claimed.seq, claimed.fence, progress=Progress(percent, "reading", "one"))
        assert await store.report([report]) == [True]
    assert (await store.get("a")).progress == Progress(20.0, "reading", "one")
    await store.settle([again(claimed, store.now())])
    await take_one(store)
    assert (await store.get("a")).progress is None


async def test_events_carry_their_attempt(store: Store) -> None:
    await put(store, job(id="a"))
    for _ in range(2):
        claimed = await take_one(store)
        event = NewEvent(EventKind.LOG, 5.5, b'{"message":"x"}')
        assert await store.report([Report(claimed.seq, claimed.fence, (event, event))]) == [True]
        await store.settle([again(claimed, store.now())])
    found = await store.events("a")
    assert [(event.job, event.attempt, event.kind, event.at) for event in found] == [
        ("a", attempt, EventKind.LOG, 5.5) for attempt in (1, 1, 2, 2)
    ]


async def test_what_was_reported_before_the_end_is_there_with_the_end(store: Store) -> None:
    """Both are asked for at once, as the router does: whoever sees the job ended sees all it said."""
    await put(store, job(id="a"))
    claimed = await take_one(store)
    event = NewEvent(EventKind.CHUNK, 1.0, b'"last words"')
    reported = store.report([Report(claimed.seq, claimed.fence, (event,))])
    settled = store.settle([done(claimed)])
    assert (await settled, await reported) == ([True], [True])
    assert [bytes(found.data) for found in await store.events("a")] == [b'"last words"']


ENDINGS: list[Callable[[Claimed], Settlement]] = [done, failed, cancelled, lambda claimed: again(claimed, 0.0)]


@pytest.mark.parametrize("ending", ENDINGS, ids=["done", "failed", "cancelled", "again"])
async def test_no_ending_passes_by_a_request_to_cancel(store: Store, ending: Callable[[Claimed], Settlement]) -> None:
    """Whoever settles it, and whether they had heard of the request: it is cancelled, with the first reason."""
    await put(store, job(id="a", key="app.work:k"), job(id="b", key="app.work:k"))
    claimed = await take_one(store)
    await store.cancel("a", "not wanted")
    assert await store.settle([ending(claimed)]) == [True]
    found = await store.get("a")
    assert (found.state, found.output, found.cancel) == (State.CANCELLED, None, None)
    assert found.fault is not None
    assert found.fault.type == "Cancelled"
    assert [one.id for one in await take(store)] == ["b"]


async def test_a_request_to_cancel_outlives_the_daemon_that_ran_the_job(store: Store, place: Place) -> None:
    await put(store, job(id="a"))
    await take_one(store)
    await store.cancel("a", "not wanted")
    place.advance(31.0)
    (found,) = await store.abandoned("boot-1")
    assert await store.settle([again(found, store.now())]) == [True]
    after = await store.get("a")
    assert (after.state, after.fault) == (State.CANCELLED, Fault("Cancelled", "not wanted"))
    assert await take(store) == []


async def test_a_large_output_comes_back_whole(store: Store) -> None:
    await put(store, job(id="a"))
    output = b'"' + bytes(range(97, 123)) * 100_000 + b'"'
    await store.settle([done(await take_one(store), output)])
    assert (await store.get("a")).output == output


async def test_finish_needs_a_running_job(store: Store) -> None:
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await store.settle([again(claimed, store.now())])
    assert await store.settle([done(claimed)]) == [False]
    assert (await store.get("a")).state is State.NEW
    await finish(store, await take_one(store))
