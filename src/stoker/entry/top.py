"""``stoker top``: one frame of what the daemon does now, again and again."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from stoker.client.sync import Client
from stoker.entry import details, figures, show
from stoker.model.errors import DaemonUnavailable
from stoker.model.quantities import show_size
from stoker.model.stats import MB, Sample, SystemInfo, WorkerInfo

JOBS = 10
BRIEF = 5


class Top:
    """Makes frames."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def frame(self) -> RenderableType:
        """What is so now."""
        stats = self._client.stats()
        jobs = self._client.jobs(limit=JOBS)
        sample = self._client.ask("sys_stats", Sample)
        workers = self._client.ask("getWorkerPings", list[WorkerInfo])
        parts: list[RenderableType] = [_head(stats), _system(sample.system), Text()]
        parts += [figures.processes(sample.processes, workers), Text()]
        if stats["slots"]:
            parts += [Text("running", "bold"), details.slots(stats), Text()]
        if jobs:
            parts += [Text("newest jobs", "bold"), details.listing(jobs)]
        return Group(*parts)

    def brief(self) -> RenderableType:
        """The same in a few lines."""
        return Group(_head(self._client.stats()), Text(), details.listing(self._client.jobs(limit=BRIEF)))


def _head(stats: dict[str, Any]) -> RenderableType:
    well = stats["health"]["ok"]
    first = Text.assemble(
        ("stoker ", "bold"), f"{stats['node']}  up {show.uptime(stats['uptime'])}  ",
        (f"{stats['consumers']} of {stats['consumers_max']} slots busy", "yellow" if stats["consumers"] else ""),
        f"  {stats['queued']} queued  {stats['scheduled']} scheduled  {stats['rate']:g} jobs/s",
    )  # fmt: skip
    second = Text.assemble(
        (f"{stats['completed']} completed  ", "green"),
        (f"{stats['failed']} failed  ", "red" if stats["failed"] else ""),
        (f"{stats['cancelled']} cancelled  ", ""),
        (show.line(stats["health"]["message"], 120), "" if well else "bold red"),
    )
    return Group(first, second)


def _system(system: SystemInfo) -> RenderableType:
    load = " ".join(f"{one:.2f}" for one in system.load)
    return Text(
        f"{system.host}  cpu {system.cpu_percent:.0f} % of {show.count(system.cores, 'core')}  load {load}  memory "
        f"{show_size(round(system.memory_used_mb * MB))} of {show_size(round(system.memory_total_mb * MB))}", "dim"
    )  # fmt: skip


def once(client: Client) -> None:
    """One frame."""
    show.say(Top(client).frame())


def run(client: Client, interval: float) -> None:
    """Frames on the whole screen, until Ctrl-C. A daemon that goes away is waited for."""
    top = Top(client)
    with Live(top.frame(), console=show.console(), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                frame = top.frame()
            except DaemonUnavailable as gone:
                frame = Text(show.clean(gone.message), "red")
            live.update(frame, refresh=True)
