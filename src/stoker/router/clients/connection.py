"""One client: lines in, lines out."""

from __future__ import annotations

import asyncio
import functools
import hmac
import os
import resource
import socket
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import structlog

from stoker._version import __version__
from stoker.model.errors import InvalidBuffer, NotAllowed, ProtocolError, StokerError
from stoker.router.clients.seat import Seat
from stoker.router.house import House
from stoker.router.methods import table
from stoker.router.methods.acts import Asker
from stoker.wire import endpoint, messages
from stoker.wire.rights import BUFFERS_MAX, close_all
from stoker.wire.transport import Transport

log = structlog.get_logger(role="router")

CALLS_MAX = 1000
"""Calls of one client under way at one time; the next is refused."""
PING_EVERY = 10.0
"""Seconds between pings while a client waits: well within the 30 s that it takes for silence."""
UNSENT_SHARE = 8
"""Descriptors in answers that one client does not read may be one in so many of those this process may have."""
INIT_WITHIN = 10.0
"""Seconds a client has to say who it is."""


class Lobby(Protocol):
    """Who keeps the list of clients."""

    def welcome(self, connection: Connection) -> bool:
        """Let a client in, if there is room."""

    def introduced(self, role: str) -> None:
        """A client said who it is."""

    def farewell(self, connection: Connection, role: str | None) -> None:
        """A client is gone; ``role`` is None when it never said who it was."""


