"""The one thread that writes, and its group commits.

    asyncio loop                      writer thread
    ────────────                      ─────────────
    do(f) ─┐
    do(g) ─┼──► queue ──────────────► take all that wait: f, g, h
    do(h) ─┘                          BEGIN IMMEDIATE  f() g() h()  COMMIT
       futures ◄───── one call ────── results, after the commit

Whatever comes in while one transaction is written shares the next: at low load a request has its own commit, under load
hundreds share one. If anything in a group fails, the group is rolled back and run again: without a request that was
refused, else each request in a transaction of its own, so that one bad request never harms its neighbours.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from stoker.model.errors import RequestError, StoreBusy, StoreError, StoreUnavailable
from stoker.store.sqlite.connection import Connection, translated

T = TypeVar("T")
GROUP_MAX = 500
"""Requests in one transaction at most: bounds how long a reader of fresh data, or a stop, has to wait."""
REFUSALS_MAX = 8
"""Refused requests that are taken out of a group, before what is left is written one by one."""


class _Request:
    __slots__ = ("action", "error", "future", "value")

    def __init__(self, action: Callable[[Connection], Any], future: asyncio.Future[Any]) -> None:
        self.action = action
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None


class Worker:
    """A thread that owns one connection and works off a queue. ``grouped`` makes it a writer."""

    def __init__(self, open_connection: Callable[[], Connection], name: str, *, grouped: bool) -> None:
        self._open = open_connection
        self._grouped = grouped
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: asyncio.Future[None] | None = None
        self._closed = False
        self._pid = os.getpid()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.create_future()
        self._thread.start()
        await self._started

    async def stop(self) -> None:
        """Finish what was asked for, then end the thread."""
        if self._loop is None or self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def do(self, action: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Run ``action`` on the connection; the future is done when its work is committed."""
        if self._loop is None or self._closed:
            raise StoreUnavailable("the store is closed")
        if os.getpid() != self._pid:
            raise StoreError("a store was carried into another process; open a new one there")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Request(action, future))
        return future

    def _run(self) -> None:
        assert self._loop is not None
        try:
            connection = self._open()
        except Exception as error:
            # whatever it is: nobody may wait for ever for a thread that never began
            self._tell(self._fail_start, error)
            return
        self._tell(self._mark_started)
        while True:
            group = self._take()
            work = [request for request in group if request is not None]
            if work:
                self._work(connection, work)
                self._tell(_deliver, work)
            if len(work) < len(group):
                connection.close()
                return

    def _tell(self, call: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)

    def _mark_started(self) -> None:
        assert self._started is not None
        if not self._started.done():  # whoever began it may have been stopped
            self._started.set_result(None)

    def _fail_start(self, error: Exception) -> None:
        assert self._started is not None
        self._closed = True
        if not self._started.done():
            self._started.set_exception(error)

    def _take(self) -> list[_Request | None]:
        group = [self._queue.get()]
        while len(group) < GROUP_MAX and group[-1] is not None:
            try:
                group.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return group

    def _work(self, connection: Connection, work: list[_Request]) -> None:
        try:
            with translated(connection.path):
                connection.check_in_place()
        except StoreUnavailable as error:
            for request in work:
                request.error = StoreUnavailable(error.message)
            return
        if not self._grouped:
            for request in work:
                self._alone(connection, request)
            return
        for _ in range(REFUSALS_MAX):
            request = work[0]
            try:
                with translated(connection.path), connection.transaction():
                    for request in work:
                        request.value = request.action(connection)
                return
            except StoreBusy as error:
                # no request's fault: to wait for the lock once more for each would hold all of them up for minutes
                for request in work:
                    request.error = StoreBusy(error.message)
                return
            except RequestError as error:
                # refused by the rules: the others go on together, as if it had been asked between them
                request.error = error
                work = [other for other in work if other is not request]
                if not work:
                    return
            except Exception:
                break
        for request in work:
            self._alone(connection, request)

    def _alone(self, connection: Connection, request: _Request) -> None:
        try:
            with translated(connection.path):
                if self._grouped:
                    with connection.transaction():
                        request.value = request.action(connection)
                else:
                    request.value = request.action(connection)
        except Exception as error:
            request.error = error


def _deliver(work: list[_Request]) -> None:
    for request in work:
        if request.future.done():
            continue
        if request.error is not None:
            request.future.set_exception(request.error)
        else:
            request.future.set_result(request.value)
