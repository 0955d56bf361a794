"""submit: what is taken, what is refused, and that neither depends on how often or beside whom it is sent."""

from __future__ import annotations

import asyncio
import math

import pytest

from stoker.model.errors import IdConflict, RequestError, UnknownJob
from stoker.model.job import Overrides, State, Submission, Submitted, Waits
from stoker.store.base import Filter, Store
from tests.contract.make import WORK, done, finish, job, put, refused, take, take_one
from tests.contract.places import Place


async def test_everything_submitted_is_read_back(store: Store) -> None:
    now = store.now()
    new = job(
        input=b'{"text":"\xc3\xa9","n":[1,null]}',
        priority=7,
        expires=60.0,
        user="u7",
        tags=("a", "\u00e9 b"),
        key="app.work:k",
        overrides=Overrides(timeout=1.5, retries=3, memory=1 << 30),
    )
    await put(store, new)
    found = await store.get(new.id)
    assert found.id == new.id
    assert found.command == WORK
    assert found.input == new.input
    assert found.priority == 7
    assert (found.created, found.run_at, found.expires) == (now, now, now + 60)
    assert (found.user, found.tags, found.key, found.overrides) == ("u7", new.tags, "app.work:k", new.overrides)
    assert (found.state, found.waits, found.attempt, found.fence) == (State.NEW, Waits.SLOT, 0, 0)
    assert (found.owner, found.started, found.finished) == (None, None, None)
    assert (found.output, found.fault, found.progress, found.cancel) == (None, None, None, None)


async def test_an_answered_submission_is_there_for_every_other_connection(store: Store, place: Place) -> None:
    (id,) = await put(store, job())
    other = await place.open()
    assert (await other.get(id)).state is State.NEW


async def test_what_was_stored_outlives_the_store(store: Store, place: Place) -> None:
    ids = await put(store, job(), job())
    await finish(store, await take_one(store))
    await store.close()
    later = await place.open()
    assert [(await later.get(id)).state for id in ids] == [State.COMPLETED, State.NEW]


async def test_the_same_submission_again_is_the_same_job(store: Store) -> None:
    new = job(input=b'{"n":1}')
    assert await store.submit([new]) == [Submitted(new.id, True)]
    assert await store.submit([new]) == [Submitted(new.id, False)]
    assert await store.submit([new, new]) == [Submitted(new.id, False)] * 2
    assert len(await store.jobs(Filter(limit=10))) == 1


async def test_the_same_submission_twice_at_one_time_makes_one_job(store: Store) -> None:
    """River's and everybody's doubled enqueue: the reply was lost and the client sent it again (D5)."""
    new = job()
    answers = await asyncio.gather(*(store.submit([new]) for _ in range(20)))
    assert sum(answer.created for (answer,) in answers if isinstance(answer, Submitted)) == 1
    assert len(await store.jobs(Filter(limit=100))) == 1


async def test_the_same_submission_after_the_end_does_not_run_again(store: Store) -> None:
    new = job()
    await put(store, new)
    await finish(store, await take_one(store))
    assert await store.submit([new]) == [Submitted(new.id, False)]
    assert (await store.get(new.id)).state is State.COMPLETED
    assert await take(store) == []


@pytest.mark.parametrize(
    "other",
    [job(id="taken", input=b'{"n":2}'), job("app.other", id="taken", input=b'{"n":1}')],
    ids=["input", "command"],
)
async def test_an_id_used_for_something_else_is_refused(store: Store, other: Submission) -> None:
    await put(store, job(id="taken", input=b'{"n":1}'))
    error = await refused(store, other)
    assert isinstance(error, IdConflict)
    assert "taken" in error.message
    found = await store.get("taken")
    assert (found.command, found.input) == (WORK, b'{"n":1}')
    assert len(await store.jobs(Filter(limit=10))) == 1


async def test_answers_come_in_order_and_a_refusal_harms_no_neighbour(store: Store) -> None:
    await put(store, job(id="taken", input=b"1"))
    first, second, third = await store.submit([job(id="a"), job(id="taken", input=b"2"), job(id="b")])
    assert first == Submitted("a", True)
    assert isinstance(second, IdConflict)
    assert third == Submitted("b", True)
    assert (await store.get("b")).state is State.NEW


BAD = {
    "a time that is no number": job(id="bad", run_at=math.nan),
    "text that is no Unicode": job(id="bad", user="\udcff"),
    "tags that are no Unicode": job(id="bad", tags=("\udcff",)),
    "a number beyond 64 bits": job(id="bad", priority=1 << 70),
    "an input that is no bytes": job(id="bad", input=None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_huey_2_5_2_one_bad_row_loses_a_whole_batch(store: Store, bad: Submission) -> None:
    answers = await store.submit([job(id="a"), bad, job(id="b")])
    assert answers[0] == Submitted("a", True)
    assert isinstance(answers[1], RequestError)
    assert answers[2] == Submitted("b", True)
    with pytest.raises(UnknownJob):
        await store.get("bad")
    assert [claimed.id for claimed in await take(store)] == ["a", "b"]


async def test_a_failing_request_harms_none_that_is_written_with_it(store: Store) -> None:
    """Requests that come at one time may share a transaction; never a fate."""
    await put(store, job())
    claimed = await take_one(store)
    (running,) = await put(store, job())
    await take_one(store)
    wrong = store.retry(running)
    missing = store.cancel("nobody", "why not")
    good = [store.submit([job(id=f"good-{number}")]) for number in range(20)]
    settled = store.settle([done(claimed)])
    results = await asyncio.gather(wrong, missing, *good, settled, return_exceptions=True)
    assert isinstance(results[1], UnknownJob)
    assert results[2:-1] == [[Submitted(f"good-{number}", True)] for number in range(20)]
    assert results[-1] == [True]
    assert len(await take(store)) == 20


async def test_a_thousand_at_once_keep_their_order(store: Store) -> None:
    new = [job(id=f"many-{number:04}") for number in range(1000)]
    assert await store.submit(new) == [Submitted(one.id, True) for one in new]
    assert [claimed.id for claimed in await take(store)] == [one.id for one in new]


async def test_nothing_to_submit_is_nothing_wrong(store: Store) -> None:
    assert await store.submit([]) == []
