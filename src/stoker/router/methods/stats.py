"""What clients may ask about figures: of the machine, of every worker, and what they were."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.model.errors import RequestError
from stoker.model.stats import CommandInfo, JobsInfo, PoolInfo, Sample, SystemInfo, WorkerInfo
from stoker.router.house import House
from stoker.router.stats.meter import Stored, command_infos, unpacked
from stoker.router.stats.sampler import FINE_KEPT
from stoker.store.stats import PAGE_MAX, Period
from stoker.wire.records import iso

HOUR = 3600.0
LIMIT = 1000


class History(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float = HOUR
    node: str | None = None
    coarse: bool | None = None
    limit: int = LIMIT


class PeriodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a node measured in one period. ``at`` is when it ended."""

    at: str | None
    node: str
    boot: str
    seconds: float
    system: SystemInfo
    jobs: JobsInfo
    pools: list[PoolInfo]
    commands: list[CommandInfo]


async def stats(house: House, _role: str, _params: Any) -> dict[str, Any]:
    """Jobs, clients, slots and pools as they are now."""
    return await house.figures.stats()


async def health(house: House, _role: str, _params: Any) -> dict[str, Any]:
    """Whether it works, and if not, why."""
    return await house.figures.health()


async def metrics(house: House, _role: str, _params: Any) -> str:
    """All figures, as Prometheus reads them."""
    return await house.figures.prometheus()


async def command_stats(house: House, _role: str, _params: Any) -> list[dict[str, Any]]:
    """Runs, failures and times of each command since the daemon began."""
    return await house.figures.command_figures()


async def system_info(house: House, _role: str, _params: Any) -> SystemInfo:
    """The machine as it is now."""
    return await house.sampler.system()


async def worker_pings(house: House, _role: str, _params: Any) -> list[WorkerInfo]:
    """Every live worker as it is now; each that stays is asked, also in the middle of a job."""
    return await house.sampler.workers()


async def sys_stats(house: House, _role: str, _params: Any) -> Sample:
    """The last sample."""
    return await house.sampler.latest()


async def stats_history(house: House, _role: str, params: History) -> list[PeriodRecord]:
    """What the nodes measured within the last so many ``seconds``, oldest first: for an hour back each sample in which
    something happened, for longer each minute; ``coarse`` chooses otherwise. The newest, if there are more than
    ``limit``."""
    if not 0 < params.seconds < float("inf"):
        raise RequestError(f"seconds is a number above 0, not {params.seconds}")
    if not 0 < params.limit <= PAGE_MAX:
        raise RequestError(f"limit lies between 1 and {PAGE_MAX}, not {params.limit}")
    coarse = params.seconds > FINE_KEPT if params.coarse is None else params.coarse
    after = house.store.now() - params.seconds
    found = await house.store.stats.since(after, coarse=coarse, node=params.node, limit=params.limit)
    return [record for period in found if (record := _record(period)) is not None]


def _record(period: Period) -> PeriodRecord | None:
    """None for one that another version wrote otherwise."""
    try:
        stored = msgspec.json.decode(period.data, type=Stored)
        commands = {name: unpacked(tally) for name, tally in stored.commands.items()}
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return PeriodRecord(
        at=iso(period.at),
        node=period.node,
        boot=period.boot,
        seconds=round(period.seconds, 3),
        system=stored.system,
        jobs=stored.jobs,
        pools=stored.pools,
        commands=command_infos(commands, period.seconds),
    )
