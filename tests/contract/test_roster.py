"""The roster: who works on this store, since when, and whose name is cordoned."""

from __future__ import annotations

from typing import Any

from stoker.model.node import Beat, Node
from stoker.store.base import Store
from tests.contract.make import finish, job, put, take_one
from tests.contract.places import Place

DAY = 86400.0


def beat(boot: str = "boot-1", name: str = "alpha", **more: Any) -> Beat:
    return Beat(boot=boot, name=name, host="host", pid=7, version="1", seconds=30.0, **more)


async def only(store: Store) -> Node:
    (node,) = await store.nodes()
    return node


async def test_the_first_heartbeat_enters_a_node_and_the_next_ones_renew_it(store: Store, place: Place) -> None:
    born = store.now()
    assert await store.beat(beat(labels=("gpu", "big"), slots=4, running=1)) is False
    place.advance(20.0)
    await store.beat(beat(labels=("gpu", "big"), slots=6, running=3))
    assert await only(store) == Node(
        boot="boot-1", name="alpha", host="host", pid=7, version="1", labels=("gpu", "big"), slots=6, running=3,
        started=born, heartbeat=born + 20.0, alive=True, cordoned=False,
    )  # fmt: skip


async def test_a_silent_node_is_dead_and_forgotten_after_a_day(store: Store, place: Place) -> None:
    await store.beat(beat())
    place.advance(29.9)
    assert (await only(store)).alive
    place.advance(0.2)
    assert not (await only(store)).alive
    place.advance(DAY)
    assert await store.nodes() == []
    await store.beat(beat("boot-2"))
    assert (await only(store)).boot == "boot-2"


async def test_every_start_is_a_node_of_its_own_whatever_its_name(store: Store, place: Place) -> None:
    await store.beat(beat("boot-9", "beta"))
    await store.beat(beat("boot-1"))
    place.advance(1.0)
    await store.beat(beat("boot-0"))
    assert [(node.name, node.boot) for node in await store.nodes()] == [
        ("alpha", "boot-1"), ("alpha", "boot-0"), ("beta", "boot-9"),
    ]  # fmt: skip


async def test_who_leaves_is_off_the_roster_and_may_leave_twice(store: Store) -> None:
    await store.beat(beat())
    await store.leave("boot-1")
    await store.leave("boot-1")
    assert await store.nodes() == []


async def test_leaving_or_being_forgotten_hides_no_job(store: Store, place: Place) -> None:
    """Bugs procrastinate#1518: a job is orphaned when nobody renews it, not when a join finds its node."""
    await store.beat(beat())
    await put(store, job(id="a"))
    claimed = await take_one(store)
    await store.leave("boot-1")
    place.advance(2 * DAY)
    assert await store.abandoned("boot-2") == [claimed]
    await finish(store, claimed)


async def test_a_cordon_is_on_the_name_and_outlives_the_node(store: Store, place: Place) -> None:
    await store.beat(beat())
    await store.cordon("alpha")
    await store.cordon("alpha")
    assert await store.beat(beat()) is True
    assert (await only(store)).cordoned
    await store.leave("boot-1")
    assert await store.nodes() == []
    assert await store.cordons() == {"alpha"}, "nobody is there, and it is still so"
    again = await place.open()
    assert await again.beat(beat("boot-2")) is True
    assert await again.beat(beat("boot-3", "beta")) is False
    assert await again.cordons() == {"alpha"}
    assert await again.uncordon("alpha") is True
    assert await again.uncordon("alpha") is False
    assert await again.cordons() == frozenset()
    assert await again.beat(beat("boot-2")) is False


async def test_names_are_text_like_any_other(store: Store) -> None:
    name = "нода'; DROP TABLE nodes; --\n" + "n" * 200
    await store.beat(beat(name=name, labels=("a'b", "ü")))
    await store.cordon(name)
    node = await only(store)
    assert (node.name, node.labels, node.cordoned) == (name, ("a'b", "ü"), True)
