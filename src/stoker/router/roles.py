"""The roles this node holds: claimed at start, held by renewal, given back in order, lost when they cannot be renewed.

    look ──► hold: be there, renew, see everything ──► plan ──► give back ──► claim ──► reap the dead ──► look again
             │ one statement                            │ pure: model/role.py
             └ trusted from the moment it was asked     └ what every node decides for itself

A role is trusted like a leased job (:mod:`.trust`): from the moment of the ask, less a margin, so no two nodes ever act
in one role. When the trust is over, what runs in the role here is ended, whether or not the store can be reached. A
term fences what is done outside: it is in the input of hooks and in ``Context.role_term``.

Looks are made at random distances, so that nodes that were started together do not ask together.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

import structlog

from stoker.model.clock import Clock
from stoker.model.command import CommandSpec
from stoker.model.errors import StoreError
from stoker.model.job import Claimed
from stoker.model.outcome import Outcome, Returned
from stoker.model.role import Candidate, Holding, Peer, Role, Rules, View, can_move, plan
from stoker.router.claimer import Claimer
from stoker.router.desk import Desk
from stoker.router.roles_hooks import Hooks, outdated
from stoker.router.trust import MARGIN
from stoker.settings import Current
from stoker.settings.fields import Roles as RoleSettings
from stoker.store.address import store_at
from stoker.store.base import Store, Wake

log = structlog.get_logger(role="router")

LOOKS = 3
"""Looks, and so renewals, in the time of one lease, at least."""
AGAIN = 1.0
"""Most seconds until what the store could not answer is asked again."""
SOON = 0.05
"""Least seconds between two looks that nobody asked for."""


class Held(NamedTuple):
    """A role that is ours in this term, until that moment on the monotonic clock."""

    term: int
    until: float


class Roles:
    """One per router. ``store`` is where roles are kept unless the settings name a store for them; ``before`` is a boot
    that is known to have ended, because this one stands in for it."""

    def __init__(
        self, settings: Current, store: Store, clock: Clock, boot: str, desk: Desk, claimer: Claimer, hooks: Hooks,
        before: str | None = None,
    ) -> None:  # fmt: skip
        own = settings().roles.store
        self._settings = settings
        self._store = store_at(own) if own else store
        self._opens = bool(own)
        self._clock = clock
        self._boot = boot
        self._desk = desk
        self._claimer = claimer
        self._hooks = hooks
        self._dead = frozenset({before} if before else ())
        self._held: dict[str, Held] = {}
        self._terms: dict[str, int] = {}
        """The highest term seen of each role."""
        self._shunned: dict[str, float] = {}
        """Roles that cannot be served here, and until when they are left to others."""
        self._callbacks: list[Callable[[frozenset[str]], None]] = []
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._doubt: asyncio.TimerHandle | None = None
        self._leaving = False
        self._there = False
        """Whether the store may have heard of us."""
        if self._opens:
            self._store.listen(lambda wake: self.wake() if wake is Wake.ORDERS else None)

    # ── what others ask ──────────────────────────────────────────────────────────────────────────────────────────────

    def mine(self) -> frozenset[str]:
        """The roles that are this node's at this moment."""
        now = self._clock.mono()
        return frozenset(name for name, held in self._held.items() if held.until > now)

    def holds(self, role: str) -> bool:
        """Whether what asks for a role may run here. A daemon that is alone with its store has every role that is not
        named in the settings, too."""
        return not role or role in self.mine() or (self.alone and role not in self._table.names)

    def term(self, role: str) -> int | None:
        """The term in which a role is held here."""
        return self._held[role].term if role in self.mine() else None

    def on_change(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Have ``callback`` called with what is held whenever that changes. One that raises cannot serve what it was
        told: the roles that came with it are given back, and left to other nodes for a while."""
        self._callbacks.append(callback)

    def gate(self, job: Claimed, spec: CommandSpec) -> int | Outcome:
        """Whether a claimed job may begin here: the term of its role, 0 if it needs none, or what becomes of it."""
        if not self.holds(spec.role):
            return Returned("its role went to another node", begun=False)
        return outdated(job, spec, self._terms) or self.term(spec.role) or 0

    async def whereabouts(self, role: str) -> str:
        """Who holds a role that is not this node's, as a sentence. Raises a StoreError."""
        if role not in self._table.names:
            return f"needs the role {role}, which is not in [roles] names of stoker.toml"
        found = next((one for one in (await self.view()).roles if one.name == role), None)
        if found is None or found.owner is None:
            return f"needs the role {role}, which nobody holds; see `stoker roles`"
        return f"needs the role {role}: waits for {found.node}"

    async def view(self) -> View:
        """The store's view. Raises a StoreError."""
        return await self._store.roles.view()

    async def move(self, role: str, node: str) -> bool:
        """Order a role to a node; False, and nothing is done, when nobody is there who could take it."""
        table = self._table
        if not can_move(await self.view(), role, node, table.policy, 2 * self._fresh):
            return False
        ordered = await self._store.roles.order(role, node)
        self.wake()
        return ordered

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Claim what is free, then look again and again. A store of its own is waited for in the background."""
        pause = 0.0 if self._opens else await self._try()
        self._task = asyncio.get_running_loop().create_task(self._run(pause), name="roles")

    def wake(self) -> None:
        """Look now: something may have come free, or was ordered."""
        self._soon.set()

    def drain(self) -> None:
        """Take nothing more, and give back whatever is not needed by a running job."""
        self._leaving = True
        self.wake()

    async def stop(self, *, comes_back: bool = False) -> None:
        """Give everything back, if that can be said; not if it ``comes_back`` at once and takes it over."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._doubt is not None:
            self._doubt.cancel()
        try:
            if self._there and not comes_back:
                await self._say_lost(self._drop(list(self._held)))
                await self._store.roles.leave(self._boot)
        except StoreError as error:
            log.warning("cannot give roles back; they run out by themselves", error=error.message)
        if self._opens:
            await self._store.close()

    async def _run(self, pause: float) -> None:
        if self._opens:
            await self._store.open(math.inf)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._soon.wait(), None if pause == math.inf else pause)
            self._soon.clear()
            pause = await self._try()

    async def _try(self) -> float:
        try:
            return await self.look()
        except StoreError as error:
            log.error("cannot look after roles; trying again", error=error.message)
            return min(AGAIN, self._lease / LOOKS)

    async def look(self) -> float:
        """Renew, claim, give back and reap; the seconds until the next time. Raises a StoreError."""
        await self._hooks.send()
        if not self._partakes and not self._held:
            return math.inf
        self._there = True
        me, asked = self._me, self._clock.mono()
        view = await self._store.roles.hold(me, [Holding(name, held.term) for name, held in self._held.items()])
        self._hear(view, asked)
        planned = plan(view, me, {name: held.term for name, held in self._held.items()}, self._rules(view))
        if planned.release:
            log.info("giving roles back", roles=planned.release)
            gone = self._drop(planned.release)
            await self._say_lost(gone)
            await self._store.roles.release(self._boot, gone)
        if planned.claim:
            await self._claim(me, planned.claim, view)
        await self._reap(view)
        return self._pause(view)

    # ── the steps of a look ──────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, view: View, asked: float) -> None:
        """What was renewed is trusted from the moment of the ask; what is another's by now is lost."""
        for role in view.roles:
            self._terms[role.name] = max(role.term, self._terms.get(role.name, 0))
        ours = {role.name: role.term for role in view.roles if role.owner == self._boot}
        for name, held in list(self._held.items()):
            if ours.get(name) == held.term:
                self._held[name] = Held(held.term, self._until(asked))
            else:
                self._lose([name], "another node holds it by now")
        self._doubt_in_time()

    async def _claim(self, me: Candidate, names: list[str], view: View) -> None:
        asked = self._clock.mono()
        taken = await self._store.roles.claim(me, names, sorted(self._ended(view)))
        until = self._until(asked)
        gained = []
        for one in taken:
            before = self._terms.get(one.name, 0)
            self._terms[one.name] = one.term
            # an own term whose answer never came was no holding
            if one.owner is not None and (one.owner != me.boot or before == one.term - 1):
                self._hooks.lost(one.name, one.term - 1, one.node, one.owner)
            if until <= self._clock.mono():
                continue  # answered too late to be trusted; the next look takes it anew
            self._held[one.name] = Held(one.term, until)
            self._hooks.acquired(one.name, one.term, me.node, me.boot)
            gained.append(one.name)
            log.info("holding a role", name=one.name, term=one.term, taken_from=one.node if one.owner else None)
        self._doubt_in_time()
        if gained and not self._tell():
            gone = self._drop(gained)
            self._shunned.update(dict.fromkeys(gained, self._clock.mono() + 2 * self._lease))
            await self._store.roles.release(self._boot, gone)
        self._claimer.wake()
        await self._hooks.send()

    async def _reap(self, view: View) -> None:
        """Say that a silent node is dead, and only then forget it: who dies in between leaves it to the next."""
        for peer in view.peers:
            if peer.boot == self._boot:
                continue
            if self.alone or peer.boot in self._dead:
                await self._store.roles.leave(peer.boot)  # an earlier start of this very node
            elif peer.silent(view.now):
                await self._bury(peer, [role for role in view.roles if role.owner == peer.boot])

    async def _bury(self, peer: Peer, held: list[Role]) -> None:
        names = [role.name for role in held]
        self._hooks.node_dead(peer, names)
        for role in held:
            self._hooks.lost(role.name, role.term, role.node, peer.boot)
        await self._hooks.send()
        if await self._store.roles.reap(peer.boot):
            log.warning("a node is dead", node=peer.node, boot=peer.boot, roles=names)
            self.wake()

    def _pause(self, view: View) -> float:
        """Until the next look: early enough to renew, and when somebody's time is over."""
        if self.alone:
            return math.inf  # nobody else can come
        regular = self._lease / LOOKS * random.uniform(0.5, 1.0)
        ends = [role.until for role in view.roles if role.owner not in (None, self._boot)]
        ends += [peer.seen + peer.reap_after for peer in view.peers if peer.boot != self._boot]
        first = min(ends, default=math.inf) - view.now
        return max(SOON, min(regular, first + SOON + random.uniform(0.0, regular / 10)))

    # ── losing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drop(self, names: Iterable[str]) -> list[Holding]:
        """Act in these roles no more; what they were."""
        gone = [Holding(name, self._held.pop(name).term) for name in list(names) if name in self._held]
        self._tell()
        return gone

    def _lose(self, names: list[str], why: str) -> None:
        """Act in these roles no more, at once: they may be another node's."""
        log.warning("a role is lost", names=names, why=why)
        self._drop(names)
        for name in names:
            self._desk.disown(name, f"the role {name} is lost: {why}")

    async def _say_lost(self, gone: list[Holding]) -> None:
        for one in gone:
            self._hooks.lost(one.name, one.term, self._settings().node, self._boot)
        await self._hooks.send()

    def _doubt_in_time(self) -> None:
        """Look again when the first trust runs out."""
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None
        first = min((held.until for held in self._held.values()), default=math.inf)
        if first < math.inf:
            pause = max(0.0, first - self._clock.mono())
            self._doubt = asyncio.get_running_loop().call_later(pause, self._distrust)

    def _distrust(self) -> None:
        now = self._clock.mono()
        late = [name for name, held in self._held.items() if held.until <= now]
        if late:
            self._lose(late, "its lease could not be renewed in time")
        self._doubt_in_time()

    def _tell(self) -> bool:
        """Say what is held; whether everybody can serve it."""
        mine, well = self.mine(), True
        for callback in self._callbacks:
            try:
                callback(mine)
            except Exception as error:
                log.error("what belongs to a role cannot start", error=f"{type(error).__name__}: {error}")
                well = False
        return well

    # ── what it goes by ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _table(self) -> RoleSettings:
        return self._settings().roles

    @property
    def alone(self) -> bool:
        """Whether no other node can be there."""
        return not self._store.shared

    @property
    def _partakes(self) -> bool:
        return bool(self._table.names) or (self._store.shared and self._hooks.want_the_dead)

    @property
    def _lease(self) -> float:
        """Seconds of silence after which a role may be another's."""
        return min(self._table.reap_after, self._table.claim_after)

    @property
    def _fresh(self) -> float:
        """Seconds within which every node that is well looks."""
        return 1.5 * self._lease / LOOKS

    def _until(self, asked: float) -> float:
        """The end of the trust in what was asked for then."""
        return math.inf if self.alone else asked + self._lease * (1 - MARGIN)

    @property
    def _me(self) -> Candidate:
        now, table = self._settings(), self._table
        return Candidate(
            boot=self._boot, node=now.node, host=os.uname().nodename, pid=os.getpid(), reap_after=table.reap_after,
            claim_after=table.claim_after, seeks=not (self._leaving or self._claimer.cordoned),
        )  # fmt: skip

    def _ended(self, view: View) -> frozenset[str]:
        """Boots that hold nothing any more, whatever the store says."""
        if self.alone:
            return frozenset(role.owner for role in view.roles if role.owner is not None and role.owner != self._boot)
        return self._dead

    def _rules(self, view: View) -> Rules:
        now = self._clock.mono()
        self._shunned = {name: until for name, until in self._shunned.items() if until > now}
        return Rules(
            names=self._table.names,
            policy=self._table.policy,
            busy={attempt.spec.role for attempt in self._desk.attempts},
            dead=self._ended(view),
            shunned=frozenset(self._shunned),
            fresh=self._fresh,
            alone=self.alone,
        )
