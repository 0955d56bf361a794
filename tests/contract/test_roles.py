"""Roles in a store: one holder, a term that only grows, leases judged by the store's clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stoker.model.role import ANYONE, Candidate, Holding, Role, Taken, View
from stoker.store.base import Store
from tests.contract.places import SHARED, Place, needs

REAP, CLAIM = 270.0, 420.0


def node(boot: str = "boot-1", name: str = "alpha", **more: Any) -> Candidate:
    given = {"host": "host", "pid": 7, "reap_after": REAP, "claim_after": CLAIM, **more}
    return Candidate(boot=boot, node=name, **given)


async def take(store: Store, me: Candidate, *names: str) -> dict[str, int]:
    return {one.name: one.term for one in await store.roles.claim(me, names)}


def only(view: View) -> Role:
    (role,) = view.roles
    return role


async def test_a_role_is_taken_once_and_shown(store: Store, place: Place) -> None:
    born = store.now()
    assert await store.roles.hold(node(), []) == await store.roles.view()
    assert await store.roles.claim(node(), ["mail"]) == [Taken("mail", 1, None, "")]
    assert await take(store, node("boot-2", "beta"), "mail") == {}
    place.advance(5.0)
    view = await store.roles.hold(node(), [Holding("mail", 1)])
    assert only(view) == Role(
        name="mail", term=1, owner="boot-1", node="alpha", since=born, reap_at=born + 5.0 + REAP,
        until=born + 5.0 + CLAIM,
    )  # fmt: skip
    (peer,) = view.peers
    assert (peer.boot, peer.node, peer.host, peer.pid) == ("boot-1", "alpha", "host", 7)
    assert (peer.since, peer.seen, peer.reap_after, peer.seeks) == (born, born + 5.0, REAP, True)
    assert (view.now, view) == (born + 5.0, await store.roles.view())


async def test_a_lease_that_is_not_renewed_is_free_to_the_second(store: Store, place: Place) -> None:
    """T42: at 419 s of silence not, at 421 s it is."""
    assert await take(store, node(), "mail") == {"mail": 1}
    place.advance(CLAIM - 1.0)
    assert await take(store, node("boot-2", "beta"), "mail") == {}
    place.advance(2.0)
    assert await store.roles.claim(node("boot-2", "beta"), ["mail"]) == [Taken("mail", 2, "boot-1", "alpha")]


async def test_renewing_names_the_term_and_what_is_not_named_runs_out(store: Store, place: Place) -> None:
    """Bug oban#1488: whoever renews by its name alone keeps a role that another has by now."""
    first, second = node(), node("boot-2", "beta")
    await take(store, first, "mail", "sync")
    place.advance(CLAIM - 1.0)
    await store.roles.hold(first, [Holding("mail", 1)])
    place.advance(2.0)
    assert await take(store, second, "mail", "sync") == {"sync": 2}
    before = {role.name: role for role in (await store.roles.view()).roles}
    place.advance(1.0)
    view = await store.roles.hold(first, [Holding("mail", 7), Holding("sync", 1), Holding("none", 1)])
    assert {role.name: role for role in view.roles} == before


async def test_the_term_stays_when_a_role_is_given_back(store: Store) -> None:
    """Bug synapse#437: a term that begins anew lets an old holder write."""
    await take(store, node(), "mail", "sync")
    assert await store.roles.release("boot-1", [Holding("mail", 2), Holding("sync", 1)]) == ["sync"]
    assert await store.roles.release("boot-2", [Holding("mail", 1)]) == []
    assert await store.roles.release("boot-1", [Holding("mail", 1)]) == ["mail"]
    assert [(role.term, role.owner, role.node) for role in (await store.roles.view()).roles] == [(1, None, "alpha")] * 2
    assert await store.roles.claim(node("boot-2", "beta"), ["mail"]) == [Taken("mail", 2, None, "alpha")]


async def test_the_owner_may_claim_again_for_its_answer_may_be_lost(store: Store) -> None:
    assert await take(store, node(), "mail") == {"mail": 1}
    assert await take(store, node(), "mail") == {"mail": 2}
    assert await store.roles.release("boot-1", [Holding("mail", 1)]) == []


async def test_what_is_known_to_have_ended_holds_nothing(store: Store) -> None:
    await take(store, node(), "mail")
    again = node("boot-2")
    assert await store.roles.claim(again, ["mail"], dead=["boot-9"]) == []
    assert await store.roles.claim(again, ["mail"], dead=["boot-1"]) == [Taken("mail", 2, "boot-1", "alpha")]


