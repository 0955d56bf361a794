"""The bridge on a server of its own: what ``stoker up --web`` runs."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from stoker.model.errors import SettingsError
from stoker.settings import Settings
from stoker.web.app import Bridge, bridge
from stoker.web.auth import Authenticate
from stoker.web.line import CONNECTION, HEAD_MAX, HEAD_WITHIN, shorten, waiting
from stoker.web.native import Listener
from stoker.wire.acceptor import accept

LEAVE_WITHIN = 4.0
"""Seconds that requests under way have when the server is stopped."""
BACKLOG = 2048


class Protocol(H11Protocol):
    """HTTP/1.1, with what uvicorn has not: a time limit for the head of a request, word of a browser that has gone
    without a task that waits for it, and an end for one that does not read (:class:`stoker.web.line.Line`)."""

    _timer: asyncio.TimerHandle | None = None
    _on_lost: Callable[[], None] | None = None

    def when_lost(self, call: Callable[[], None]) -> None:
        self._on_lost = call

    def unsent(self) -> int:
        return waiting(self.transport)

    def abort(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        shorten(transport)
        # what an application finds as scope["state"], also of a WebSocket on this connection
        self.app_state = {**self.app_state, CONNECTION: self}
        self._arm()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
        elif self._timer is None:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._on_lost is not None:
            self._on_lost()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(HEAD_WITHIN, self._too_late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class Server(uvicorn.Server):
    """``on_ready`` is called when signals are heard and requests are answered."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        loop = asyncio.get_running_loop()
        for sock in sockets or ():
            sock.listen(BACKLOG)
            self.servers.append(accept(loop, sock, self._protocol))  # type: ignore[arg-type]
        self._on_ready()

    def _protocol(self) -> Protocol:
        return Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def application(settings: Settings, sockets: list[socket.socket]) -> Bridge:
    """The bridge as the settings say. Raises :class:`SettingsError`."""
    authenticate = load_authenticate(settings) if settings.web.auth else None
    names = {socket.gethostname().lower(), socket.getfqdn().lower()}
    names |= {urlsplit(place).hostname or "" for place in settings.web.listen if "://" in place}
    return bridge(authenticate, settings=settings, hosts=names)


async def serve(
    app: Bridge, sockets: list[socket.socket], streams: list[socket.socket], on_ready: Callable[[], None]
) -> None:
    """Answer browsers on these sockets until a signal says stop. ``streams``: those of the native listener."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="websockets-sansio",
        ws_max_size=app.settings.max_input,
        ws_per_message_deflate=False,  # what is small on the line is not small here
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_MAX,
        timeout_graceful_shutdown=int(LEAVE_WITHIN),
    )
    native = Listener(app)
    await native.start(streams)
    try:
        await Server(config, on_ready).serve(sockets)
    finally:
        await native.stop()


def load_authenticate(settings: Settings) -> Authenticate:
    """The function that ``web.auth`` names. Raises :class:`SettingsError`."""
    name = settings.web.auth
    module, _, attribute = name.partition(":")
    if not attribute:
        raise SettingsError(f"web.auth: {name!r} is not module:function")
    if str(settings.root) not in sys.path:
        sys.path.insert(0, str(settings.root))
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"web.auth: cannot load {name!r}: {error}") from None
    if not callable(found):
        raise SettingsError(f"web.auth: {name!r} is not a function")
    return cast(Authenticate, found)