class Connection(asyncio.Protocol):
    """A client from its first byte to its last. Until its ``init`` is accepted it can do nothing.

    On a Unix socket its transport carries descriptors, too: those of moved buffers, beside the line they belong to.
    """

    def __init__(self, house: House, lobby: Lobby) -> None:
        self._house = house
        self._lobby = lobby
        self._lines = messages.Lines(house.settings().max_input)
        self._transport: Any = None
        self._role: str | None = None
        self._trusted = False
        self._uid: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._seat: Seat | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        sock = transport.get_extra_info("socket")
        uid = self._uid = _peer(sock)
        self._trusted = uid is not None and uid in (os.geteuid(), 0)
        if uid is not None and not self._trusted:
            self._refuse(NotAllowed(f"this daemon belongs to another user than uid {uid}"))
        elif not self._lobby.welcome(self):
            self._refuse(NotAllowed(f"{self._house.settings().max_clients} clients are connected; no more are let in"))
        else:
            self._timer = asyncio.get_running_loop().call_later(INIT_WITHIN, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._seat is not None:
            self._seat.leave()
        if self._role is not None:
            self._house.dispatcher.forget(self)
        self._writable.set()
        self._lobby.farewell(self, self._role)

    def pause_writing(self) -> None:
        """It does not read what it is told, and so it is not heard: what it asks would be kept here, without bound."""
        self._writable.clear()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        if not self._transport.is_closing():
            self._transport.resume_reading()
        if self._seat is not None:
            self._seat.resumed()

    def data_received(self, data: bytes) -> None:
        try:
            lines = self._lines.feed(data)
        except StokerError as error:
            self._refuse(error)
            return
        for line in lines:
            if self._transport.is_closing():
                return  # it is gone, or not welcome: what else it said is not done any more
            try:
                self._message(messages.decode(line))
            except StokerError as error:
                self._say(messages.error(None, error))
        if isinstance(self._transport, Transport):
            self._check_strays(self._transport)

    def _check_strays(self, transport: Transport) -> None:
        """Descriptors come with the first byte of their line, or with a later one: when no line has begun, or there are
        more than a line may have, they are nobody's, and would be taken for those of another."""
        if transport.stray_fds > (BUFFERS_MAX if self._lines.partial else 0):
            self._refuse(ProtocolError(f"{transport.stray_fds} descriptors came that no message announces"))

    def trouble(self, error: InvalidBuffer) -> None:
        """Descriptors came that could not be taken; which line they belong to is not known any more."""
        self._refuse(error)

    def answer(self, result: messages.JobResult, fds: Sequence[int]) -> None:
        """How a dispatch ended. The descriptors are given away."""
        if not isinstance(self._transport, Transport):
            close_all(fds)
            if fds:
                refused = "the handler returned a Buffer, and those are moved over a Unix socket only"
                result = messages.JobResult(result.job_id, error=refused, code=NotAllowed.code)
            self._say(result)
            return
        if fds and self._transport.unsent_fds + len(fds) > _unsent_most():
            close_all(fds)
            dropped = "its buffers were dropped: you do not read your answers, and too many buffers wait there already"
            result, fds = messages.JobResult(result.job_id, error=dropped, code=NotAllowed.code), ()
        self._transport.write(messages.encode(result), fds)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def waiting(self) -> bool:
        """Whether it waits for an answer."""
        return bool(self._tasks) or self._house.dispatcher.under_way(self) > 0

    def _message(self, message: messages.Message) -> None:
        match message:
            case messages.Init() if self._role is None:
                self._init(message)
            case messages.Call() if self._role is None:
                self._say(messages.error(message.id, ProtocolError('say who you are first: {"type": "init"}')))
            case messages.Call():
                self._call(message)
            case messages.Dispatch() if self._role is not None:
                self._dispatch(message, self._role)
            case messages.Dispatch():
                raise ProtocolError('say who you are first: {"type": "init"}')
            case messages.Recall() if self._role is not None:
                self._house.dispatcher.recall(self, message.job_id)
            case messages.Ping():
                self._ping(message)
            case _:
                raise ProtocolError(f"a client does not send {type(message).__name__.lower()} here")

    def _init(self, message: messages.Init) -> None:
        if message.role not in messages.ROLES:
            self._refuse(ProtocolError(f"the role {message.role!r} is none of {', '.join(messages.ROLES)}"))
            return
        token = self._house.settings().token
        if not self._trusted and not (token and hmac.compare_digest(token.encode(), (message.token or "").encode())):
            self._refuse(NotAllowed("the token is missing or wrong"))
            return
        self._role = message.role
        self._seat = Seat(self._house, message.role, self._write, self._writable)
        self._lobby.introduced(message.role)
        welcome = messages.Init("router", protocol=messages.PROTOCOL, boot=self._house.boot, version=__version__)
        self._say(welcome)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(PING_EVERY, self._tick)

    def _ping(self, ping: messages.Ping) -> None:
        """Of the line, or of the workers: how much they have in hand is known here, also while they are busy."""
        if ping.product is None:
            self._say(messages.Ping())
        if self._role is not None:
            self._say(self._house.dispatcher.pong(ping.product))

    def _dispatch(self, order: messages.Dispatch, role: str) -> None:
        dispatcher = self._house.dispatcher
        fds: list[int] = []
        try:
            if order.buffers:
                if not isinstance(self._transport, Transport):
                    raise NotAllowed("buffers are moved over a Unix socket, on the machine of the daemon")
                fds = self._transport.take_fds(len(order.buffers))
            if len(self._tasks) + dispatcher.under_way(self) >= CALLS_MAX:
                raise NotAllowed(f"{CALLS_MAX} calls are under way; wait for some answers")
        except StokerError as error:
            close_all(fds)
            self.answer(messages.JobResult(order.job_id, error=error.message, code=error.code), ())
            return
        dispatcher.take(order, fds, role, self)

    def _call(self, call: messages.Call) -> None:
        assert self._seat is not None
        at_once = self._seat.at_once.get(call.method)
        if at_once is not None:
            try:
                at_once(call, functools.partial(self._reply, call.id))
            except StokerError as error:
                self._reply(call.id, error)
            return
        if len(self._tasks) >= CALLS_MAX:
            self._say(messages.error(call.id, NotAllowed(f"{CALLS_MAX} calls are under way; wait for some answers")))
            return
        task = asyncio.get_running_loop().create_task(self._answer(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, call: messages.Call) -> None:
        assert self._role is not None
        assert self._seat is not None
        try:
            asker = Asker(self._role, call.who, self._uid)
            value = await table.answer(self._house, asker, call.method, call.params, call.wait)
            self._reply(call.id, value)
        except StokerError as error:
            self._reply(call.id, error)
        except Exception:
            log.exception("a call failed by our own fault", method=call.method)
            self._reply(call.id, StokerError("the daemon made a mistake; its log says more"))

    def _reply(self, id: int | str, value: Any) -> None:
        if isinstance(value, StokerError):
            self._say(messages.error(id, value))
        else:
            self._say(messages.Return(id, msgspec.Raw(msgspec.json.encode(value))))

    def _tick(self) -> None:
        if self._role is None:
            self._refuse(ProtocolError(f"no init within {INIT_WITHIN:g} s"))
            return
        if self.waiting or (self._seat is not None and self._seat.occupied):
            self._say(messages.Ping())
        self._timer = asyncio.get_running_loop().call_later(PING_EVERY, self._tick)

    def _say(self, message: messages.Message) -> None:
        self._write(messages.encode(message))

    def _write(self, line: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line)

    def _refuse(self, error: StokerError) -> None:
        self._say(messages.error(None, error))
        self.close()


def _unsent_most() -> int:
    """Descriptors that may wait for one client to read its answers."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] // UNSENT_SHARE


def _peer(sock: Any) -> int | None:
    """The user on the other end of a Unix socket."""
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    return endpoint.peer_uid(sock)
