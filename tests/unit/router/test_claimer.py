"""What becomes of a claim that was under way when things changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from stoker.model.clock import SystemClock
from stoker.model.command import CommandSpec
from stoker.model.job import Claimed, Overrides
from stoker.router.jobs.claimer import Claimer
from stoker.settings import Current, load

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
