"""A role: a duty that exactly one node holds; a term is one holding of it, numbered.

    store                                              node
    ┌───────────────────────────────────────────┐      ┌─────────────────────────────────────────────┐
    │ role   owner, term, free for others from  │ ◄──► │ held   names and terms, while they are      │
    │ peers  nodes that take roles, last seen   │      │        trusted: see router/jobs/trust.py    │
    └───────────────────────────────────────────┘      └─────────────────────────────────────────────┘

The term is the store's: it goes up with every holding and stays when the holder resigns, so a number says for ever who
came after whom. Whoever renews a lease names the term it holds. These rules are those of ``tests/model/roles.py``.

Who should hold what is decided by every node for itself, from one look at the store, by :func:`plan`: no two nodes may
claim one role (the store sees to that), and what each does brings all nearer to the same goal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec

COVER, EXCLUSIVE = "cover", "exclusive"
ANYONE = "*"
"""An order to a holder to let anybody else have the role."""


class Holding(msgspec.Struct, frozen=True):
    """One holding of a role."""

    name: str
    term: int


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself with each look. A node silent for ``reap_after`` seconds is taken for dead; what it
    held is free for anybody after ``claim_after`` seconds, whether it was reaped or not."""

    boot: str
    node: str
    host: str = ""
    pid: int = 0
    reap_after: float = 30.0
    claim_after: float = 30.0
    seeks: bool = True
    """Whether it takes roles; not while it is cordoned or leaves."""


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role as the store knows it. Times are seconds since the epoch, by the store's clock."""

    name: str
    term: int
    owner: str | None
    """The boot that holds it."""
    node: str
    """The name of the node that holds it, or held it last."""
    since: float
    """Since when it is held, or free."""
    reap_at: float
    until: float
    """From when it may be claimed though its owner never gave it back."""
    wanted: str = ""
    """Where an operator wants it: the name of a node, or :data:`ANYONE` but its holder."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A node that takes roles."""

    boot: str
    node: str
    host: str
    pid: int
    since: float
    seen: float
    reap_after: float
    seeks: bool

    def silent(self, now: float) -> bool:
        """Whether it is to be taken for dead."""
        return self.seen + self.reap_after < now


class Taken(msgspec.Struct, frozen=True):
    """A role that was claimed: the new term, and from whom it was taken; None where it was free."""

    name: str
    term: int
    owner: str | None
    node: str


class View(msgspec.Struct, frozen=True):
    """One look at the store: all roles, and all who take them."""

    now: float
    roles: list[Role]
    peers: list[Peer]

    def others(self, boot: str) -> list[Peer]:
        """All but this start of a daemon."""
        return [peer for peer in self.peers if peer.boot != boot]

    def soonest(self, boot: str) -> float:
        """Seconds until the time of one of the others is over, if it says nothing until then."""
        ends = [role.until for role in self.roles if role.owner not in (None, boot)]
        ends += [peer.seen + peer.reap_after for peer in self.others(boot)]
        return min((end for end in ends if end >= self.now), default=math.inf) - self.now


