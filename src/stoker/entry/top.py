"""``stoker top``: one frame of what the daemon does now, again and again."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import psutil
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from stoker.client.sync import Client
from stoker.entry import details, show
from stoker.model.errors import DaemonUnavailable
from stoker.model.quantities import show_size

JOBS = 10
BRIEF = 5


class Top:
    """Makes frames. Kept between frames, because a share of a processor is a difference between two looks."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: dict[int, psutil.Process] = {}

    def frame(self) -> RenderableType:
        """What is so now."""
        stats = self._client.stats()
        jobs = self._client.jobs(limit=JOBS)
        parts: list[RenderableType] = [_head(stats), Text()]
        parts += [self._processes(stats), Text()]
        if stats["slots"]:
            parts += [Text("running", "bold"), details.slots(stats), Text()]
        if jobs:
            parts += [Text("newest jobs", "bold"), details.listing(jobs)]
        return Group(*parts)

    def brief(self) -> RenderableType:
        """The same in a few lines."""
        return Group(_head(self._client.stats()), Text(), details.listing(self._client.jobs(limit=BRIEF)))

    def _processes(self, stats: dict[str, Any]) -> RenderableType:
        """The daemon's processes, where they are on this machine."""
        held = {slot["pid"]: slot["command"] for slot in stats["slots"]}
        rows = []
        for pid, kind in self._pids(stats):
            with contextlib.suppress(psutil.Error):
                found = self._seen.setdefault(pid, psutil.Process(pid))
                rows.append(
                    (pid, kind, f"{found.cpu_percent():.0f} %", show_size(found.memory_info().rss), held.get(pid, ""))
                )
        self._seen = {pid: found for pid, found in self._seen.items() if any(pid == row[0] for row in rows)}
        if not rows:
            return Text("its processes are not on this machine", "dim")
        return show.table(("pid", "process", "cpu", "memory", "runs"), rows, right=("pid", "cpu", "memory"))

    def _pids(self, stats: dict[str, Any]) -> list[tuple[int, str]]:
        try:
            router = psutil.Process(stats["pid"])
            if stats["zygote"] not in [child.pid for child in router.children()]:
                return []  # the same number, but another machine's
            above = router.parent()
            found = [(above.pid, "up")] if above is not None and above.cmdline()[0].endswith("-up") else []
            zygote = psutil.Process(stats["zygote"])
            consumers = [(child.pid, _kind(child)) for child in zygote.children()]
        except (psutil.Error, IndexError):
            return []
        return [*found, (router.pid, "router"), (zygote.pid, "zygote"), *consumers]


def _kind(process: psutil.Process) -> str:
    """What the process calls itself: the last word of its title's first one."""
    with contextlib.suppress(psutil.Error, IndexError):
        return str(process.cmdline()[0].split()[0].rpartition("-")[2])
    return "consumer"


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