async def test_who_leaves_gives_everything_back_at_once(store: Store) -> None:
    await store.roles.hold(node(), [])
    await take(store, node(), "sync", "mail")
    assert await store.roles.leave("boot-1") == ["mail", "sync"]
    assert await store.roles.leave("boot-1") == []
    assert (await store.roles.view()).peers == []
    assert await take(store, node("boot-2", "beta"), "mail", "sync") == {"mail": 2, "sync": 2}


async def test_a_silent_node_is_reaped_to_the_second_and_only_then(store: Store, place: Place) -> None:
    """T39: 269 s of silence are none, after 271 s the row goes and the role is free."""
    await store.roles.hold(node(), [])
    await take(store, node(), "mail")
    place.advance(REAP - 1.0)
    assert await store.roles.reap("boot-1") is False
    assert [peer.silent(store.now()) for peer in (await store.roles.view()).peers] == [False]
    place.advance(2.0)
    assert [peer.silent(store.now()) for peer in (await store.roles.view()).peers] == [True]
    assert await take(store, node("boot-2", "beta"), "mail") == {}, "not reaped yet"
    assert await store.roles.reap("boot-1") is True
    assert await store.roles.reap("boot-1") is False
    assert (await store.roles.view()).peers == []
    assert await take(store, node("boot-2", "beta"), "mail") == {"mail": 2}


async def test_who_is_heard_of_between_look_and_reap_is_left_alone(store: Store, place: Place) -> None:
    await store.roles.hold(node(), [])
    await take(store, node(), "mail")
    place.advance(REAP + 1.0)
    await store.roles.hold(node(), [Holding("mail", 1)])
    assert await store.roles.reap("boot-1") is False
    # nor is one whose newest lease is younger than its last word
    place.advance(REAP - 1.0)
    await take(store, node(), "sync")
    place.advance(2.0)
    assert await store.roles.reap("boot-1") is False


async def test_an_order_stands_until_the_next_claim(store: Store) -> None:
    assert await store.roles.order("mail", "beta") is False
    await take(store, node(), "mail")
    assert await store.roles.order("mail", ANYONE) is True
    assert await store.roles.order("mail", "beta") is True
    assert only(await store.roles.view()).wanted == "beta"
    await store.roles.release("boot-1", [Holding("mail", 1)])
    assert only(await store.roles.view()).wanted == "beta"
    await take(store, node("boot-2", "beta"), "mail")
    assert only(await store.roles.view()).wanted == ""


async def test_what_was_answered_is_there_after_a_crash(place: Place) -> None:
    store = await place.open()
    await store.roles.hold(node(), [])
    await take(store, node(), "mail")
    after = await (await place.crash()).roles.view()
    assert [(role.name, role.term, role.owner) for role in after.roles] == [("mail", 1, "boot-1")]
    assert [peer.boot for peer in after.peers] == ["boot-1"]


@pytest.mark.parametrize("rounds", [5])
@needs(SHARED)
async def test_seven_nodes_at_one_moment_get_seven_roles(place: Place, rounds: int) -> None:
    """T32: no two ever hold one, whoever comes first."""
    stores = [await place.open() for _ in range(7)]
    names = [f"role-{number}" for number in range(7)]
    for turn in range(rounds):
        nodes = [node(f"boot-{turn}-{number}", f"n{number}") for number in range(7)]
        answers = await asyncio.gather(
            *(store.roles.claim(me, names[number:] + names[:number])
              for number, (store, me) in enumerate(zip(stores, nodes, strict=True)))
        )  # fmt: skip
        taken = [one for answer in answers for one in answer]
        assert sorted(one.name for one in taken) == names
        assert {one.term for one in taken} == {turn + 1}
        await asyncio.gather(*(store.roles.leave(me.boot) for store, me in zip(stores, nodes, strict=True)))


async def test_names_are_text_like_any_other(store: Store) -> None:
    name = "роль'; DROP TABLE roles; --\n\"" + "n" * 200
    await store.roles.hold(node(name=name), [])
    assert await take(store, node(name=name), name) == {name: 1}
    view = await store.roles.hold(node(name=name), [Holding(name, 1)])
    assert (only(view).name, only(view).node, view.peers[0].node) == (name, name, name)
