"""What becomes of a claim that was under way when things changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from stoker.model.clock import SystemClock
from stoker.model.command import CommandSpec
from stoker.model.job import Claimed, Overrides
from stoker.model.pool import PoolSpec
from stoker.router.jobs.claimer import Claimer
from stoker.router.pools.lanes import FORK
from stoker.settings import Current, load
from stoker.store.base import Quota

JOB = Claimed(1, "1", "shop.pack", b"{}", 1, 1, None, (), Overrides(), 0.0)


class Slow:
    """A store whose answer to a claim is given by the test, and a pool that has room for all of one command."""

    shared = True
    commands = {"shop.pack": CommandSpec(name="shop.pack")}  # noqa: RUF012

    def __init__(self) -> None:
        self.lanes: Any = self
        self.pools: Any = {"shop": self}
        self.enabled = True
        self.answer: asyncio.Future[list[Claimed]] = asyncio.get_running_loop().create_future()

    def of(self, _: CommandSpec) -> str:
        return "shop"

    def room(self, _: CommandSpec) -> int:
        return 1

    def claim(self, *_: object) -> asyncio.Future[list[Claimed]]:
        return self.answer


def test_what_comes_after_the_cordon_does_not_begin(tmp_path: Path) -> None:
    """The claim stood in line when the cordon was heard: whoever was told that nothing begins here can rely on it."""

    async def within() -> None:
        world: Any = Slow()
        begun: list[Claimed] = []
        declined: asyncio.Future[list[Claimed]] = asyncio.get_running_loop().create_future()
        settings = Current(load({"root": str(tmp_path)}, environ={}))
        claimer = Claimer(
            world, world, settings, SystemClock(), "boot", lambda jobs, _: begun.extend(jobs),
            lambda jobs, _: declined.set_result(jobs),
        )  # fmt: skip
        claimer.wake()
        claimer.cordon(True)
        world.answer.set_result([JOB])
        assert await asyncio.wait_for(declined, 20) == [JOB]
        assert begun == []

    asyncio.run(within())


class Shared:
    """A pool with room, of which products have shares, and a store in which two jobs under a rate wait, and later
    nothing."""

    shared = True
    commands = {name: CommandSpec(name=name, interval=0.001) for name in ("shop.pack", "zoo.feed")}  # noqa: RUF012

    def __init__(self) -> None:
        self.lanes: Any = self
        self.consumers: Any = self
        self.pools = {product: PoolSpec(product=product, weight=2) for product in ("shop", "zoo")}
        self.by_product: dict[str, int] = {}
        self.waiting = 2
        self.asked = 0

    def of(self, _: CommandSpec) -> str:
        return FORK

    def room(self, _: CommandSpec) -> int:
        return 4

    async def claim(self, _boot: str, _lease: float, quotas: list[Quota], _total: int) -> list[Claimed]:
        self.asked += 1
        if quotas[0].command != JOB.command or not self.waiting:
            return []
        self.waiting -= 1
        return [JOB]


def test_a_rate_lets_the_next_one_go_where_products_have_shares(tmp_path: Path) -> None:
    """And nobody is asked any more when all is done, though there are two products with rates."""

    async def within() -> None:
        world: Any = Shared()
        begun: asyncio.Queue[Claimed] = asyncio.Queue()
        settings = Current(load({"root": str(tmp_path)}, environ={}))
        claimer = Claimer(
            world, world, settings, SystemClock(), "boot", lambda jobs, _: begun.put_nowait(jobs[0]), lambda *_: None
        )
        claimer.wake()
        for _ in range(2):
            assert await asyncio.wait_for(begun.get(), 20) == JOB
        while claimer._rates._timer is not None or claimer._task is not None:
            assert world.asked < 50
            await asyncio.sleep(0)
        await claimer.stop()

    asyncio.run(within())
