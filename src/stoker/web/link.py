"""The bridge's one connection to the daemon, for all of its browsers; made again whenever it is lost."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog

from stoker._version import __version__
from stoker.model.errors import DaemonSilent, DaemonUnavailable, PayloadTooLarge, ProtocolError, StokerError, from_code
from stoker.wire import endpoint, messages
from stoker.wire.messages import Who

log = structlog.get_logger(role="web")
T = TypeVar("T")

READ = 1 << 16
LINE_MAX = 80 << 20
"""Bytes of a line of the daemon's at most."""
SILENCE = 30.0
"""Seconds without a byte after which the daemon is given up."""
PING_EVERY = 10.0
WAIT_UP = 10.0
"""Seconds a call waits for a daemon that is being restarted."""
PAUSE_MAX = 2.0
"""Seconds between two attempts to connect, at most."""


class Link:
    """``on_event`` gets what the daemon sends unasked; ``on_up`` is called each time there is a new connection."""

    def __init__(
        self,
        address: str,
        token: str,
        on_event: Callable[[messages.Event], None],
        on_up: Callable[[], None],
    ) -> None:
        self._address = address
        self._token = token
        self._on_event, self._on_up = on_event, on_up
        self._ids = itertools.count(1)
        self._calls: dict[int | str, asyncio.Future[msgspec.Raw]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.number = 0
        """Which connection this is: what was asked for over another one is forgotten."""

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._live())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def up(self) -> bool:
        return self._up.is_set()

    async def call(self, method: str, params: Any, who: Who | None = None, wait: bool | None = None) -> msgspec.Raw:
        """What the daemon answers, unread. Raises its error, or :class:`DaemonUnavailable` when it is away for longer
        than a restart takes, or is lost meanwhile: then nobody knows whether it was done."""
        await self.ready()
        return await self.ask(method, params, who, wait)

    async def ready(self) -> None:
        """Wait for a connection, as long as a restart takes. Raises :class:`DaemonUnavailable`."""
        if not self._up.is_set():
            try:
                await asyncio.wait_for(self._up.wait(), WAIT_UP)
            except TimeoutError:
                raise DaemonUnavailable(f"the daemon at {self._address} is away; try again") from None

    async def get(self, kind: type[T], method: str, params: Any, who: Who | None = None) -> T:
        """:meth:`ask`, and the answer read as ``kind``."""
        return msgspec.json.decode(await self.ask(method, params, who), type=kind)

    async def ask(self, method: str, params: Any, who: Who | None = None, wait: bool | None = None) -> msgspec.Raw:
        """:meth:`call` over the connection there is, without waiting for one."""
        writer = self._open_writer()
        if writer is None:
            raise DaemonUnavailable(f"the daemon at {self._address} is away; try again")
        number = next(self._ids)
        future: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            writer.write(_call(number, method, params, who, wait))
            await writer.drain()
            return await future
        except OSError as error:
            raise endpoint.unreachable(self._address, error) from None
        finally:
            self._calls.pop(number, None)

    def tell(self, method: str, params: Any, who: Who | None = None) -> None:
        """Ask for something whose answer nobody waits for, now: it is done before whatever is asked from here on. A
        daemon that is away is told nothing."""
        writer = self._open_writer()
        if writer is not None:
            writer.write(_call(next(self._ids), method, params, who, None))

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _open_writer(self) -> asyncio.StreamWriter | None:
        """None while the daemon is away; also when the line is cut and whoever reads from it has not noticed yet."""
        writer = self._writer
        return None if writer is None or writer.is_closing() or not self._up.is_set() else writer

    async def _live(self) -> None:
        pause = 0.05
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._once()
            except (OSError, StokerError, ValueError) as error:
                told = error.message if isinstance(error, StokerError) else str(error)
                log.warning("the daemon is away; trying again", error=told)
                self._down(error if isinstance(error, StokerError) else DaemonUnavailable(told))
            if asyncio.get_running_loop().time() - began > PAUSE_MAX:
                pause = 0.05
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(PAUSE_MAX, 2 * pause)

    async def _once(self) -> None:
        reader, writer = await self._open()
        lines = messages.Lines(LINE_MAX)
        try:
            hello = messages.Init("web", "bridge", self._token or None, messages.PROTOCOL, None, __version__)
            writer.write(messages.encode(hello))
            self._writer = writer
            silent = 0.0
            while True:
                try:
                    data = await asyncio.wait_for(reader.read(READ), PING_EVERY)
                except TimeoutError:
                    silent += PING_EVERY
                    if silent >= SILENCE:
                        raise DaemonSilent(f"the daemon at {self._address} said nothing for {SILENCE:g} s") from None
                    writer.write(messages.encode(messages.Ping()))
                    continue
                if not data:
                    raise DaemonUnavailable(f"the daemon at {self._address} closed the connection")
                silent = 0.0
                for line in lines.feed(data):
                    self._message(messages.decode(line))
        finally:
            self._writer = None
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.startswith("tcp://"):
            host, _, port = self._address.removeprefix("tcp://").rpartition(":")
            return await asyncio.open_connection(host.strip("[]"), int(port))
        return await asyncio.open_unix_connection(self._address.removeprefix("unix://"))

    def _message(self, message: messages.Message) -> None:
        match message:
            case messages.Init():
                self.number += 1
                self._up.set()
                self._on_up()
            case messages.Return():
                self._settle(message.id, message.data)
            case messages.Error() if message.id is not None:
                self._settle(message.id, from_code(message.code, message.message))
            case messages.Error():
                log.warning("the daemon complains", error=message.message, code=message.code)
            case messages.Event():
                try:
                    self._on_event(message)
                except Exception:
                    # one event that we stumble over must not cut everybody off
                    log.exception("an event could not be passed on", topic=message.topic, name=message.event)

    def _settle(self, number: int | str, answer: msgspec.Raw | StokerError) -> None:
        future = self._calls.get(number)
        if future is None or future.done():
            return
        if isinstance(answer, StokerError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _down(self, error: StokerError) -> None:
        self._up.clear()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(DaemonUnavailable(error.message))


def _call(number: int, method: str, params: Any, who: Who | None, wait: bool | None) -> bytes:
    raw = params if isinstance(params, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(params))
    return messages.encode(messages.Call(number, method, raw, wait, who))


def compact(body: bytes) -> msgspec.Raw:
    """JSON from outside, on one line. Raises :class:`ProtocolError` or :class:`PayloadTooLarge` (nested too deep)."""
    try:
        str(body, "utf-8")
        msgspec.json.decode(body, type=msgspec.Raw)
        return msgspec.Raw(msgspec.json.format(body, indent=-1) if b"\n" in body else body)
    except RecursionError:
        raise PayloadTooLarge("the body is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"not JSON: {error}") from None
