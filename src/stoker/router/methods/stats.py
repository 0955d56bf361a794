"""What clients may ask about figures: of the machine, of every worker, and what they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stoker.model.errors import RequestError
from stoker.model.stats import CommandInfo, FleetWorker, JobsInfo, PoolInfo, Sample, SystemInfo, WorkerInfo
from stoker.router.house import House
from stoker.router.stats.meter import Stored, command_infos, unpacked
from stoker.router.stats.sampler import FINE_KEPT, TOLD_EVERY
from stoker.store.stats import PAGE_MAX, Period
from stoker.wire.records import iso

HOUR = 3600.0
LOOK_BACK = 4 * TOLD_EVERY
"""Seconds that are looked back for what other nodes said of their workers."""
LIMIT = 1000


class History(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float = HOUR
    node: str | None = None
    coarse: bool | None = None
    limit: int = LIMIT


class Pings(msgspec.Struct, forbid_unknown_fields=True):
    all: bool = False


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


async def worker_pings(house: House, _role: str, params: Pings) -> Sequence[WorkerInfo]:
    """Every live worker as it is now; each that stays is asked, also in the middle of a job. ``all``: and those of the
    other nodes, as they were when their nodes looked at them last."""
    here = await house.sampler.workers()
    if not params.all:
        return here
    mine = _of_fleet(here, house.settings().node, house.boot, 0.0)
    now, alive = house.store.now(), {node.boot for node in await house.store.nodes() if node.alive}
    last: dict[str, list[FleetWorker]] = {}
    for period in await house.store.stats.since(now - LOOK_BACK, coarse=False):
        if period.boot in alive - {house.boot} and (stored := _stored(period)) and stored.workers is not None:
            last[period.boot] = _of_fleet(stored.workers, period.node, period.boot, max(0.0, now - period.at))
    others = [worker for found in last.values() for worker in found]
    return sorted([*mine, *others], key=lambda one: (one.node, one.boot, one.pid))


def _of_fleet(workers: list[WorkerInfo], node: str, boot: str, ago: float) -> list[FleetWorker]:
    return [FleetWorker(**msgspec.structs.asdict(one), node=node, boot=boot, seen_ago=round(ago, 1)) for one in workers]


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
    stored = _stored(period)
    if stored is None:
        return None
    try:
        commands = {name: unpacked(tally) for name, tally in stored.commands.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
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


def _stored(period: Period) -> Stored | None:
    """None for one that another version wrote otherwise."""
    try:
        return msgspec.json.decode(period.data, type=Stored)
    except msgspec.MsgspecError:
        return None
