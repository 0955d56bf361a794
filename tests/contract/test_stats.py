"""Figures over time: kept in order, read from a moment on, forgotten by their age."""

from __future__ import annotations

from stoker.store.base import Store
from stoker.store.stats import PAGE_MAX, Period
from tests.contract.places import Place

HOUR = 3600.0


async def keep(store: Store, data: bytes, *, node: str = "alpha", coarse: bool = False, seconds: float = 5.0) -> None:
    await store.stats.keep(f"boot-{node}", node, seconds, data, coarse=coarse)


async def said(store: Store, at: float = 0.0, **which: object) -> list[bytes]:
    found = await store.stats.since(at, **{"coarse": False, **which})  # type: ignore[arg-type]
    return [period.data for period in found]


async def test_a_period_is_read_as_it_was_kept(store: Store, place: Place) -> None:
    place.advance(5.0)
    await keep(store, b'{"a": 1}', seconds=4.75)
    assert await store.stats.since(0.0, coarse=False) == [
        Period(at=store.now(), boot="boot-alpha", node="alpha", seconds=4.75, data=b'{"a": 1}')
    ]


async def test_periods_come_oldest_first_from_a_moment_on(store: Store, place: Place) -> None:
    for number in range(4):
        await keep(store, b"%d" % number)
        place.advance(5.0)
    everything = await store.stats.since(0.0, coarse=False)
    assert [period.data for period in everything] == [b"0", b"1", b"2", b"3"]
    assert await said(store, everything[1].at) == [b"2", b"3"]
    assert await said(store, everything[3].at) == []
    assert await said(store, limit=3) == [b"1", b"2", b"3"]
    assert await said(store, limit=PAGE_MAX + 1) == [b"0", b"1", b"2", b"3"]


async def test_short_and_coarse_periods_are_told_apart_and_so_are_nodes(store: Store) -> None:
    await keep(store, b"short")
    await keep(store, b"minute", coarse=True)
    await keep(store, b"other", node="beta")
    assert await said(store) == [b"short", b"other"]
    assert await said(store, coarse=True) == [b"minute"]
    assert await said(store, node="beta") == [b"other"]
    assert await said(store, node="gamma") == []


async def test_two_of_one_moment_harm_nothing(store: Store) -> None:
    await keep(store, b"first")
    await keep(store, b"second")
    assert await said(store) == [b"first"]


async def test_each_kind_is_forgotten_by_its_own_age_in_bites(store: Store, place: Place) -> None:
    for number in range(3):
        await keep(store, b"%d" % number)
        await keep(store, b"%d" % number, coarse=True)
        place.advance(HOUR)
    assert await store.stats.forget(1.5 * HOUR, 10 * HOUR, limit=1) == 1
    assert await said(store) == [b"1", b"2"]
    assert await store.stats.forget(1.5 * HOUR, 10 * HOUR) == 1
    assert await said(store) == [b"2"]
    assert await store.stats.forget(1.5 * HOUR, 10 * HOUR) == 0
    assert await said(store, coarse=True) == [b"0", b"1", b"2"]
    assert await store.stats.forget(float("inf"), 2.5 * HOUR) == 1
    assert await said(store, coarse=True) == [b"1", b"2"]


async def test_what_was_kept_is_there_after_a_crash(store: Store, place: Place) -> None:
    await keep(store, b"kept")
    assert await said(await place.crash()) == [b"kept"]
