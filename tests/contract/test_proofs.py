"""What is good once is good once, for all who ask; what was taken back is told to everybody, and skipped by none."""

from __future__ import annotations

import asyncio

from stoker.store.base import Store
from stoker.store.proofs import Revocation
from tests.contract.places import Place

HOUR = 3600.0


async def told(store: Store, after: int = 0) -> list[tuple[str, str | None]]:
    found = await store.proofs.revoked(after)
    return [(one.user, one.session) for one in found.revoked]


async def test_a_proof_is_used_up_by_one_of_all_who_try(store: Store) -> None:
    answers = await asyncio.gather(*(store.proofs.spend("a", 60.0) for _ in range(20)))
    assert sorted(answers) == [False] * 19 + [True]
    assert await store.proofs.spend("b", 60.0)
    assert not await store.proofs.spend("b", 60.0)


async def test_what_was_taken_back_comes_in_order_from_a_cursor_on(store: Store, place: Place) -> None:
    nothing = await store.proofs.revoked(0)
    assert (nothing.offset, nothing.more, nothing.revoked) == (0, False, [])
    assert nothing.now == store.now()
    at = await store.proofs.revoke("ann", "s1", HOUR)
    assert at == store.now()
    place.advance(5.0)
    await store.proofs.revoke("bob", None, HOUR)
    first = await store.proofs.revoked(0)
    assert await told(store) == [("ann", "s1"), ("bob", None)]
    assert [(one.at, one.until) for one in first.revoked] == [(at, at + HOUR), (at + 5.0, at + 5.0 + HOUR)]
    assert await told(store, first.offset) == []
    await store.proofs.revoke("ann", "s2", HOUR)
    assert await told(store, first.offset) == [("ann", "s2")]


async def test_the_same_again_is_told_again_and_kept_once(store: Store, place: Place) -> None:
    before = await store.proofs.revoke("ann", "s1", HOUR)
    await store.proofs.revoke("bob", "s1", HOUR)
    place.advance(5.0)
    await store.proofs.revoke("ann", "s1", 1.0)
    found = await store.proofs.revoked(0)
    assert await told(store) == [("bob", "s1"), ("ann", "s1")]
    assert (found.revoked[1].at, found.revoked[1].until) == (before + 5.0, before + HOUR)
    assert await told(store, found.offset - 1) == [("ann", "s1")]


async def test_a_long_list_comes_in_pages(store: Store) -> None:
    for number in range(5):
        await store.proofs.revoke("ann", str(number), HOUR)
    seen: list[str | None] = []
    after, more = 0, True
    while more:
        page = await store.proofs.revoked(after, 2)
        assert page.offset > after
        after, more = page.offset, page.more
        seen += [one.session for one in page.revoked]
    assert seen == ["0", "1", "2", "3", "4"]


async def test_a_cursor_of_another_store_reads_all(store: Store) -> None:
    await store.proofs.revoke("ann", None, HOUR)
    found = await store.proofs.revoked(1_000_000)
    assert [one.user for one in found.revoked] == ["ann"]
    assert await told(store, found.offset) == []


async def test_none_is_skipped_however_many_take_back_at_once(store: Store) -> None:
    seen: list[tuple[str, str | None]] = []

    async def look() -> None:
        after = 0
        while len(seen) < 40:
            page = await store.proofs.revoked(after)
            after = page.offset
            seen.extend((one.user, one.session) for one in page.revoked)

    async with asyncio.timeout(30):
        await asyncio.gather(look(), *(store.proofs.revoke("ann", str(n), HOUR) for n in range(40)))
    assert sorted(seen) == sorted(("ann", str(n)) for n in range(40))


async def test_what_is_over_is_forgotten_in_bites(store: Store, place: Place) -> None:
    for number in range(3):
        await store.proofs.spend(f"short-{number}", 1.0)
        await store.proofs.revoke("ann", str(number), 1.0)
    await store.proofs.spend("long", HOUR)
    await store.proofs.revoke("bob", None, HOUR)
    assert await store.proofs.forget() == 0
    place.advance(2.0)
    assert [await store.proofs.forget(2) for _ in range(3)] == [2, 1, 0]
    assert await told(store) == [("bob", None)]
    assert not await store.proofs.spend("long", HOUR)
    # the numbers go on
    offset = (await store.proofs.revoked(0)).offset
    await store.proofs.revoke("ann", "new", HOUR)
    assert await told(store, offset) == [("ann", "new")]


async def test_what_another_store_knew_is_taken_over_as_it_was(store: Store) -> None:
    at = await store.proofs.revoke("ann", "s1", HOUR)
    known = [Revocation("ann", "s1", at - 50.0, at + 2 * HOUR), Revocation("bob", None, at - 5.0, at + 60.0)]
    for _ in range(2):
        await store.proofs.restore(known)
        found = await store.proofs.revoked(0)
        assert found.revoked == [Revocation("ann", "s1", at, at + 2 * HOUR), known[1]]
    await store.proofs.restore([])


async def test_any_name_is_kept_as_it_is(store: Store) -> None:
    name = "анна'; DROP TABLE revoked; --\n" + "n" * 200
    await store.proofs.revoke(name, name, HOUR)
    assert await told(store) == [(name, name)]
