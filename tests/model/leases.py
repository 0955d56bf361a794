"""M1: claim, lease, fence and complete, as an exact model of one job and two nodes.

    row                                        node (two of them, with a boot id each)
    ┌───────────────────────────────────┐      ┌───────────────────────────────────────────────────────┐
    │ state   new running completed     │      │ children  up to two: fence, phase, trust left         │
    │         failed                    │      │           phase  run ──► done, lost (to be written)   │
    │ owner   a boot id                 │ ◄──► │ claim     taken in the store, answer on its way, age  │
    │ fence   goes up with every claim  │      │ renewal   asked ──► written ──► heard; names, age     │
    │ left    ticks of the lease        │      │ seen      the fence that the reaper has read          │
    │ attempt counted at the claim      │      └───────────────────────────────────────────────────────┘
    └───────────────────────────────────┘

Time is what is left of each lease and trust, and the age of each message, so it has no end and needs no bound. One tick
of time is the margin; a lease is two. Trust in a lease is counted from the moment it was asked for and ends a margin
before the lease can; from then on the child is being killed, and is dead when the margin is over. Everything else takes
any time: a node may be slow at everything but at killing.

Faults: a child dies, a node crashes (its successor has another boot id), the answer to a claim, a renewal or a
settlement is lost. Modelled as in the product: fence and state in every ending, fence and owner in every renewal, a
reaper on every node that skips what runs there, ``Lost`` counted against ``most`` starts, renewals that name what is
held, attempts disowned when a renewal is refused.

An attempt is trusted from the moment its *claim* was asked for, and a claim whose answer comes later than that trust
lasts is not begun (``stoker.router.jobs.trust``). This model found that rule missing: ``trust_claim_from_answer``, by
which two nodes run one job when a claim is answered late, was the product as it was. See ``tests/crash/test_pg_late``.

Left out: other jobs, so the order of claims, keys and limits; back-off (a job that may run again may run at once);
snoozing and giving back, which may start a job any number of times; cancelling; submission (M3); a node whose processes
are all frozen at once and go on later. The way of a claim to the store takes no time: it could only make trust end
earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stoker.model.settle import HOUSE_RETRIES

LEASE, MARGIN = 2, 1
TRUST = LEASE - MARGIN
OVER = -1
"""What is left of a lease that is over: the store takes one for over when its last moment is past."""
GONE = 2
"""The owner of what a crashed boot had: nobody who is there."""
NOBODY = -1


class Rules(NamedTuple):
    """What keeps the promises. Each may be broken to see that the search would notice."""

    most: int = 1 + HOUSE_RETRIES
    """Starts of a job."""
    slots: int = 2
    late: bool = True
    """Whether the answers to claims and renewals may come late, or never; else they are there at once."""
    settle_by_owner: bool = False
    """An ending is accepted from the owner, whatever its fence."""
    reap_by_id: bool = False
    """The reaper writes what it read, whatever has become of the job."""
    count_at_failure: bool = False
    """An attempt is counted when its node says that it failed, not when it is claimed."""
    renew_by_owner: bool = False
    """A renewal extends all that the owner has, named or not."""
    trust_renewal_from_answer: bool = False
    trust_claim_from_answer: bool = False


class Row(NamedTuple):
    state: str = "new"
    owner: int = NOBODY
    fence: int = 0
    left: int = OVER
    attempt: int = 0
    by: int = 0
    """History, for the invariants: the fence that the newest accepted ending came with, 0 after a claim."""
    outcomes: int = 0
    """History: how many outcomes were recorded."""

    @property
    def ended(self) -> bool:
        return self.outcomes > 0


class Child(NamedTuple):
    fence: int
    phase: str
    trust: int = 0


class Claim(NamedTuple):
    fence: int
    age: int


class Renewal(NamedTuple):
    named: tuple[int, ...]
    age: int
    mine: tuple[int, ...] | None = None
    """The answer, once the store has written it."""


class Node(NamedTuple):
    children: tuple[Child, ...] = ()
    claim: Claim | None = None
    renewal: Renewal | None = None
    seen: int = 0

    @property
    def held(self) -> tuple[int, ...]:
        """What runs here, or whose end is being written, be it as the reaper."""
        return tuple(sorted({child.fence for child in self.children} | ({self.seen} if self.seen else set())))

    def holds(self, fence: int) -> bool:
        return any(child.fence == fence for child in self.children)

    def runs(self, fence: int) -> bool:
        return any(child.fence == fence and child.phase == "run" for child in self.children)

    def with_child(self, child: Child) -> Node:
        others = tuple(one for one in self.children if one.fence != child.fence)
        return self._replace(children=tuple(sorted((*others, child))))

    def without(self, child: Child) -> Node:
        return self._replace(children=tuple(one for one in self.children if one != child))


class World(NamedTuple):
    row: Row = Row()
    nodes: tuple[Node, ...] = (Node(), Node())


FAULTS = frozenset({"die", "crash", "lose-claim", "lose-renewal", "settle-unheard"})
Step = tuple[str, World]
Local = tuple[str, Row, Node]
"""What a node does, the row after it, and the node after it."""


def is_fault(name: str) -> bool:
    return name.partition(" ")[0] in FAULTS


class Leases:
    """What may happen next, under given rules."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self._known: dict[tuple[int, Row, Node], list[Local]] = {}
        self._aged: dict[Node, Node] = {}

    def steps(self, world: World) -> Iterator[Step]:
        yield from self._tick(world)
        for n, node in enumerate(world.nodes):
            for name, row, after in self._of_node(n, world.row, node):
                yield name, World(row, (after, world.nodes[1]) if n == 0 else (world.nodes[0], after))

    def _of_node(self, n: int, row: Row, node: Node) -> list[Local]:
        """What a node does depends on nothing but the row and itself, so it is worked out once."""
        known = self._known.get((n, row, node))
        if known is None:
            parts = (self._claim, self._run, self._settle, self._renew, self._reap, self._crash)
            known = self._known[n, row, node] = [step for part in parts for step in part(n, row, node)]
        return known

    # ── the store ────────────────────────────────────────────────────────────────────────────────────────────────

    def ended(self, row: Row, n: int, child: Child) -> Row:
        """The row after an ending; the same one where it is refused."""
        mine = row.owner == n if self.rules.settle_by_owner else row.fence == child.fence
        if row.state != "running" or not mine:
            return row
        counted = row.attempt + (self.rules.count_at_failure and child.phase == "lost")
        return self._written(row._replace(attempt=counted), child)

    def reaped(self, row: Row, fence: int) -> Row:
        if not self.rules.reap_by_id and (row.state != "running" or row.fence != fence):
            return row
        return self._written(row, Child(fence, "lost"))

    def _written(self, row: Row, child: Child) -> Row:
        left = row._replace(owner=NOBODY, left=OVER, by=child.fence)
        if child.phase == "lost" and row.attempt < self.rules.most:
            return left._replace(state="new")
        return left._replace(state="failed" if child.phase == "lost" else "completed", outcomes=row.outcomes + 1)

    def renewed(self, row: Row, n: int, named: tuple[int, ...]) -> tuple[Row, tuple[int, ...]]:
        """The row after a renewal, and which of the named attempts are the owner's."""
        own = row.state == "running" and row.owner == n
        mine = (row.fence,) if own and row.fence in named else ()
        if mine or (own and self.rules.renew_by_owner):
            row = row._replace(left=LEASE)
        return row, mine

    # ── what may happen ──────────────────────────────────────────────────────────────────────────────────────────

    def _tick(self, world: World) -> Iterator[Step]:
        nodes = []
        for node in world.nodes:
            if any(child.phase == "run" and child.trust <= -MARGIN for child in node.children):
                return  # it is dead before that
            older = self._aged.get(node)
            if older is None:
                older = self._aged[node] = _older(node)
            nodes.append(older)
        row = world.row._replace(left=max(OVER, world.row.left - 1))
        yield "tick", World(row, (nodes[0], nodes[1]))

    def _claim(self, n: int, row: Row, node: Node) -> Iterator[Local]:
        if node.claim is not None:
            fence, age = node.claim
            trust = TRUST if self.rules.trust_claim_from_answer else TRUST - age
            child = Child(fence, "run", trust) if trust > 0 else Child(fence, "lost")
            yield f"begin n{n} f{fence}", row, node._replace(claim=None).with_child(child)
            yield f"lose-claim n{n} f{fence}", row, node._replace(claim=None)
        elif row.state == "new" and len(node.children) < self.rules.slots:
            attempt = row.attempt + (not self.rules.count_at_failure)
            taken = Row("running", n, row.fence + 1, LEASE, attempt, 0, row.outcomes)
            if self.rules.late:
                yield f"claim n{n}", taken, node._replace(claim=Claim(taken.fence, 0))
            else:
                yield f"claim n{n}", taken, node.with_child(Child(taken.fence, "run", TRUST))

    def _run(self, n: int, row: Row, node: Node) -> Iterator[Local]:
        for child in node.children:
            if child.phase == "run":
                yield f"finish n{n} f{child.fence}", row, node.with_child(Child(child.fence, "done"))
                word = "die" if child.trust > 0 else "kill"
                yield f"{word} n{n} f{child.fence}", row, node.with_child(Child(child.fence, "lost"))

    def _settle(self, n: int, row: Row, node: Node) -> Iterator[Local]:
        for child in node.children:
            if child.phase != "run":
                after = self.ended(row, n, child)
                yield f"settle n{n} f{child.fence}", after, node.without(child)
                yield f"settle-unheard n{n} f{child.fence}", after, node

    def _renew(self, n: int, row: Row, node: Node) -> Iterator[Local]:
        renewal = node.renewal
        if renewal is None:
            if not node.held and not self.rules.renew_by_owner:
                return
            if self.rules.late:
                yield f"renew n{n}", row, node._replace(renewal=Renewal(node.held, 0))
            else:
                extended, mine = self.renewed(row, n, node.held)
                yield f"renew n{n}", extended, self._heard(node, Renewal(node.held, 0), mine)
            return
        if renewal.mine is None:
            extended, mine = self.renewed(row, n, renewal.named)
            running = tuple(fence for fence in renewal.named if node.runs(fence))
            # of an answer without a lease the age is nothing that matters
            written = Renewal(running, renewal.age if mine else LEASE, mine)
            yield f"renew-write n{n}", extended, node._replace(renewal=written)
        else:
            yield f"renew-heard n{n}", row, self._heard(node, renewal, renewal.mine)
        yield f"lose-renewal n{n}", row, node._replace(renewal=None)

    def _heard(self, node: Node, renewal: Renewal, mine: tuple[int, ...]) -> Node:
        trust = TRUST if self.rules.trust_renewal_from_answer else TRUST - renewal.age
        children = []
        for child in node.children:
            if child.phase == "run" and child.fence in mine:
                child = child._replace(trust=max(child.trust, trust))
            elif child.phase == "run" and child.fence in renewal.named:
                child = Child(child.fence, "lost")
            children.append(child)
        return node._replace(renewal=None, children=tuple(sorted(children)))

    def _reap(self, n: int, row: Row, node: Node) -> Iterator[Local]:
        if node.seen:
            yield f"reap-write n{n} f{node.seen}", self.reaped(row, node.seen), node._replace(seen=0)
        elif row.state == "running" and row.left <= OVER and not node.holds(row.fence):
            yield f"reap-read n{n} f{row.fence}", row, node._replace(seen=row.fence)

    def _crash(self, n: int, row: Row, node: Node) -> Iterator[Local]:
        yield f"crash n{n}", row._replace(owner=GONE) if row.owner == n else row, Node()


def _older(node: Node) -> Node:
    """One tick later; of what is too old to matter it is not told how old."""
    claim, renewal = node.claim, node.renewal
    return node._replace(
        children=tuple(one._replace(trust=one.trust - 1) if one.phase == "run" else one for one in node.children),
        claim=claim and claim._replace(age=min(LEASE, claim.age + 1)),
        renewal=renewal and renewal._replace(age=min(LEASE, renewal.age + 1)),
    )
