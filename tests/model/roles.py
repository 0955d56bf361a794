"""M2: the election of a role and the ticks of its schedule, as an exact model of two nodes.

    store                                             node (two of them, with a boot id each)
    ┌────────────────────────────────────────┐        ┌──────────────────────────────────────────────────────┐
    │ role   owner, term, left of the lease  │ ◄────► │ term   the one it acts in, while it trusts itself    │
    │ slots  one a tick: "" not settled,     │        │ trust  ticks left of that                            │
    │        "f" fired, "m" marked missed    │        │ ask    asked ──► answered ──► heard; its age         │
    └────────────────────────────────────────┘        │ duty   a slot that it is about to settle, in a term  │
                                                      └──────────────────────────────────────────────────────┘

These are the rules for the schedules to come, fixed before they are written: a term is the store's, goes up with every
holding and stays when the holder resigns; whoever extends names the term it holds; every write carries the term; a slot
is a row, unique, written once; trust ends a margin before the lease can, counted from the moment of the ask; whose
trust is over asks anew; an answer to what was asked before resigning is not heard.

Time is what is left, as in :mod:`tests.model.leases`. A slot falls due at each of the first ``SLOTS`` ticks; the leader
settles the oldest, by firing it if it is the newest due, else by marking it missed. A node asks once a tick at most.

Faults: crash, resignation at any moment, lost answers, any delay of ask, answer and write. Left out: what is fired (M1
takes over from there: a tick is a job with a unique key), more roles than one, policies of catching up. Bounded: slots,
and the number of terms while there are faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

LEASE, MARGIN = 3, 1
TRUST = LEASE - MARGIN
SLOTS = 2
NOBODY, GONE = -1, 2


class Rules(NamedTuple):
    """What keeps the promises. Each may be broken to see that the search would notice."""

    terms: int = 3
    """Elections while there are faults."""
    unique_slot: bool = True
    term_guard: bool = True
    trust_from_ask: bool = True
    term_stays: bool = True
    deaf_after_resigning: bool = True
    marks_missed: bool = True


class Role(NamedTuple):
    owner: int = NOBODY
    term: int = 0
    left: int = 0
    top: int = 0
    """History: the highest term there ever was."""
    due: int = 0
    slots: tuple[str, ...] = ("",) * SLOTS
    stale: bool = False
    """History: whether a write of an old term was ever accepted."""

    def open_slot(self, first: int) -> int | None:
        """The first slot from there on that is due and not settled."""
        return next((slot for slot in range(first, self.due) if not self.slots[slot]), None)

    @property
    def settled(self) -> bool:
        return all(self.slots)


class Ask(NamedTuple):
    term: int
    """The term to be extended, 0 for a new one; once answered, the term that was won, 0 for none."""
    age: int = 0
    answered: bool = False


class Duty(NamedTuple):
    slot: int
    term: int
    word: str


class Node(NamedTuple):
    term: int = 0
    trust: int = 0
    ask: Ask | None = None
    rests: bool = False
    duty: Duty | None = None


class World(NamedTuple):
    role: Role = Role()
    nodes: tuple[Node, ...] = (Node(), Node())


Local = tuple[str, Role, Node]


class Roles:
    """What may happen next. ``calm``: no faults any more, every node answers and acts within the tick."""

    def __init__(self, rules: Rules | None = None, *, calm: bool = False) -> None:
        self.rules = rules or Rules()
        self.calm = calm
        self._known: dict[tuple[int, Role, Node], list[Local]] = {}
        self._aged: dict[Node, Node] = {}

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        if not self.calm or not any(self._is_busy(world.role, node) for node in world.nodes):
            role = world.role
            aged = role._replace(left=max(0, role.left - 1), due=min(SLOTS, role.due + 1))
            yield "tick", World(aged, (self._older(world.nodes[0]), self._older(world.nodes[1])))
        for n, node in enumerate(world.nodes):
            for name, role, after in self._of_node(n, world.role, node):
                yield name, World(role, (after, world.nodes[1]) if n == 0 else (world.nodes[0], after))

    def _of_node(self, n: int, role: Role, node: Node) -> list[Local]:
        """What a node does depends on nothing but the store and itself, so it is worked out once."""
        known = self._known.get((n, role, node))
        if known is None:
            parts = [self._ask, self._act] if self.calm else [self._ask, self._act, self._fail]
            known = self._known[n, role, node] = [step for part in parts for step in part(n, role, node)]
        return known

    # ── the store ────────────────────────────────────────────────────────────────────────────────────────────────

    def granted(self, role: Role, n: int, term: int) -> tuple[Role, int]:
        """The role after somebody asked for it, and the term that is now theirs."""
        if role.owner == n and term and role.term == term:
            return role._replace(left=LEASE), term
        free = role.owner in (n, NOBODY) or role.left <= 0
        if free and (self.calm or role.term < self.rules.terms):
            new = role.term + 1
            return role._replace(owner=n, term=new, left=LEASE, top=max(role.top, new)), new
        return role, 0

    def written(self, role: Role, duty: Duty) -> Role:
        if self.rules.term_guard and role.term != duty.term:
            return role
        if self.rules.unique_slot and role.slots[duty.slot]:
            return role
        slots = list(role.slots)
        slots[duty.slot] += duty.word
        return role._replace(slots=tuple(slots), stale=role.stale or role.term != duty.term)

    # ── what may happen ──────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, n: int, role: Role, node: Node) -> Iterator[Local]:
        ask = node.ask
        if ask is None:
            if not node.rests:
                yield f"ask n{n}", role, node._replace(ask=Ask(node.term), rests=True)
        elif not ask.answered:
            after, won = self.granted(role, n, ask.term)
            yield f"answer n{n}", after, node._replace(ask=Ask(won, ask.age, answered=True))
        else:
            trust = (TRUST - ask.age if self.rules.trust_from_ask else TRUST) if ask.term else 0
            yield f"hear n{n}", role, node._replace(ask=None, trust=trust, term=ask.term if trust else 0)

    def _act(self, n: int, role: Role, node: Node) -> Iterator[Local]:
        slot = self._next(role)
        if node.duty is not None:
            yield f"write n{n}", self.written(role, node.duty), node._replace(duty=None)
        elif node.trust and slot is not None:
            word = "f" if slot == role.due - 1 else "m"
            yield f"pick n{n}", role, node._replace(duty=Duty(slot, node.term, word))

    def _next(self, role: Role) -> int | None:
        """What a leader settles next."""
        return role.open_slot(0 if self.rules.marks_missed else max(0, role.due - 1))

    def _older(self, node: Node) -> Node:
        """One tick later."""
        known = self._aged.get(node)
        if known is None:
            ask, trust = node.ask, max(0, node.trust - 1)
            term, older = node.term if trust else 0, ask and ask._replace(age=min(TRUST, ask.age + 1))
            known = self._aged[node] = node._replace(trust=trust, term=term, ask=older, rests=ask is not None)
        return known

    def _is_busy(self, role: Role, node: Node) -> bool:
        """Whether it has something to do that a node that is well does before the next tick."""
        acts = node.duty is not None or (node.trust > 0 and self._next(role) is not None)
        return acts or node.ask is not None or not node.rests

    def _fail(self, n: int, role: Role, node: Node) -> Iterator[Local]:
        yield f"crash n{n}", role._replace(owner=GONE) if role.owner == n else role, Node()
        if node.ask is not None:
            yield f"lose n{n}", role, node._replace(ask=None)
        if node.duty is not None:
            yield f"write-unheard n{n}", self.written(role, node.duty), node
        if node.trust:
            mine = role.owner == n and role.term == node.term
            free = role._replace(owner=NOBODY, left=0, term=role.term if self.rules.term_stays else 0)
            ask = None if self.rules.deaf_after_resigning else node.ask
            yield f"resign n{n}", free if mine else role, node._replace(term=0, trust=0, ask=ask)
