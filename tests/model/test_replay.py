"""The M1 model and the product: random runs of the model are carried out on a real store, step by step.

    model   World ── "settle n0 f1" ──► World        after every step: state, owner, attempt, fence, what is abandoned
               ║                          ║
    store   jobs, claims ── settle() ──► the same    at every step: the answers of claim, settle, renew, abandoned

What happens in a node alone (a child dies, an answer is lost) has no step in the store. Endings come from the product's
own :func:`~stoker.model.settle.after`, so that the number of starts is its decision, not the model's.
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

from stoker.model import settle
from stoker.model.command import Backoff, CommandSpec
from stoker.model.job import Claimed
from stoker.model.outcome import Blame, Done, Fault, Lost
from stoker.store.base import Held, Quota, Settlement
from tests.contract.make import job, put
from tests.contract.places import ONE_DAEMON, PLACES, Place
from tests.model import leases
from tests.model.leases import OVER, Leases, Rules, World, is_fault
from tests.model.search import walk

SEED = 20260103
WALKS = 40
STEPS = 60
TICK = 10.0
HALF = TICK / 2
"""A lease ends half a tick after the model's last moment of it, so that no comparison is a matter of rounding."""
MEMORY = "/dev/shm"
RETRIES = 2
FAULT = Fault("Lost", "gone")


class Replay:
    """One run of the model on a real store: a command, a job and two boots of its own."""

    def __init__(self, place: Place, number: int) -> None:
        self.place = place
        self.command = f"app.walk{number}"
        self.id = f"walk-{number}"
        self.spec = CommandSpec(name=self.command, backoff=Backoff(retries=RETRIES, base=0.0))
        self.boots = [f"w{number}-n0-1", f"w{number}-n1-1"]
        self.claimed: dict[int, Claimed] = {}
        self.done: Counter[str] = Counter()

    async def start(self) -> None:
        self.store = await self.place.open()
        await put(self.store, job(self.command, id=self.id))

    async def step(self, name: str, before: World, after: World) -> None:
        word, n, fence = parsed(name)
        self.done[word] += 1
        match word:
            case "tick":
                self.place.advance(TICK)
            case "claim":
                await self._claim(n, after)
            case "settle" | "settle-unheard":
                phase = next(child.phase for child in before.nodes[n].children if child.fence == fence)
                await self._settle(fence, Done(b"1") if phase == "done" else Lost(FAULT, Blame.JOB), before, after)
            case "reap-write":
                await self._settle(fence, Lost(FAULT, Blame.HOUSE), before, after)
            case "reap-read":
                found = [one for one in await self.store.abandoned(self.boots[n]) if one.id == self.id]
                assert found == [self.claimed[fence]]
            case "renew-write":
                await self._renew(n, before, after)
            case "crash":
                self.boots[n] = f"{self.boots[n]}+"
        await self.compare(after)

    async def _claim(self, n: int, after: World) -> None:
        # what another has is not to be had once more
        length = leases.LEASE * TICK + HALF
        (claimed,) = await self.store.claim(self.boots[n], length, [Quota(self.command, 2)], 2)
        assert await self.store.claim(self.boots[1 - n], length, [Quota(self.command, 2)], 2) == []
        assert (claimed.id, claimed.fence, claimed.attempt) == (self.id, after.row.fence, after.row.attempt)
        self.claimed[claimed.fence] = claimed

    async def _settle(self, fence: int, outcome: Done | Lost, before: World, after: World) -> None:
        claimed = self.claimed[fence]
        ending = settle.after(claimed, outcome, self.spec, now=self.store.now(), chance=0.0)
        answer = await self.store.settle([Settlement(claimed.seq, fence, ending, claimed.key)])
        accepted = before.row != after.row
        assert answer == [accepted]
        self.done["accepted" if accepted else "refused"] += 1

    async def _renew(self, n: int, before: World, after: World) -> None:
        asked, answered = before.nodes[n].renewal, after.nodes[n].renewal
        assert asked is not None
        assert answered is not None
        held = [Held(self.claimed[fence].seq, fence) for fence in asked.named]
        mine = await self.store.renew(self.boots[n], leases.LEASE * TICK + HALF, held)
        assert mine == [fence in (answered.mine or ()) for fence in asked.named]
        self.done["extended" if any(mine) else "not extended"] += 1

    async def compare(self, world: World) -> None:
        row, found = world.row, await self.store.get(self.id)
        assert (found.state, found.attempt, found.fence) == (row.state, row.attempt, row.fence)
        match row.owner:
            case leases.NOBODY:
                assert found.owner is None
            case leases.GONE:
                assert found.owner is not None
                assert found.owner not in self.boots
            case n:
                assert found.owner == self.boots[n]
        for n, boot in enumerate(self.boots):
            lost = row.state == "running" and (row.left <= OVER or (self._alone and row.owner != n))
            assert [one.id for one in await self.store.abandoned(boot) if one.id == self.id] == [self.id] * lost

    @property
    def _alone(self) -> bool:
        """Where the store is one daemon's, any other boot's jobs are abandoned at once."""
        return ONE_DAEMON in self.place.capabilities


def parsed(name: str) -> tuple[str, int, int]:
    """The step, the node and the fence."""
    word, *rest = name.split()
    numbers = {part[0]: int(part[1:]) for part in rest}
    return word, numbers.get("n", -1), numbers.get("f", 0)


def weight(name: str) -> int:
    """Faults and time are rare enough that something comes of what is begun."""
    if name.startswith("crash"):
        return 1
    return 2 if is_fault(name) or name == "tick" else 5


async def replay(place: Place, rules: Rules) -> Counter[str]:
    chance, done = random.Random(SEED), Counter[str]()
    for number in range(WALKS):
        run = Replay(place, number)
        await run.start()
        trace = []
        for name, before, after in walk(World(), Leases(rules).steps, weight, chance, STEPS):
            trace.append(name)
            try:
                await run.step(name, before, after)
            except AssertionError as error:
                error.add_note(f"seed {SEED}, run {number}: {', '.join(trace)}")
                raise
            if after.row.ended and not any(node.children or node.seen for node in after.nodes):
                break
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
            done = runner.run(replay(place, Rules()))
        finally:
            runner.run(place.close())
    print(f"M1 on {kind.__name__}: {dict(done)}")
    # all that the model says was tried, each way
    assert min(done[word] for word in ("accepted", "refused", "extended", "not extended", "reap-write", "crash")) >= 5


@pytest.mark.parametrize("rule", ["settle_by_owner", "reap_by_id", "count_at_failure", "renew_by_owner"])
def test_a_model_of_other_rules_does_not_agree(rule: str, folder: Path) -> None:
    """The runs are long and many enough to tell the product from what it must not be."""
    with asyncio.Runner() as runner:
        place = PLACES["sqlite"](folder)
        try:
            with pytest.raises(AssertionError):
                runner.run(replay(place, Rules()._replace(**{rule: True})))
        finally:
            runner.run(place.close())
