"""The roles of a router over a real store, under a clock that a test moves: trust, and what it does with a role that it
cannot serve. Nothing of the router runs but its looks."""

from __future__ import annotations

from pathlib import Path

from stoker.model.role import Candidate
from stoker.router.nodes.roles import Roles
from stoker.router.router import Router
from stoker.settings import Current, load
from stoker.store.base import Store
from tests.contract.places import ONE_DAEMON, SHARED, Place, needs

LEASE = 30.0


def roles_of(place: Place, store: Store, folder: Path, node: str, names: str = "mail") -> Roles:
    flags = {"root": str(folder), "node": node, "roles.names": names}
    return Router(Current(load(flags, environ={})), store, clock=place.clock).house.roles  # type: ignore[attr-defined]


@needs(SHARED)
async def test_trust_ends_before_the_lease_does(place: Place, store: Store, folder: Path) -> None:
    """R1: there is no moment at which two nodes trust themselves."""
    a, b = roles_of(place, store, folder, "a"), roles_of(place, await place.open(), folder, "b")
    await a.look()
    await b.look()
    assert [a.mine(), b.mine()] == [{"mail"}, set()]
    place.advance(LEASE * 5 / 6 - 0.1)
    assert a.holds("mail")
    place.advance(0.2)
    assert a.mine() == frozenset(), "though the store would still say so"
    await b.look()
    assert b.mine() == frozenset()
    place.advance(LEASE / 6 + 0.1)
    await b.look()
    assert [a.mine(), b.mine()] == [set(), {"mail"}]
    assert (a.term("mail"), b.term("mail")) == (None, 2)


@needs(SHARED)
async def test_a_look_renews_the_trust_and_one_after_it_ended_asks_anew(
    place: Place, store: Store, folder: Path
) -> None:
    a = roles_of(place, store, folder, "a")
    await a.look()
    for _ in range(5):
        place.advance(LEASE / 2)
        await a.look()
        assert a.term("mail") == 1
    place.advance(LEASE + 1.0)
    await a.look()
    assert a.term("mail") == 2, "nobody else took it, and yet it is a new term"


@needs(SHARED)
async def test_a_role_that_cannot_be_served_is_left_to_others(place: Place, store: Store, folder: Path) -> None:
    """Bug river#1161: a leader that is half alive because one of its duties did not start."""
    a, b = roles_of(place, store, folder, "a"), roles_of(place, await place.open(), folder, "b")

    def broken(mine: frozenset[str]) -> None:
        if "mail" in mine:
            raise OSError("no such device")

    told: list[frozenset[str]] = []
    a.on_change(broken)
    b.on_change(told.append)
    await a.look()
    assert a.mine() == frozenset()
    await a.look()
    assert a.mine() == frozenset(), "it does not try again at once"
    place.advance(LEASE / 2 + 1.0)
    await b.look()
    assert b.mine() == {"mail"}
    assert told == [{"mail"}]


@needs(SHARED)
async def test_what_another_took_is_lost_at_the_next_look(place: Place, store: Store, folder: Path) -> None:
    """Bug oban#1488: renewing what is another's by now makes two leaders."""
    a = roles_of(place, store, folder, "a")
    told: list[frozenset[str]] = []
    a.on_change(told.append)
    await a.look()
    place.advance(LEASE + 1.0)
    await store.roles.claim(Candidate(boot="other", node="b"), ["mail"])
    await a.look()
    assert a.mine() == frozenset()
    assert told == [{"mail"}, frozenset()]
    assert [(role.owner, role.term) for role in (await a.view()).roles] == [("other", 2)]


@needs(ONE_DAEMON)
async def test_alone_with_its_store_a_daemon_has_everything_for_ever(place: Place, store: Store, folder: Path) -> None:
    await store.roles.claim(Candidate(boot="before", node="a"), ["mail"])
    a = roles_of(place, store, folder, "a", "mail sync")
    assert a.holds("toga"), "what the settings do not name"
    assert not a.holds("mail")
    await a.look()
    place.advance(1_000_000.0)
    assert a.mine() == {"mail", "sync"}
    assert (a.term("mail"), a.term("sync")) == (2, 1)
