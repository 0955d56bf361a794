"""A call while it runs: the bar, the output as it comes, and Ctrl-C, which cancels the job."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from types import TracebackType
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from stoker.client.aio import AsyncClient, AsyncJobHandle
from stoker.entry import details, show
from stoker.entry.session import Session
from stoker.model.errors import DaemonError, DaemonUnavailable
from stoker.model.request import Request
from stoker.wire.records import EventRecord, JobRecord

BACK_WITHIN = 60.0
"""Seconds for a daemon to come back (it restarts) before a call that waits gives up; the job is safe meanwhile."""
LOOK_EVERY = 0.5
"""Seconds between looks at a job that has not begun."""


class View(Protocol):
    """What shows a running job."""

    def event(self, event: EventRecord) -> None:
        """It said something."""

    def waits(self, why: str) -> None:
        """It has not begun, and why."""


class Silent:
    """Shows nothing."""

    def event(self, event: EventRecord) -> None:
        """Nothing is shown."""

    def waits(self, why: str) -> None:
        """Nothing is shown."""


class Plain(details.Teller):
    """Nobody looks at standard output: it is kept for the result, and what the job says goes to standard error."""

    def __init__(self) -> None:
        super().__init__(out=sys.stderr)

    def event(self, event: EventRecord) -> None:
        self.tell(event)

    def waits(self, why: str) -> None:
        """Not worth a line."""

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()


def progress_bar() -> Progress:
    """Name, bar, per cent, what it does, time."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[percent]}", markup=False),
        TextColumn("{task.fields[message]}", markup=False, style="dim"),
        TimeElapsedColumn(),
        console=show.console(),
    )


class Track:
    """One job in a progress bar."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self.task: TaskID = progress.add_task(name, total=None, percent="", message="")

    def event(self, event: EventRecord) -> None:
        if event.kind != "progress":
            return
        value = event.value()
        percent = value.get("percent")
        words = str(value.get("message") or value.get("step") or "")
        self._progress.update(
            self.task,
            total=None if percent is None else 100,
            completed=0 if percent is None else percent,
            percent="" if percent is None else f"{percent:3.0f} %",
            message=show.line(words, 60),
        )

    def waits(self, why: str) -> None:
        self._progress.update(self.task, message=show.line(why, 100))

    def done(self, message: str) -> None:
        self._progress.update(self.task, total=100, completed=100, percent="100 %", message=show.line(message, 100))
        self._progress.stop_task(self.task)

    def failed(self, message: str) -> None:
        self._progress.update(self.task, percent="failed", message=show.line(message, 100))
        self._progress.stop_task(self.task)


class Bar:
    """A terminal: the bar stays below, complete lines go above it, and the line that is being written between them."""

    def __init__(self, name: str) -> None:
        self._progress = progress_bar()
        self._track = Track(self._progress, name)
        self._line = self._kind = ""
        self._live = Live(
            self._progress, console=self._progress.console, transient=True, refresh_per_second=10,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def __enter__(self) -> Bar:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self._live.__exit__(kind, error, trace)

    def waits(self, why: str) -> None:
        self._track.waits(why)

    def event(self, event: EventRecord) -> None:
        match event.kind:
            case "progress":
                self._track.event(event)
            case "stderr" if not sys.stderr.isatty():
                sys.stderr.write(str(event.value()))
            case "stdout" | "stderr":
                self._write(event.kind, str(event.value()))
            case "chunk":
                self._write(event.kind, details.chunk(event.value()))
            case "log":
                self._flush()
                text, style = details.log_line(event)
                self._live.console.print(Text(show.clean(text), style))
            case "attempt":
                self._flush()
                self._live.console.print(Text(show.clean(f"attempt ended: {event.value().get('error')}"), "yellow"))

    def _write(self, kind: str, text: str) -> None:
        if kind != self._kind:
            self._flush()
            self._kind = kind
        *lines, self._line = (self._line + show.clean(text)).split("\n")
        for line in lines:
            self._live.console.print(Text(line))
        wide = self._live.console.width
        while show.width(self._line) > wide:  # as the terminal would break it, so that the part below stays one line
            cut = self._line.rfind(" ", 0, wide) + 1 or wide
            self._live.console.print(Text(self._line[:cut].rstrip()))
            self._line = self._line[cut:]
        self._live.update(Group(Text(self._line), self._progress) if self._line else self._progress)

    def _flush(self) -> None:
        if self._line:
            line, self._line = self._line, ""
            self._live.update(self._progress)
            self._live.console.print(Text(line))


def call(line: Session, request: Request, *, quiet: bool) -> JobRecord:
    """Submit, show, and wait for the end. KeyboardInterrupt when Ctrl-C cancelled it. Raises what submitting raises."""
    view: View
    with contextlib.ExitStack() as stack:
        if quiet:
            view = Silent()
        elif sys.stdout.isatty():
            view = stack.enter_context(Bar(request.command.partition(".")[2]))
        else:
            view = stack.enter_context(Plain())
        return asyncio.run(_call(line, request, view))


async def _call(line: Session, request: Request, view: View) -> JobRecord:
    async with AsyncClient(line.address, settings=line.settings()) as client:
        submitting = asyncio.create_task(client.submit_request(request.command, request))
        try:
            return await watch(client, await asyncio.shield(submitting), view)
        except asyncio.CancelledError:
            view.waits("cancelling it")
            handle = await submitting  # the job may run before its submission is answered
            await handle.cancel("interrupted at the command line")
            await handle.wait()
            raise


async def watch(client: AsyncClient, handle: AsyncJobHandle[object], view: View) -> JobRecord:
    """Show a job until it has ended; the record. A daemon that restarts meanwhile is waited for."""
    waiting = asyncio.create_task(_explain(handle, view))
    after = 0
    try:
        while True:
            try:
                async for event in handle.events(after):
                    if after == 0:
                        waiting.cancel()
                        view.waits("")
                    after = event.offset
                    view.event(event)
                return await handle.record()
            except DaemonUnavailable as gone:
                await _back(client, gone)
    finally:
        waiting.cancel()


async def _back(client: AsyncClient, gone: DaemonUnavailable) -> None:
    """Wait until the daemon answers again. Raises ``gone`` when it does not."""
    deadline = time.monotonic() + BACK_WITHIN
    while not await client.try_connect():
        if time.monotonic() > deadline:
            raise gone
        await asyncio.sleep(LOOK_EVERY)


async def _explain(handle: AsyncJobHandle[object], view: View) -> None:
    """Why it has not begun, for as long as it has not."""
    with contextlib.suppress(DaemonError):
        while True:
            await asyncio.sleep(LOOK_EVERY)
            record = await handle.record()
            if record.status != "new":
                view.waits("")
                return
            view.waits(record.why or "")
