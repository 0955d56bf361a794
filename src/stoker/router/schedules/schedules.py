"""Schedules in the daemon: their files and declarations read and watched, and the ticker given what it needs of us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from stoker.model.command import CommandSpec
from stoker.model.errors import AppError, RequestError, SettingsError, StoreError
from stoker.model.job import Submission
from stoker.model.request import Request
from stoker.model.schedule import Defaults, Entry, declared_by, is_ours
from stoker.model.schedule_keys import Kind
from stoker.router.jobs.admission import Admission
from stoker.router.nodes.roles import Roles
from stoker.router.pools.pool import Pool
from stoker.schedule import files
from stoker.schedule.files import Book, Problem
from stoker.schedule.ticker import Ticker
from stoker.settings import Current
from stoker.store.base import Store

log = structlog.get_logger(role="ticker")

SHOWN = 20
"""Problems that the log shows."""


class Schedules:
    """One per router. ``wake`` and ``cancel`` are how jobs are begun and ended here, ``renew`` loads the code anew."""

    def __init__(
        self, settings: Current, store: Store, pool: Pool, admission: Admission, roles: Roles,
        wake: Callable[[set[str]], None], cancel: Callable[[str, str], Awaitable[object]],
        renew: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._pool = pool
        self._admission = admission
        self._roles = roles
        self._wake = wake
        self._cancel = cancel
        self._renew = renew
        self._marks: files.Marks = {}
        self._known: Mapping[str, CommandSpec] = {}
        self._task: asyncio.Task[None] | None = None
        self._book = Book({}, [], [], {})
        self._problems: list[Problem] = []
        self.ticker = Ticker(store, settings, self)
        roles.on_change(lambda _: self.ticker.look())

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def read(self) -> Book:
        """The files as they are now. Raises :class:`SettingsError` when they cannot be used; those in force stay."""
        book = await asyncio.to_thread(files.load, self._settings())
        self._marks = book.marks
        self._problems = book.problems
        for problem in book.problems[:SHOWN]:
            log.error("schedule file", problem=str(problem)) if problem.wrong else log.warning(str(problem))
        if book.fatal:
            more = f" (and {len(book.fatal) - 1} more)" if len(book.fatal) > 1 else ""
            raise SettingsError(f"{book.fatal[0]}{more}; `stoker check` shows all")
        if not self.ticker.entries:
            self.ticker.foresee(book.entries)
        return book

    async def adopt(self, book: Book) -> None:
        """Go by these files, and by what the loaded code declares, from now on. Raises a StoreError."""
        self._known = self._pool.commands
        by_daemon = self._settings().schedules.by == "daemon"
        entries = dict(book.entries) if by_daemon else {}
        for entry in self._declared():
            if entry.name in book.entries:
                log.error("a schedule is declared twice; the file counts", schedule=entry.name, code=entry.where)
            else:
                entries[entry.name] = entry
        for entry in entries.values():
            if entry.kind is Kind.JOB and entry.what not in self._known:
                log.error("no application registers what a schedule runs", schedule=entry.name, command=entry.what)
        await self.ticker.set(entries.values())
        self._book = book
        if entries:
            log.info("schedules loaded", entries=len(entries), files=len(book.files))

    def look(self) -> None:
        """Notice changes: of files, of code, of the clock, of roles."""
        self.ticker.look()
        if self._task is not None:
            return
        if self._marks != files.marks(self._settings()):
            self._begin(self._reread())
        elif self._known is not self._pool.commands:
            self._begin(self.adopt(self._book))

    def stop(self) -> None:
        """Begin nothing more."""
        self.ticker.stop()
        if self._task is not None:
            self._task.cancel()

    async def stopped(self) -> None:
        """Until what was being decided is."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self.ticker.stopped()

    def _begin(self, work: Awaitable[None]) -> None:
        async def carry_out() -> None:
            try:
                await work
            except (SettingsError, AppError) as error:
                log.error("the schedules in force stay: the files cannot be used", error=error.message)
            except StoreError as error:
                log.error("the schedules in force stay", error=error.message)
                self._marks = {}  # to be tried again at the next look
            finally:
                self._task = None

        self._task = asyncio.get_running_loop().create_task(carry_out(), name="schedules")

    async def _reread(self) -> None:
        book = await self.read()
        if book.entries and not any(map(is_ours, self._pool.commands)):
            await self._renew()  # what is loaded knows nothing of schedule files: there were none
        await self.adopt(book)

    def _declared(self) -> list[Entry]:
        """What ``@product.cron`` says."""
        defaults = Defaults(tz=self._settings().schedules.timezone)
        found: list[Entry] = []
        for spec in self._known.values():
            for table in spec.crons:
                try:
                    found.append(declared_by(spec.name, table, defaults, f"@cron of {spec.name}"))
                except ValueError as error:
                    log.error("a declared schedule cannot be used", command=spec.name, error=str(error))
        return found

    # ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with the files as they are now, though others may be in force."""
        return self._problems

    @property
    def book(self) -> Book:
        return self._book

    def entry(self, name: str) -> Entry:
        """Raises :class:`RequestError`, with names that look like it."""
        known: dict[str, Any] = {**self._book.entries, **self.ticker.entries}
        if name not in known:
            near = [other for other in known if name.lower() in other.lower()][:3]
            hint = f"; did you mean {' or '.join(near)}?" if near else "; `stoker schedule list` shows what there is"
            raise RequestError(f"there is no schedule {name!r}{hint}")
        found: Entry = known[name]
        return found

    # ── what the ticker needs ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def commands(self) -> Mapping[str, CommandSpec]:
        return self._pool.commands

    def admit(self, request: Request) -> Submission:
        return self._admission.admit(request, "job", self._store.now())

    def stored(self, commands: set[str]) -> None:
        self._wake(commands)

    def cancel(self, job: str, reason: str) -> Awaitable[object]:
        return self._cancel(job, reason)

    def holds(self, role: str) -> bool:
        return self._roles.holds(role)
