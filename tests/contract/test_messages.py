"""Pushed events: numbered without gaps in the order they become visible, found again by cursor, kept for a while."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from stoker.model.audience import Address, NewMessage, Tab
from stoker.store.base import Store, Wake
from tests.contract.places import SHARED, Place, PostgresPlace, needs

TAB = Tab("u7", "s1", "i1")


def message(id: str, *to: str, role: str = "web", event: str = "e", data: bytes = b"null") -> NewMessage:
    return NewMessage(id, role, Address(*to), event, data)


async def put(store: Store, *ids: str) -> list[int]:
    return [one.offset for one in await store.messages.push([message(id) for id in ids])]


async def offsets(store: Store, after: int, limit: int = 100, **more: object) -> list[int]:
    return [one.offset for one in (await store.messages.after(after, limit, **more)).messages]  # type: ignore[arg-type]


async def test_offsets_grow_by_one_and_what_was_pushed_is_read_back(store: Store) -> None:
    first = await store.messages.head()
    assert (first.offset, len(first.epoch)) == (0, 16)
    text = '{"a": [1, "ü \\n \\u2028", {"b": null}]}'.encode()
    now = store.now()
    one = message("a", "u'7\"; --", "ß\n", "i" * 256, event="naïve", data=text)
    pushed = await store.messages.push([one, message("b"), message("c", "u8", role="script")])
    assert [place.offset for place in pushed] == [1, 2, 3]
    assert pushed[0].at == pytest.approx(now, abs=5)
    page = await store.messages.after(0, 100)
    assert (page.epoch, page.offset, page.reset) == (first.epoch, 3, False)
    found = page.messages[0]
    assert (found.offset, found.at, found.role, found.to, found.event) == (1, pushed[0].at, "web", one.to, "naïve")
    assert bytes(found.data) == text
    assert page.messages[1].to == Address("0")
    assert await offsets(store, 0, role="script") == [3]
    assert (await store.messages.head()).offset == 3


async def test_the_same_id_again_is_the_same_message(store: Store, place: Place) -> None:
    """A sender whose line broke says it again, and nobody hears it twice."""
    (first,) = await store.messages.push([message("a", event="one")])
    place.advance(1.0)
    again = await store.messages.push([message("a", event="two"), message("b"), message("b"), message("a")])
    assert [one.offset for one in again] == [1, 2, 2, 1]
    assert again[0] == first
    assert [one.event for one in (await store.messages.after(0, 10)).messages] == ["one", "e"]
    assert await put(store, "c") == [3]


async def test_a_cursor_reads_page_by_page_and_skips_none(store: Store) -> None:
    ids = [f"m{number}" for number in range(25)]
    assert await put(store, *ids) == list(range(1, 26))
    seen: list[int] = []
    offset = 0
    while True:
        page = await store.messages.after(offset, 10)
        seen += [one.offset for one in page.messages]
        offset = page.offset
        if not page.messages:
            break
    assert (seen, offset) == (list(range(1, 26)), 25)


async def test_what_is_for_one_tab(store: Store) -> None:
    to = [(), ("u7",), ("u8",), ("u7", "s1"), ("u7", "s2"), ("u7", "s1", "i1"), ("u7", "s1", "i2"), ("u8", "s1", "i1")]
    await store.messages.push([message(str(number), *address) for number, address in enumerate(to)])
    await store.messages.push([message("script", "u7", role="script")])
    assert await offsets(store, 0, role="web", to=TAB) == [1, 2, 4, 6]
    held = [number for number, address in enumerate(to, 1) if Address(*address).holds(TAB)]
    assert held == [1, 2, 4, 6]
    assert await offsets(store, 2, 1, role="web", to=TAB) == [4]
    page = await store.messages.after(4, 1, role="web", to=TAB)
    assert (page.offset, page.reset) == (6, False), "full: there may be more"
    assert (await store.messages.after(6, 1, role="web", to=TAB)).offset == 9, "what is for others is passed over"


async def test_what_is_kept_no_longer_is_told(store: Store, place: Place) -> None:
    await put(store, "a", "b")
    place.advance(50.0)
    await put(store, "c")
    assert await store.messages.purge(60.0) == 0
    place.advance(20.0)
    assert await store.messages.purge(60.0, 1) == 1
    assert await store.messages.purge(60.0, 1) == 1
    assert await store.messages.purge(60.0) == 0
    old = await store.messages.after(1, 10)
    assert (old.reset, [one.offset for one in old.messages], old.offset) == (True, [3], 3)
    assert not (await store.messages.after(2, 10)).reset
    place.advance(100.0)
    assert await store.messages.purge(60.0) == 1
    empty = await store.messages.after(3, 10)
    assert (empty.reset, empty.messages, empty.offset) == (False, [], 3)
    assert (await store.messages.after(2, 10)).reset
    assert await put(store, "d") == [4], "a number is never used twice"


async def test_a_cursor_of_another_store_is_told(store: Store, place: Place) -> None:
    await put(store, "a", "b")
    here = (await store.messages.head()).epoch
    assert not (await store.messages.after(1, 10, epoch=here)).reset
    other = await place.beside()
    assert (await other.messages.head()).epoch != here
    page = await other.messages.after(1, 10, epoch=here)
    assert (page.reset, page.offset) == (True, 0)
    page = await store.messages.after(1, 10, epoch="another")
    assert (page.reset, [one.offset for one in page.messages]) == (True, [1, 2])
    assert (await store.messages.after(99, 10)).reset, "from before a restore"


async def test_they_survive_a_crash(store: Store, place: Place) -> None:
    await put(store, "a", "b")
    head = await store.messages.head()
    again = await place.crash()
    assert await again.messages.head() == head
    assert await offsets(again, 0) == [1, 2]
    assert await put(again, "b", "c") == [2, 3]


async def test_many_at_once_are_in_order_each_once(store: Store) -> None:
    answers = await asyncio.gather(*(put(store, f"{n}-a", f"{n}-b", "same") for n in range(20)))
    found = sorted(offset for answer in answers for offset in answer[:2])
    (same,) = {answer[2] for answer in answers}
    assert sorted([*found, same]) == list(range(1, 42))
    assert all(first < second for first, second, _ in answers)


@needs(SHARED)
async def test_no_reader_ever_passes_over_a_message_of_another_writer(store: Store, place: Place) -> None:
    """Whoever reads while two write sees a row of numbers without a hole, at every moment."""
    other = await place.open()

    async def write(to: Store, name: str) -> None:
        for number in range(30):
            await put(to, f"{name}{number}")

    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 60:
            seen.extend(one.offset for one in (await store.messages.after(len(seen), 100)).messages)
            assert seen == list(range(1, len(seen) + 1))

    async with asyncio.timeout(60):
        await asyncio.gather(write(store, "a"), write(other, "b"), read())


async def test_the_others_are_told_and_not_oneself(pg: PostgresPlace) -> None:
    other = await pg.open()
    mine = pg.new()
    woken: list[Wake] = []
    mine.listen(woken.append)
    await mine.open()
    pg.keep(mine)
    async with asyncio.timeout(30):
        while set(woken) != set(Wake):
            await asyncio.sleep(0.01)
        woken.clear()
        await put(mine, "own")
        await put(other, "theirs", "more")
        while not woken:
            await asyncio.sleep(0.01)
    assert woken == [Wake.MESSAGES]
    woken.clear()
    await put(other, "theirs")
    await put(mine, "last")
    assert await offsets(other, 0) == [1, 2, 3, 4]
    assert woken == [], "nothing new was pushed by another"


def test_an_address_is_a_subtree() -> None:
    assert msgspec.json.encode(Address("u7")) == b'{"user":"u7","session":null,"instance":null}'
