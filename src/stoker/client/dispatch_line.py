"""A connection for dispatches from coroutines: many at a time, answers matched by id, descriptors both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from stoker.client import core
from stoker.model.errors import DaemonSilent, DaemonUnavailable, InvalidBuffer, StokerError
from stoker.wire import endpoint, messages
from stoker.wire.rights import close_all, duplicates
from stoker.wire.transport import Transport

Answer = tuple[messages.JobResult, list[int]]


class AsyncDispatchLine:
    """Opened at first use; once broken it stays so."""

    def __init__(self, address: str, token: str, silence: float) -> None:
        self._address = address
        self._silence = silence
        self._talk = core.Conversation(token=token or None)
        self._waiting: dict[int | str, asyncio.Future[Answer]] = {}
        self._transport: Any = None
        self._opening: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self.broken: StokerError | None = None

    async def open(self) -> None:
        """Connect; for whoever comes first, and the others wait. Raises :class:`DaemonError`."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)
        if self.broken is not None:
            raise self.broken

    async def ask(self, line: bytes, fds: Sequence[int], job: str, on_sent: Callable[[], None]) -> Answer:
        """Send a dispatch and wait for its answer; the descriptors that come with it are the caller's. Those that are
        sent stay the caller's, too. A caller that stops waiting has the job stopped."""
        if self.broken is not None:
            raise self.broken
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[job] = future
        try:
            self._write(line, fds)
            on_sent()
            self._look_after()
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                close_all(future.result()[1])
            elif self.broken is None:
                self._write(messages.encode(messages.Recall(job)), ())
            raise
        finally:
            self._waiting.pop(job, None)

    def close(self) -> None:
        self._break(DaemonUnavailable("the connection was closed"))

    # ── the transport's side ─────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if self.broken is not None:
            transport.abort()  # it was closed while it was opened
            return
        transport.write(self._talk.hello())

    def data_received(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        try:
            for message in self._talk.feed(data):
                if isinstance(message, messages.JobResult):
                    self._sort(message)
        except StokerError as error:
            self._break(error)

    def eof_received(self) -> None:
        """The daemon hung up; :meth:`connection_lost` comes next. (Asked of a TCP connection's protocol.)"""

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(DaemonUnavailable(f"the daemon at {self._address} closed the connection"))

    def trouble(self, error: InvalidBuffer) -> None:
        self._break(error)

    def pause_writing(self) -> None:
        """A dispatch is small: what waits is kept."""

    def resume_writing(self) -> None:
        """See above."""

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            sock = await loop.run_in_executor(None, endpoint.connect, self._address, self._silence)
        except StokerError as error:
            # not raised: whoever opened it may have been cancelled, and nobody would hear it
            self._break(error)
            return
        if self._address.startswith("tcp://"):
            await loop.create_connection(lambda: self, sock=sock)  # type: ignore[type-var]
        else:
            Transport(loop, sock, self)

    def _write(self, line: bytes, fds: Sequence[int]) -> None:
        if fds:
            self._transport.write(line, duplicates(fds))
        else:
            self._transport.write(line)

    def _sort(self, answer: messages.JobResult) -> None:
        fds = self._transport.take_fds(len(answer.buffers)) if answer.buffers else []
        future = self._waiting.get(answer.job_id)
        if future is None or future.done():
            close_all(fds)
        else:
            future.set_result((answer, fds))

    def _look_after(self) -> None:
        """While an answer is waited for the daemon pings; its silence means that it is gone."""
        if self._watch is None:
            loop = asyncio.get_running_loop()
            self._heard = loop.time()
            self._watch = loop.call_later(self._silence, self._listen)

    def _listen(self) -> None:
        self._watch = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        left = self._heard + self._silence - loop.time()
        if left <= 0:
            self._break(DaemonSilent(f"the daemon at {self._address} said nothing for {self._silence:g} s"))
        else:
            self._watch = loop.call_later(left, self._listen)

    def _break(self, error: StokerError) -> None:
        if self.broken is not None:
            return
        self.broken = error
        if self._watch is not None:
            self._watch.cancel()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
        if self._transport is not None:
            self._transport.abort()
