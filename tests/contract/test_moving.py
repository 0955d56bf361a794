"""dump and restore: everything that one store kept is in the other, and a second time changes nothing."""

from __future__ import annotations

import msgspec

from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Job, OnDuplicate, Overrides, Progress, State, Submission, Unique
from stoker.store.base import Kept, Report, Store
from tests.contract.make import LEASE, OWNER, again, cancelled, done, failed, finish, job, put, take, take_one
from tests.contract.places import Place


async def fill(store: Store) -> None:
    """One job of every kind."""
    now = store.now()
    await put(store, job(id="done", user="u7", tags=("a", "b"), priority=3, overrides=Overrides(timeout=5.0)))
    first = await take_one(store)
    said = (NewEvent(EventKind.LOG, now, b'{"message":"hello"}'), NewEvent(EventKind.CHUNK, now, b'"w"'))
    await store.report([Report(first.seq, first.fence, said, Progress(40.0, "so far"))])
    await store.settle([done(first, b'{"n":1}')])
    await put(store, job(id="broken"), job(id="dropped"))
    broken, dropped = await take(store)
    await store.settle([failed(broken), cancelled(dropped)])
    await put(store, job(id="again", input=b'{"x":2}'))
    await store.settle([again(await take_one(store), now + 60)])
    await put(store, job(id="running", unique=Unique(key="only", on_duplicate=OnDuplicate.REJECT)))
    await take_one(store)
    await put(
        store,
        job(id="later", run_at=now + 3600, expires=60.0),
        job(id="holder", key="app.work:k"),
        job(id="waits", key="app.work:k"),
        job(id="window", unique=Unique(key="w", window=600.0)),
    )
    await finish(store, await take_one(store))
    await store.retry("holder")


async def everything(store: Store) -> list[Kept]:
    return await store.dump(0, 1000)


def plain(kept: Kept) -> dict[str, object]:
    """A kept job without the numbers that each store gives."""
    job = {name: getattr(kept.job, name) for name in Job.__struct_fields__ if name != "seq"}
    events = [(event.attempt, event.kind, event.at, bytes(event.data)) for event in kept.events]
    return {**job, **msgspec.structs.asdict(msgspec.structs.replace(kept, job=None, events=events))}


async def test_all_is_there_in_its_order_and_a_second_time_changes_nothing(store: Store, place: Place) -> None:
    await fill(store)
    kept = await everything(store)
    assert len(kept) == 9
    other = await place.beside()
    assert await other.restore(kept) == 9
    assert [plain(one) for one in await everything(other)] == [plain(one) for one in kept]
    assert await other.restore(kept) == 0
    assert len(await everything(other)) == 9
    assert await other.counts() == await store.counts()


async def test_pages_go_on_where_the_one_before_ended(store: Store) -> None:
    ids = await put(store, *(job() for _ in range(25)))
    found: list[str] = []
    after = 0
    while page := await store.dump(after, 10):
        assert len(page) <= 10
        found += [kept.job.id for kept in page]
        after = page[-1].job.seq
    assert found == ids


async def test_work_goes_on_in_the_other_store(store: Store, place: Place) -> None:
    await fill(store)
    other = await place.beside()
    await other.restore(await everything(store))
    (found,) = await other.abandoned(OWNER)
    assert (found.id, found.attempt) == ("running", 1)
    assert await other.settle([again(found, other.now())]) == [True]
    claimed = await take(other)
    assert {one.id for one in claimed} == {"running", "waits", "window"} or {one.id for one in claimed} >= {"running"}
    (answer,) = await other.submit([job(unique=Unique(key="only", on_duplicate=OnDuplicate.REJECT))])
    assert isinstance(answer, Exception), "its unique key went with it"
    (same,) = await other.submit([Submission(id="done", command="app.work", input=b"{}")])
    assert not isinstance(same, Exception)
    assert not same.created, "an id stays used"
    place.advance(3600 + LEASE)
    await other.promote()
    assert (await other.get("later")).state is State.NEW
