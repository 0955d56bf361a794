"""Who did what: kept in order, found by who, what and when, forgotten by its age; and nothing else."""

from __future__ import annotations

from stoker.model.audit import Deed
from stoker.store.audit import TEXT_MAX
from stoker.store.base import Store
from tests.contract.places import Place

DAY = 86400.0
DEED = Deed(node="alpha", role="web", method="cancel", object="j1", user="ann", level="operator", before="running",
            after="cancelled", reason="no use")  # fmt: skip


def deed(method: str = "pause", user: str | None = None, object: str = "x") -> Deed:
    return Deed(node="alpha", role="script", method=method, object=object, user=user, uid=1000)


async def objects(store: Store, **which: object) -> list[str]:
    return [one.object for one in await store.audit.page(**which)]  # type: ignore[arg-type]


async def test_a_row_is_read_as_it_was_written(store: Store) -> None:
    await store.audit.add(DEED)
    (found,) = await store.audit.page()
    assert found.at == store.now()
    told = {name: getattr(found, name) for name in Deed.__struct_fields__}
    assert told == {name: getattr(DEED, name) for name in Deed.__struct_fields__}


async def test_rows_are_found_by_who_what_and_when(store: Store, place: Place) -> None:
    await store.audit.add(deed("pause", "ann", "1"))
    place.advance(10.0)
    await store.audit.add(deed("resume", "ann", "2"))
    place.advance(10.0)
    await store.audit.add(deed("pause", "bob", "3"))
    await store.audit.add(deed("pause", None, "4"))
    assert await objects(store) == ["4", "3", "2", "1"]
    assert await objects(store, user="ann") == ["2", "1"]
    assert await objects(store, method="pause") == ["4", "3", "1"]
    assert await objects(store, since=store.now() - 10.0) == ["4", "3", "2"]
    assert await objects(store, since=store.now() + 1.0) == []
    assert await objects(store, since=store.now() - 10.0, user="ann", method="pause") == []


async def test_pages_go_on_behind_each_other(store: Store) -> None:
    for number in range(5):
        await store.audit.add(deed(object=str(number)))
    first = await store.audit.page(limit=2)
    assert [one.object for one in first] == ["4", "3"]
    assert await objects(store, limit=2, before=first[-1].seq) == ["2", "1"]


async def test_what_is_old_is_forgotten_in_bites(store: Store, place: Place) -> None:
    for number in range(3):
        await store.audit.add(deed(object=str(number)))
    place.advance(2 * DAY)
    await store.audit.add(deed(object="new"))
    assert [await store.audit.forget(DAY, 2) for _ in range(3)] == [2, 1, 0]
    assert await objects(store) == ["new"]
    assert await store.audit.forget(1e12) == 0


async def test_whatever_text_comes_it_is_kept_and_bounded(store: Store) -> None:
    nasty = "<script>alert(1)</script>\x1b[2J'; DROP TABLE audit; --\x00"
    await store.audit.add(deed(object=nasty, user=nasty))
    await store.audit.add(deed(object="a" * 10_000))
    long, found = await store.audit.page()
    assert found.object == found.user == nasty.replace("\x00", "\ufffd")
    assert len(long.object) == TEXT_MAX
