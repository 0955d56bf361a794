"""The M2 model and the product: random runs of the election are carried out on a real store, step by step.

    model   World ── "answer n0" ──► World            after every step: owner, term, what is left of the lease
               ║                       ║
    store   hold() and claim() ──► the same           at every write: whether the term is refused as an old one

A model's answer is two calls of the store: one that extends, and where nothing was extended, one that claims.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.model import hook
from stoker.model.command import CommandSpec
from stoker.model.job import Claimed, Overrides
from stoker.model.role import Candidate, Holding, Role
from stoker.router.nodes.hooks import outdated
from stoker.store.base import Store
from tests.contract.places import PLACES, Place
from tests.model import roles
from tests.model.roles import Roles, Rules, World
from tests.model.search import walk

SEED = 20260217
WALKS = 70
STEPS = 40
TERMS = 6
TICK = 10.0
HALF = TICK / 2
"""A lease ends half a tick before the model's last moment of it, so that no comparison is a matter of rounding."""
LEASE = roles.LEASE * TICK - HALF
MEMORY = "/dev/shm"
HOOK = CommandSpec(name="ops.hook", hook=f"{hook.ACQUIRED}:")


class Replay:
    """One run of the model on a real store: a role and two boots of its own."""

    def __init__(self, place: Place, store: Store, number: int) -> None:
        self.place = place
        self.store = store
        self.name = f"role-{number}"
        self.boots = [f"w{number}-n0-1", f"w{number}-n1-1"]
        self.done: Counter[str] = Counter()

    async def step(self, name: str, before: World, after: World) -> None:
        word, _, node = name.partition(" n")
        self.done[word] += 1
        match word:
            case "tick":
                self.place.advance(TICK)
            case "answer":
                await self._answer(int(node), before, after)
            case "write" | "write-unheard":
                await self._write(int(node), before, after)
            case "resign":
                await self._resign(int(node), before)
            case "crash":
                self.boots[int(node)] += "+"
        await self.compare(after)

    async def _answer(self, n: int, before: World, after: World) -> None:
        asked, answered = before.nodes[n].ask, after.nodes[n].ask
        assert asked is not None
        assert answered is not None
        me = Candidate(boot=self.boots[n], node=f"n{n}", reap_after=LEASE, claim_after=LEASE)
        held = [Holding(self.name, asked.term)] if asked.term else []
        view = await self.store.roles.hold(me, held)
        role = next((role for role in view.roles if role.name == self.name), None)
        extended = role is not None and role.owner == me.boot and role.term == asked.term
        if extended:
            self.done["extended"] += 1
            assert answered.term == asked.term
        elif after.role.term == TERMS == before.role.term and self._is_free(before, n):
            self.done["no more terms"] += 1  # the model is bounded, the store is not
        else:
            taken = await self.store.roles.claim(me, [self.name])
            self.done["granted" if taken else "denied"] += 1
            assert [one.term for one in taken] == ([answered.term] if answered.term else [])

    def _is_free(self, world: World, n: int) -> bool:
        return world.role.owner in (n, roles.NOBODY) or world.role.left <= 0

    async def _write(self, n: int, before: World, after: World) -> None:
        """What a node does outside in a term it no longer has is refused."""
        duty = before.nodes[n].duty
        assert duty is not None
        role = await self._role()
        assert role is not None
        tags = (f"role:{self.name}", f"term:{duty.term}")
        job = Claimed(1, "a", HOOK.name, b"{}", 1, 1, None, tags, Overrides(), 0.0)
        refused = outdated(job, HOOK, {self.name: role.term}) is not None
        assert refused == (duty.term != before.role.term)
        if after.role.slots != before.role.slots:
            assert not refused, "an old term wrote"
        self.done["refused" if refused else "accepted"] += 1

    async def _resign(self, n: int, before: World) -> None:
        mine = before.role.owner == n and before.role.term == before.nodes[n].term
        given = await self.store.roles.release(self.boots[n], [Holding(self.name, before.nodes[n].term)])
        assert given == ([self.name] if mine else [])

    async def _role(self) -> Role | None:
        return next((role for role in (await self.store.roles.view()).roles if role.name == self.name), None)

    async def compare(self, world: World) -> None:
        role, found = world.role, await self._role()
        if found is None:
            assert (role.term, role.owner) == (0, roles.NOBODY)
            return
        assert found.term == role.term
        match role.owner:
            case roles.NOBODY:
                assert found.owner is None
            case roles.GONE:
                assert found.owner is not None
                assert found.owner not in self.boots
            case n:
                assert found.owner == self.boots[n]
        if role.owner != roles.NOBODY:
            assert (found.until < self.store.now()) == (role.left <= 0)


def weight(name: str) -> int:
    """Faults are rare enough that something comes of what is begun, and what is to be written waits for long."""
    if name.startswith(("crash", "write")):
        return 1
    return 2 if name.startswith(("lose", "resign")) else 8


async def replay(place: Place, rules: Rules) -> Counter[str]:
    chance, done, store = random.Random(SEED), Counter[str](), await place.open()
    for number in range(WALKS):
        run = Replay(place, store, number)
        trace = []
        for name, before, after in walk(World(), Roles(rules).steps, weight, chance, STEPS):
            trace.append(name)
            try:
                await run.step(name, before, after)
            except AssertionError as error:
                error.add_note(f"seed {SEED}, run {number}: {', '.join(trace)}")
                raise
        done += run.done
    return done


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="stoker-replay-", dir=MEMORY if os.path.isdir(MEMORY) else None))
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("kind", PLACES.values(), ids=PLACES.keys())
def test_a_store_does_what_the_model_does(kind: type[Place], folder: Path) -> None:
    with asyncio.Runner() as runner:
        place = kind(folder)
        try:
            done = runner.run(replay(place, Rules(terms=TERMS)))
        finally:
            runner.run(place.close())
    print(f"M2 on {kind.__name__}: {dict(done)}")
    # all that the model says was tried, each way
    words = ("granted", "denied", "extended", "accepted", "refused", "resign", "crash", "lose")
    assert min(done[word] for word in words) >= 5


@pytest.mark.parametrize("rule", ["term_guard", "term_stays"])
def test_a_model_of_other_rules_does_not_agree(rule: str, folder: Path) -> None:
    """The runs are long and many enough to tell the product from what it must not be."""
    with asyncio.Runner() as runner:
        place = PLACES["sqlite"](folder)
        try:
            with pytest.raises(AssertionError):
                runner.run(replay(place, Rules(terms=TERMS)._replace(**{rule: False})))
        finally:
            runner.run(place.close())
