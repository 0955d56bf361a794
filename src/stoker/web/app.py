"""The bridge as one ASGI application: served by ``stoker up --web``, or mounted in an application of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
import threading
from collections.abc import Collection
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from stoker import settings as settings_module
from stoker.model.errors import StokerError
from stoker.settings import Settings
from stoker.web import openapi, refusal
from stoker.web.auth import Auth, Authenticate, mounted_at
from stoker.web.calls import Calls
from stoker.web.commands003 import Commands003
from stoker.web.guard import Guard
from stoker.web.heartbeats import Heartbeats
from stoker.web.hub import Hub
from stoker.web.page import page
from stoker.web.refusal import Refusal
from stoker.web.rest import Rest
from stoker.web.static import Static
from stoker.web.tokens import signer
from stoker.web.websocket import Sockets
from stoker.wire.messages import LINE_SLACK

ASK_AGAIN_TICKS = 3
"""So many ticks of a stream apart the application is asked whether its user is still its user."""
STOPS = (signal.SIGTERM, signal.SIGINT)


class Bridge:
    """The application. It connects to the daemon with its first request, or when the server that runs it starts.

    ``stop`` lets go of everything; an application that mounts it and has no more requests need not call that.
    """

    def __init__(self, settings: Settings, authenticate: Authenticate | None, hosts: Collection[str] | None) -> None:
        self.settings = settings
        self.hub = Hub(settings)
        self.auth = Auth(settings, signer(settings, self.hub.ledger.now), self.hub, authenticate)
        self.calls = Calls(self.hub)
        self.socket_io: Any = None
        """The ``socketio.AsyncServer``, for applications that emit by themselves; None without the extra."""
        most = settings.max_input + LINE_SLACK
        self.routes = self._routes(most)
        self._hosts, self._most = hosts, most
        self._app = self.guarded(self.routes)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking: asyncio.Task[None] | None = None

    def guarded(self, routes: list[BaseRoute]) -> Guard:
        """These routes, behind the guard."""
        inner = Starlette(
            routes=routes,
            exception_handlers={
                Refusal: refusal.on_error, StokerError: refusal.on_error, HTTPException: _not_found,
                Exception: _mistake,
            },
        )  # fmt: skip
        return Guard(inner, self._hosts, self.settings.web.origins, self._most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        self.start()
        await self._app(scope, receive, send)

    def start(self) -> None:
        """Connect to the daemon, once for each event loop."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._loop = loop
        self.hub.start()
        self._asking = loop.create_task(self._ask_again())
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                self._hear(number, loop)

    async def stop(self) -> None:
        """Say good-bye to every browser and to the daemon."""
        self.hub.drain()
        if self._asking is not None:
            self._asking.cancel()
        await self.hub.stop()
        self._loop = None

    async def _ask_again(self) -> None:
        while True:
            await asyncio.sleep(ASK_AGAIN_TICKS * self.settings.web.tick)
            await self.auth.ask_again()

    def _hear(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        """Servers wait for open streams before they stop; so they have to end as soon as the server is asked to."""
        before = signal.getsignal(number)
        if not callable(before):
            return

        def stop(number: int, frame: FrameType | None) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self.hub.drain)
            before(number, frame)

        signal.signal(number, stop)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.hub.drain()
        await self.hub.drained()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _routes(self, most: int) -> list[BaseRoute]:
        files = Static("js")
        return [
            *Rest(self.auth, self.hub, self.calls, most).routes(),
            *Commands003(self.auth, self.calls, most).routes(),
            WebSocketRoute("/ws", Sockets(self.auth, self.hub, self.calls).serve),
            Route("/js/{name}", files.serve, methods=["GET"]),
            *self._socket_io(most),
            *Heartbeats(signer(self.settings), self.calls).routes(),
            Route("/login", self.auth.login, methods=["GET"]),
            Route("/favicon.ico", _no_icon, methods=["GET"]),
            Route("/openapi.json", self.auth.gate(self._openapi), methods=["GET"]),
            Route("/", self.auth.gate(self._front), methods=["GET"]),
        ]

    def _socket_io(self, most: int) -> list[BaseRoute]:
        """Where python-socketio is installed."""
        if importlib.util.find_spec("socketio") is None:
            return []
        found = importlib.import_module("stoker.web.socket_io").SocketIO(self.auth, self.hub, self.calls, most)
        self.socket_io = found.server
        return [Mount("/socket.io", found)]

    async def _openapi(self, request: Request) -> Response:
        who = request.state.caller.identity
        schema = msgspec.json.decode(await self.calls.call(who, "schema", {}))
        commands = msgspec.json.decode(await self.calls.call(who, "commands", {}))
        told = openapi.document(schema, commands, mounted_at(request).rstrip("/") or "/", who.level)
        return Response(told, media_type="application/json")

    async def _front(self, request: Request) -> Response:
        return page("Stoker", f"Signed in as {request.state.caller.identity.user}.")


def bridge(
    authenticate: Authenticate | None = None,
    *,
    settings: Settings | None = None,
    root: str | Path | None = None,
    hosts: Collection[str] | None = None,
    **options: Any,
) -> Bridge:
    """An ASGI application that lets browsers use the daemon of the project in ``root`` (by default the current one).

    ``authenticate(request)`` is called with each request and says who makes it: an :class:`~stoker.web.Identity`, or
    None for nobody it knows; it may be a coroutine, or else runs in a thread. Without it only tokens of ``stoker
    token`` are let in. ``hosts`` are the names under which it may be asked; by default any, because the application
    around it looks after that. ``options`` are settings of the table ``[web]`` (``tick=5, max_streams=500``), which win
    over those of the project.

    Raises :class:`~stoker.errors.SettingsError`.
    """
    flags = {f"web.{name}": value for name, value in options.items()}
    given = settings or settings_module.load({"root": None if root is None else str(root), **flags}, products=False)
    return Bridge(given, authenticate, hosts)


async def _mistake(request: Request, _error: Exception) -> Response:
    """What is raised again after that, and logged by the server."""
    return await refusal.on_error(request, Refusal(500, "error", "the bridge made a mistake; its log says more"))


async def _no_icon(_request: Request) -> Response:
    """A browser asks for one with the first page that it sees of us."""
    return Response(status_code=204, headers={"Cache-Control": "max-age=86400"})


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
    headers = dict(error.headers or {})
    return await refusal.on_error(request, Refusal(error.status_code, code, error.detail, headers))
