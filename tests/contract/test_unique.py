"""Unique keys: at most one job per key, and what the second submitter is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stoker.model.errors import DuplicateJob
from stoker.model.job import Claimed, OnDuplicate, State, Submitted, Unique, Waits
from stoker.store.base import Filter, Settlement, Store
from tests.contract.make import again, cancelled, done, failed, finish, job, put, refused, take, take_one
from tests.contract.places import Place

KEY = Unique(key="k")
REJECT = Unique(key="k", on_duplicate=OnDuplicate.REJECT)
REPLACE = Unique(key="k", on_duplicate=OnDuplicate.REPLACE)


async def test_the_second_gets_the_first(store: Store) -> None:
    await put(store, job(id="first", unique=KEY))
    assert await store.submit([job(id="second", input=b"2", unique=KEY)]) == [Submitted("first", False)]
    assert [found.id for found in await store.jobs(Filter())] == ["first"]


async def test_two_in_one_group_and_twenty_at_one_time_make_one_job(store: Store) -> None:
    pair = [job(unique=KEY), job(unique=KEY)]
    first, second = await store.submit(pair)
    assert (first, second) == (Submitted(pair[0].id, True), Submitted(pair[0].id, False))
    answers = await asyncio.gather(*(store.submit([job(unique=Unique(key="other"))]) for _ in range(20)))
    assert sum(answer.created for (answer,) in answers if isinstance(answer, Submitted)) == 1


async def test_without_a_key_the_command_and_its_input_are_the_key(store: Store) -> None:
    await put(store, job(id="first", input=b'{"n":1}', unique=Unique()))
    assert await store.submit([job(input=b'{"n":1}', unique=Unique())]) == [Submitted("first", False)]
    await put(store, job(id="other-input", input=b'{"n":2}', unique=Unique()))
    await put(store, job("app.other", id="other-command", input=b'{"n":1}', unique=Unique()))
    assert len(await store.jobs(Filter())) == 3


async def test_a_key_belongs_to_its_command(store: Store) -> None:
    await put(store, job(unique=KEY))
    new = job("app.other", unique=KEY)
    assert await store.submit([new]) == [Submitted(new.id, True)]


async def test_the_key_is_held_while_the_job_runs_and_while_it_waits_for_another_attempt(store: Store) -> None:
    await put(store, job(id="first", unique=KEY))
    claimed = await take_one(store)
    assert await store.submit([job(unique=KEY)]) == [Submitted("first", False)]
    assert await store.settle([again(claimed, store.now() + 100)]) == [True]
    assert await store.submit([job(unique=KEY)]) == [Submitted("first", False)]


@pytest.mark.parametrize("ending", [done, failed, cancelled])
async def test_the_end_frees_the_key(store: Store, ending: Callable[[Claimed], Settlement]) -> None:
    await put(store, job(unique=KEY))
    assert await store.settle([ending(await take_one(store))]) == [True]
    new = job(unique=KEY)
    assert await store.submit([new]) == [Submitted(new.id, True)]


async def test_a_cancelled_waiting_job_frees_the_key(store: Store) -> None:
    (id,) = await put(store, job(unique=KEY))
    await store.cancel(id, "not wanted")
    new = job(unique=REJECT)
    assert await store.submit([new]) == [Submitted(new.id, True)]


async def test_a_window_outlives_the_job_and_then_is_over(store: Store, place: Place) -> None:
    window = Unique(key="k", window=60.0)
    await put(store, job(id="first", unique=window))
    await finish(store, await take_one(store))
    place.advance(59.0)
    assert await store.submit([job(unique=window)]) == [Submitted("first", False)]
    place.advance(2.0)
    new = job(id="second", unique=window)
    assert await store.submit([new]) == [Submitted("second", True)]
    place.advance(59.0)
    assert await store.submit([job(unique=window)]) == [Submitted("second", False)]


async def test_a_window_that_is_over_frees_the_key_of_a_job_that_still_waits(store: Store, place: Place) -> None:
    window = Unique(key="k", window=60.0)
    await put(store, job(unique=window))
    place.advance(61.0)
    new = job(unique=window)
    assert await store.submit([new]) == [Submitted(new.id, True)]


async def test_reject_names_the_job_that_is_there(store: Store) -> None:
    await put(store, job(id="first", unique=KEY))
    error = await refused(store, job(unique=REJECT))
    assert isinstance(error, DuplicateJob)
    assert "first" in error.message


async def test_a_repeated_submission_is_not_its_own_duplicate(store: Store) -> None:
    new = job(unique=REJECT)
    await put(store, new)
    assert await store.submit([new]) == [Submitted(new.id, False)]


async def test_a_repeated_submission_stays_the_same_job_when_another_has_the_key_by_then(store: Store) -> None:
    """The reply was lost, the job ended, somebody else took the key: the retry is still answered with its own job."""
    new = job(unique=REJECT)
    await put(store, new)
    await finish(store, await take_one(store))
    await put(store, job(unique=KEY))
    assert await store.submit([new]) == [Submitted(new.id, False)]


async def test_replace_gives_the_waiting_job_the_newer_submission(store: Store) -> None:
    later = store.now() + 100
    await put(store, job(id="first", input=b"1", unique=KEY))
    new = job(id="second", input=b"2", priority=5, run_at=later, user="u2", tags=("t",), unique=REPLACE)
    assert await store.submit([new]) == [Submitted("first", False)]
    found = await store.get("first")
    assert (found.input, found.priority, found.run_at, found.waits) == (b"2", 5, later, Waits.TIME)
    assert (found.user, found.tags) == ("u2", ("t",))
    assert await take(store) == []


async def test_replace_can_make_a_delayed_job_ready(store: Store) -> None:
    await put(store, job(id="first", run_at=store.now() + 100, unique=KEY))
    await put(store, job(input=b"2", unique=REPLACE))
    assert [(claimed.id, claimed.input) for claimed in await take(store)] == [("first", b"2")]


async def test_replace_leaves_a_running_job_alone(store: Store) -> None:
    await put(store, job(id="first", input=b"1", unique=KEY))
    claimed = await take_one(store)
    assert await store.submit([job(input=b"2", unique=REPLACE)]) == [Submitted("first", False)]
    assert (await store.get("first")).input == b"1"
    await finish(store, claimed)


GATES = [(None, "app.work:a"), ("app.work:a", None), ("app.work:a", "app.work:b")]


@pytest.mark.parametrize(("old", "new"), GATES)
async def test_replace_takes_the_newer_concurrency_key_too(store: Store, old: str | None, new: str | None) -> None:
    """Its key comes from its input; one that kept the old key, or none, would wait for ever or pass by the gate."""
    await put(store, job(id="holder", key="app.work:a"), job(id="first", key=old, unique=KEY))
    await put(store, job(input=b"2", key=new, unique=REPLACE))
    assert (await store.get("first")).key == new
    for key in ("app.work:a", "app.work:b"):
        assert len(await store.holders(key)) <= 1
    started = []
    while claimed := await take(store):
        started += [one.id for one in claimed]
        await finish(store, *claimed)
    assert sorted(started) == ["first", "holder"]


async def test_retry_takes_the_key_again(store: Store) -> None:
    await put(store, job(id="first", unique=KEY))
    await finish(store, await take_one(store))
    await put(store, job(id="second", unique=KEY))
    await finish(store, await take_one(store))
    await store.retry("first")
    assert await store.submit([job(unique=KEY)]) == [Submitted("first", False)]


async def test_retry_is_refused_while_another_job_has_the_key(store: Store) -> None:
    await put(store, job(id="first", unique=KEY))
    await finish(store, await take_one(store))
    await put(store, job(id="second", unique=KEY))
    with pytest.raises(DuplicateJob, match="second"):
        await store.retry("first")
    assert (await store.get("first")).state is State.COMPLETED
