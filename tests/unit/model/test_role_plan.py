"""Who should hold what, decided by every node for itself: simulated nodes over a store that keeps the same rules."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.model.role import ANYONE, COVER, EXCLUSIVE, Candidate, Peer, Role, Rules, View, can_move, plan

NAMES = ("notification", "database", "infrastructure", "toga", "togadesk", "sync", "catalog")
LEASE = 30.0
FRESH = 15.0


class Field:
    """A store and the nodes around it; time is in seconds."""

    def __init__(self, names: tuple[str, ...] = NAMES, policy: str = COVER) -> None:
        self.names, self.policy = names, policy
        self.now = 1000.0
        self.roles: dict[str, Role] = {}
        self.peers: dict[str, Peer] = {}
        self.busy: dict[str, set[str]] = {}
        self.moves = 0

    def look(self, boot: str, *, seeks: bool = True) -> None:
        """One look of a node, carried out at once."""
        me = Candidate(boot=boot, node=boot, seeks=seeks, reap_after=LEASE, claim_after=LEASE)
        since = self.peers[boot].since if boot in self.peers else self.now
        self.peers[boot] = Peer(
            boot=boot, node=boot, host="", pid=1, since=since, seen=self.now, reap_after=LEASE, seeks=seeks
        )  # fmt: skip
        held = {role.name: role.term for role in self.roles.values() if role.owner == boot}
        for name in held:
            self._set(name, reap_at=self.now + LEASE, until=self.now + LEASE)
        view = View(self.now, list(self.roles.values()), list(self.peers.values()))
        rules = Rules(names=self.names, policy=self.policy, busy=self.busy.get(boot, ()), fresh=FRESH)
        planned = plan(view, me, held, rules)
        for name in planned.release:
            self._set(name, owner=None, since=self.now)
            self.moves += 1
        for name in planned.claim:
            self._claim(name, boot)
        for peer in list(self.peers.values()):
            if peer.silent(self.now):
                del self.peers[peer.boot]
                for role in [role for role in self.roles.values() if role.owner == peer.boot]:
                    self._set(role.name, owner=None, since=self.now)

    def round(self, *boots: str, chance: random.Random | None = None) -> None:
        """Everybody looks once within a third of a lease, in any order."""
        order = list(boots)
        (chance or random.Random(7)).shuffle(order)
        for boot in order:
            self.now += LEASE / 3 / len(order)
            self.look(boot)

    def order(self, name: str, wanted: str) -> None:
        self._set(name, wanted=wanted)

    def view(self) -> View:
        return View(self.now, list(self.roles.values()), list(self.peers.values()))

    @property
    def held(self) -> dict[str, str | None]:
        return {name: self.roles[name].owner if name in self.roles else None for name in self.names}

    @property
    def counts(self) -> list[int]:
        return sorted(Counter(owner for owner in self.held.values() if owner).values())

    def _set(self, name: str, **values: object) -> None:
        role = self.roles[name]
        fields = {field: getattr(role, field) for field in role.__struct_fields__}
        self.roles[name] = Role(**{**fields, **values})

    def _claim(self, name: str, boot: str) -> None:
        role = self.roles.get(name)
        if role is None or role.owner in (None, boot) or role.until < self.now:
            term = role.term + 1 if role else 1
            end = self.now + LEASE
            self.roles[name] = Role(
                name=name, term=term, owner=boot, node=boot, since=self.now, reap_at=end, until=end
            )  # fmt: skip
            self.moves += 1


# ── exclusive: one role a node, as in the 002 seed ───────────────────────────────────────────────────────────────────


def test_the_first_unclaimed_role_goes_to_who_comes() -> None:
    """T25, T26, T30: the order of arrival decides, the order of the list is that of the roles."""
    field = Field(policy=EXCLUSIVE)
    for boot in ("c", "a", "b"):
        field.look(boot)
    assert [field.held[name] for name in NAMES[:3]] == ["c", "a", "b"]
    field.look("d")
    assert field.held["toga"] == "d"
    field._set("infrastructure", owner=None)
    field.look("e")
    assert field.held["infrastructure"] == "e", "1, 2 and 4 taken: the newcomer gets 3"


def test_a_spare_waits_and_takes_what_comes_free() -> None:
    """T33, T43."""
    field = Field(names=NAMES[:2], policy=EXCLUSIVE)
    for _ in range(4):
        field.round("a", "b", "c")
    spare = ({"a", "b", "c"} - set(field.held.values())).pop()
    assert field.moves == 2, "and nothing moved after"
    dead = field.held["database"]
    living = [boot for boot in ("a", "b", "c") if boot != dead]
    for _ in range(5):
        field.round(*living)
    assert field.held["database"] == spare


def test_a_node_that_comes_again_gets_its_role_again() -> None:
    """T31."""
    field = Field(policy=EXCLUSIVE)
    field.round("a", "b")
    mine = next(name for name, owner in field.held.items() if owner == "b")
    for owner in ("a", "b"):
        field.look(owner, seeks=False)
    assert set(field.held.values()) == {None}
    field.look("b")
    assert field.held[mine] == "b"


# ── cover: few nodes carry all ───────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 1_000_000))
def test_all_roles_are_covered_evenly_and_then_nothing_moves(nodes: int, roles: int, seed: int) -> None:
    chance = random.Random(seed)
    field = Field(names=tuple(f"r{number}" for number in range(roles)))
    boots = [f"n{number}" for number in range(nodes)]
    for count in range(1, nodes + 1):
        field.round(*boots[:count], chance=chance)
    for _ in range(8):
        field.round(*boots, chance=chance)
    assert None not in field.held.values()
    counts = field.counts + [0] * (nodes - len(field.counts))
    assert max(counts) - min(counts) <= 1
    before = field.moves
    for _ in range(6):
        field.round(*boots, chance=chance)
    assert field.moves == before, "roles flap"


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 1_000_000))
def test_what_dead_nodes_held_is_held_by_the_living(nodes: int, deaths: int, seed: int) -> None:
    chance = random.Random(seed)
    field = Field()
    boots = [f"n{number}" for number in range(nodes)]
    for _ in range(10):
        field.round(*boots, chance=chance)
    living = chance.sample(boots, max(1, nodes - deaths))
    for _ in range(8):
        field.round(*living, chance=chance)
    assert set(field.held.values()) <= set(living)
    assert max(field.counts) - min(field.counts) <= 1


def test_a_newcomer_that_freezes_does_not_make_roles_flap() -> None:
    field = Field()
    for _ in range(4):
        field.round("a", "b")
    field.look("c", seeks=True)
    before = field.moves
    for _ in range(2):
        field.round("a", "b")
    while "c" in field.peers:
        field.round("a", "b")
        assert list(field.held.values()).count(None) <= 3
    for _ in range(3):
        field.round("a", "b")
    assert None not in field.held.values()
    assert field.moves - before <= 12


def test_what_runs_is_not_moved_before_it_has_ended() -> None:
    field = Field(names=("mail", "sync"))
    field.look("a")
    field.busy["a"] = {"mail", "sync"}
    for _ in range(4):
        field.round("a", "b")
    assert set(field.held.values()) == {"a"}
    field.busy["a"] = {"sync"}
    for _ in range(4):
        field.round("a", "b")
    assert field.held == {"mail": "b", "sync": "a"}


def test_a_node_that_takes_nothing_gives_back_what_is_idle() -> None:
    field = Field(names=("mail", "sync"))
    field.look("a")
    field.busy["a"] = {"mail"}
    field.look("a", seeks=False)
    assert field.held == {"mail": "a", "sync": None}
    field.look("b")
    assert field.held == {"mail": "a", "sync": "b"}


def test_a_role_that_is_not_named_any_more_is_given_back() -> None:
    field = Field(names=("mail", "sync"))
    field.look("a")
    field.names = ("sync",)
    field.look("a")
    assert field.roles["mail"].owner is None


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_role_goes_where_it_is_ordered() -> None:
    field = Field(names=("mail", "sync", "toga"))
    for _ in range(6):
        field.round("a", "b", "c")
    (name,) = [name for name, owner in field.held.items() if owner == "a"]
    assert can_move(field.view(), name, "b", COVER, FRESH)
    assert not can_move(field.view(), name, "a", COVER, FRESH)
    assert not can_move(field.view(), name, "x", COVER, FRESH)
    field.order(name, "b")
    for boot in ("a", "c", "b"):
        field.look(boot)
    assert field.held[name] == "b"
    field.order(name, ANYONE)
    for boot in ("b", "c", "a"):
        field.look(boot)
    assert field.held[name] in ("a", "c")


def test_an_order_to_who_is_not_there_moves_nothing() -> None:
    field = Field(names=("mail",), policy=EXCLUSIVE)
    field.look("a")
    field.order("mail", "z")
    for _ in range(3):
        field.round("a", "b")
    assert field.held == {"mail": "a"}


def test_who_has_a_role_of_its_own_is_no_place_for_another_where_each_has_one() -> None:
    field = Field(names=("mail", "sync"), policy=EXCLUSIVE)
    field.round("a", "b")
    assert not can_move(field.view(), "mail", ANYONE, EXCLUSIVE, FRESH)
    field.look("c")
    assert can_move(field.view(), "mail", ANYONE, EXCLUSIVE, FRESH)
    assert can_move(field.view(), "mail", "c", EXCLUSIVE, FRESH)


def test_who_stands_in_for_a_boot_that_ended_takes_its_roles_over() -> None:
    field = Field(names=("mail",))
    field.look("a-1")
    me = Candidate(boot="a-2", node="a-1")
    rules = Rules(names=("mail",), fresh=FRESH)
    assert plan(field.view(), me, {}, rules).claim == []
    again = Rules(names=("mail",), fresh=FRESH, dead=("a-1",))
    assert plan(field.view(), me, {}, again).claim == ["mail"]