class Plan(msgspec.Struct, frozen=True):
    claim: list[str]
    release: list[str]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a node goes by when it plans.

    ``names`` in their order; ``busy`` ones are not given up now; owners in ``dead`` hold nothing any more; ``shunned``
    ones are left to others; whoever was not heard of for ``fresh`` seconds is not waited for.
    """

    names: tuple[str, ...]
    policy: str = COVER
    busy: Collection[str] = ()
    dead: Collection[str] = ()
    shunned: Collection[str] = ()
    fresh: float = 10.0
    alone: bool = False
    """Whether no other node can be there."""


def plan(view: View, me: Candidate, held: Mapping[str, int], rules: Rules) -> Plan:
    """What to claim and what to give back. Claims may be more than the store grants."""
    there = {role.name: role for role in view.roles}
    mine = [name for name in held if name in rules.names]
    gone = [name for name in held if name not in rules.names and name not in rules.busy]
    if not me.seeks:
        return Plan([], [name for name in held if name not in rules.busy])
    if rules.alone:
        return Plan([name for name in rules.names if name not in held and name not in rules.shunned], gone)
    counts = _counts(view, me, mine, rules.dead)
    target = _target(rules, counts, me.boot)
    leaving = [name for name in mine if _ordered_away(there.get(name), me, view, rules)]
    stays = [name for name in mine if name not in leaving]
    excess = max(0, len(stays) - max(target, _floor(rules, counts)))
    if excess and (rules.policy == EXCLUSIVE or _somebody_waits(view, me, counts, rules)):
        oldest = sorted((name for name in stays if name not in rules.busy), key=lambda name: there[name].since)
        leaving += oldest[:excess]
    open_to_me = [name for name in rules.names if name not in held and name not in rules.shunned]
    free = [name for name in open_to_me if _is_free(there.get(name), me, view, rules)]
    free.sort(key=lambda name: there[name].node != me.node if name in there else True)
    sent = [name for name in free if name in there and _is_sent(there[name], me)] if rules.policy == COVER else []
    open_to_all = [name for name in free if name not in sent]
    room = max(0, target - len(stays) - len(sent))
    # what nobody took for so long goes to whoever looks, whatever is fair
    left = [name for name in open_to_all[room:] if rules.policy == COVER and _is_left(there.get(name), rules, view.now)]
    release = [name for name in leaving if name not in rules.busy]
    return Plan(sent + open_to_all[:room] + left, release + gone)


def _counts(view: View, me: Candidate, mine: Sequence[str], dead: Collection[str]) -> dict[str, int]:
    """How many roles each living node that takes roles holds."""
    found = Counter(role.owner for role in view.roles if role.owner is not None)
    alive = [peer.boot for peer in view.peers if peer.seeks and peer.boot not in dead and not peer.silent(view.now)]
    return {**{boot: found[boot] for boot in alive}, me.boot: len(mine)}


def _target(rules: Rules, counts: Mapping[str, int], boot: str) -> int:
    """How many roles a node should hold: as many as any other, or one more; those who have most have one more."""
    if rules.policy == EXCLUSIVE:
        return 1
    share, more = divmod(len(rules.names), len(counts))
    rank = sorted(counts, key=lambda one: (-counts[one], one)).index(boot)
    return share + (rank < more)


def _floor(rules: Rules, counts: Mapping[str, int]) -> int:
    """What nobody is asked to give up: between one more and one less nothing is moved."""
    return 1 if rules.policy == EXCLUSIVE else len(rules.names) // len(counts)


def _somebody_waits(view: View, me: Candidate, counts: Mapping[str, int], rules: Rules) -> bool:
    """Whether a node that was heard of lately has less than its share: one that is silent would leave the role free."""
    return any(
        counts[peer.boot] < _target(rules, counts, peer.boot)
        for peer in view.peers
        if peer.boot in counts and peer.boot != me.boot and peer.seen + rules.fresh >= view.now
    )


def can_move(view: View, name: str, wanted: str, policy: str, fresh: float) -> bool:
    """Whether a role would go there if its holder gave it back."""
    role = next((role for role in view.roles if role.name == name), None)
    if role is None:
        return False
    ordered = msgspec.structs.replace(role, wanted=wanted)
    rules = Rules(names=(), policy=policy, fresh=fresh)
    return any(_may_have(peer, ordered, role.owner or "", view, rules) for peer in view.peers)


def _is_sent(role: Role, me: Candidate) -> bool:
    """Whether an operator's order is for this node."""
    return role.wanted == me.node or (role.wanted == ANYONE and role.node != me.node)


def _ordered_away(role: Role | None, me: Candidate, view: View, rules: Rules) -> bool:
    """Whether an operator wants it elsewhere, and there is somebody to have it."""
    if role is None or role.wanted in ("", me.node):
        return False
    return any(_may_have(peer, role, me.boot, view, rules) for peer in view.peers)


def _may_have(peer: Peer, role: Role, but: str, view: View, rules: Rules) -> bool:
    heard = peer.seeks and peer.seen + rules.fresh >= view.now
    room = rules.policy == COVER or all(one.owner != peer.boot for one in view.roles)
    return heard and room and peer.boot != but and role.wanted in (ANYONE, peer.node)


def _is_free(role: Role | None, me: Candidate, view: View, rules: Rules) -> bool:
    if role is None:
        return True
    # kept for whom it was ordered to; "anybody" is anybody but who had it
    elsewhere = role.wanted not in ("", me.node) and (role.wanted != ANYONE or role.node == me.node)
    if elsewhere and not _is_left(role, rules, view.now):
        return False
    return role.owner in (None, me.boot) or role.owner in rules.dead or role.until < view.now


def _is_left(role: Role | None, rules: Rules, now: float) -> bool:
    """Whether it could be had for so long that nobody else will come."""
    if role is None:
        return False
    since = role.since if role.owner is None else role.until
    return since + rules.fresh < now
