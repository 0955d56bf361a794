"""The roles this node holds: claimed at start, held by renewal, given back in order, lost when they cannot be renewed.

    look ──► hold: be there, renew, see everything ──► reap the dead ──► plan ──► give back ──► claim ──► look again
             │ one statement                            │ pure: model/role.py
             └ trusted from the moment it was asked     └ what every node decides for itself

A role is trusted like a leased job (:mod:`stoker.router.jobs.trust`): from the moment of the ask, less a margin, so no
two nodes ever act in one role. When the trust is over, what runs in the role here is ended, whether or not the store
can be reached. A term fences what is done outside: it is in the input of hooks and in ``Context.role_term``.

Looks are made at random distances, so that nodes that were started together do not ask together.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
from collections.abc import Callable

import structlog

from stoker.model.clock import Clock
from stoker.model.command import CommandSpec
from stoker.model.errors import StoreError
from stoker.model.job import Claimed
from stoker.model.outcome import Outcome, Returned
from stoker.model.role import Candidate, Holding, Peer, Role, Rules, View, can_move, plan
from stoker.router.jobs.claimer import Claimer
from stoker.router.jobs.desk import Desk
from stoker.router.jobs.trust import FAREWELL, MARGIN
from stoker.router.nodes.held import Holdings
from stoker.router.nodes.hooks import Hooks, outdated
from stoker.settings import Current
from stoker.settings.fields import Roles as RoleSettings
from stoker.store.address import store_at
from stoker.store.base import Store, Wake

log = structlog.get_logger(role="router")

LOOKS = 3
"""Looks, and so renewals, in the time of one lease, at least."""
RARELY = 60.0
"""Most seconds between two looks, however long the lease (T35: the heartbeat of each minute)."""
AGAIN = 1.0
"""Most seconds until what the store could not answer is asked again."""
SOON = 0.05
"""Least seconds between two looks that nobody asked for."""


class Roles:
    """``store`` keeps the roles unless the settings name another; ``before`` is a boot that has ended for certain."""

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
        self._held = Holdings(clock, lambda late: self._lose(late, "its lease could not be renewed in time"))
        self._announced: dict[str, int] = {}
        """The term of each role of which hooks were told that it is ours."""
        self._terms: dict[str, int] = {}
        """The newest term seen of each role."""
        self._shunned: dict[str, float] = {}
        """Roles that cannot be served here, and until when they are left to others."""
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._leaving = False
        self._there = False
        """Whether the store may have heard of us."""
        if self._opens:
            self._store.listen(lambda wake: self.wake() if wake is Wake.ORDERS else None)

    # ── what others ask ──────────────────────────────────────────────────────────────────────────────────────────────

    def mine(self) -> frozenset[str]:
        """The roles that are this node's at this moment."""
        return self._held.trusted()

    def holds(self, role: str) -> bool:
        """Whether what asks for a role may run here. A daemon that is alone with its store has every role that is not
        named in the settings, too."""
        return not role or self.term(role) is not None or (self.alone and role not in self._table.names)

    def term(self, role: str) -> int | None:
        """The term in which a role is held here."""
        return self._held.term(role)

    def on_change(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Have ``callback`` called with what is held whenever that changes. One that raises cannot serve what it was
        told: the roles that came with it are given back, and left to other nodes for a while."""
        self._held.on_change(callback)

    def gate(self, job: Claimed, spec: CommandSpec) -> int | Outcome:
        """Whether a claimed job may begin here: the term of its role, 0 if it needs none, or what becomes of it."""
        if not self.holds(spec.role):
            return Returned("its role went to another node", begun=False)
        return outdated(job, spec, self._terms) or self.term(spec.role) or 0

    async def whereabouts(self, role: str) -> str:
        """Who holds a role that is not this node's, as a sentence."""
        if role not in self._table.names:
            return f"needs the role {role}, which is not in [roles] names of stoker.toml"
        try:
            found = next((one for one in (await self.view()).roles if one.name == role), None)
        except StoreError as error:
            return f"needs the role {role}; who holds it cannot be said: {error.message}"
        if found is None or found.owner is None:
            return f"needs the role {role}, which nobody holds; see `stoker roles`"
        return f"needs the role {role}: waits for {found.node}"

    async def view(self) -> View:
        """The store's view. Raises a StoreError."""
        return await self._store.roles.view()

    async def move(self, role: str, node: str) -> bool:
        """Order a role to a node; False, and nothing is done, when nobody is there who could take it."""
        if not can_move(await self.view(), role, node, self._table.policy, 2 * self._fresh):
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
        self._held.close()
        try:
            if self._there and not comes_back:
                async with asyncio.timeout(FAREWELL):
                    await self._say_lost(self._held.drop(self._held.terms))
                    await self._store.roles.leave(self._boot)
        except (StoreError, TimeoutError) as error:
            log.warning("cannot give roles back; they run out by themselves", error=str(error) or "no answer")
        if self._opens:
            await self._store.close()

    async def _run(self, pause: float) -> None:
        while self._opens and not await self._opened():
            await asyncio.sleep(AGAIN)
        while True:
            # not wait_for: that of Python 3.11 may lose a cancellation
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if pause == math.inf else pause):
                    await self._soon.wait()
            self._soon.clear()
            pause = await self._try()

    async def _opened(self) -> bool:
        try:
            await self._store.open(math.inf)
        except StoreError as error:
            log.error("cannot open the store of roles; trying again", error=error.message)
            return False
        return True

    async def _try(self) -> float:
        try:
            return await self.look()
        except StoreError as error:
            log.error("cannot look after roles; trying again", error=error.message)
        except Exception:
            log.exception("looking after roles failed by our own fault; trying again")
        return min(AGAIN, self._lease / LOOKS)

    async def look(self) -> float:
        """Renew, reap, give back and claim; the seconds until the next time. Raises a StoreError."""
        if not self._partakes and not self._held:
            return math.inf
        self._there = True
        self._held.check()
        me, asked = self._me, self._clock.mono()
        view = await self._store.roles.hold(me, self._held.all)
        self._hear(view, asked)
        await self._reap(view)  # before anything is claimed: the dead are told with what they held
        planned = plan(view, me, self._held.terms, self._rules(view))
        if planned.release:
            log.info("giving roles back", roles=planned.release)
            gone = self._held.drop(planned.release)
            await self._say_lost(gone)
            await self._store.roles.release(self._boot, gone)
        if planned.claim:
            await self._claim(me, planned.claim, view)
        await self._forget(view)
        await self._hooks.send(self._held.terms)
        return self._pause(view)

    # ── the steps of a look ──────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, view: View, asked: float) -> None:
        """What was renewed is trusted from the moment of the ask; what is another's by now is lost."""
        for role in view.roles:
            self._terms[role.name] = role.term  # also a lower one: a failover may lose the last commits
        ours = {role.name: role.term for role in view.roles if role.owner == self._boot}
        for one in self._held.all:
            if ours.get(one.name) == one.term:
                self._held.keep(one.name, one.term, self._until(asked))
            else:
                self._lose([one.name], "another node holds it by now")

    async def _claim(self, me: Candidate, names: list[str], view: View) -> None:
        asked = self._clock.mono()
        taken = await self._store.roles.claim(me, names, sorted(self._ended(view)))
        until = self._until(asked)
        gained = []
        for one in taken:
            self._terms[one.name] = one.term
            # an own term whose answer never came was no holding
            if one.owner is not None and (one.owner != me.boot or self._announced.get(one.name) == one.term - 1):
                self._hooks.lost(one.name, one.term - 1, one.node, one.owner)
            if until <= self._clock.mono():
                continue  # answered too late to be trusted; the next look takes it anew
            self._held.keep(one.name, one.term, until)
            gained.append(one.name)
            log.info("holding a role", name=one.name, term=one.term, taken_from=one.node if one.owner else None)
        if gained and not self._held.tell():
            self._shunned.update(dict.fromkeys(gained, self._clock.mono() + 2 * self._lease))
            await self._store.roles.release(self._boot, self._held.drop(gained))
            return
        for name in gained:
            self._announced[name] = self._terms[name]
            self._hooks.acquired(name, self._terms[name], me.node, me.boot)
        self._claimer.wake()

    async def _reap(self, view: View) -> None:
        """Say that a silent node is dead, and only then forget it: who dies in between leaves it to the next."""
        for peer in view.others(self._boot):
            if not (self.alone or peer.boot in self._dead) and peer.silent(view.now):
                await self._bury(peer, [role for role in view.roles if role.owner == peer.boot])

    async def _forget(self, view: View) -> None:
        """Earlier starts of this very node are no dead ones; what they held was taken over by now, or is free."""
        for peer in view.others(self._boot):
            if self.alone or peer.boot in self._dead:
                await self._store.roles.leave(peer.boot)

    async def _bury(self, peer: Peer, held: list[Role]) -> None:
        names = [role.name for role in held]
        self._hooks.node_dead(peer, names)
        for role in held:
            self._hooks.lost(role.name, role.term, role.node, peer.boot)
        if await self._hooks.send(self._held.terms) and await self._store.roles.reap(peer.boot):
            log.warning("a node is dead", node=peer.node, boot=peer.boot, roles=names)
            self.wake()

    def _pause(self, view: View) -> float:
        """Until the next look: early enough to renew, and when somebody's time is over."""
        if self.alone:
            return math.inf  # nobody else can come
        regular = min(self._lease / LOOKS, RARELY) * random.uniform(0.5, 1.0)
        return max(SOON, min(regular, view.soonest(self._boot) + SOON + random.uniform(0.0, regular / 10)))

    # ── losing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _lose(self, names: list[str], why: str) -> None:
        """Act in these roles no more, at once: they may be another node's."""
        log.warning("a role is lost", names=names, why=why)
        self._held.drop(names)
        for name in names:
            self._desk.disown(name, f"the role {name} is lost: {why}")

    async def _say_lost(self, gone: list[Holding]) -> None:
        for one in gone:
            self._hooks.lost(one.name, one.term, self._settings().node, self._boot)
        await self._hooks.send(self._held.terms)

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
        return Rules(
            names=self._table.names,
            policy=self._table.policy,
            busy={attempt.spec.role for attempt in self._desk.attempts},
            dead=self._ended(view),
            shunned=frozenset(name for name, until in self._shunned.items() if until > now),
            fresh=self._fresh,
            alone=self.alone,
        )
