"""Socket.IO beside the other transports: the standard client, acknowledged calls, rooms (the extra ``socketio``).

    const socket = io({ path: "/stoker/socket.io/", auth: { instance: "t1", topics: "audience" } })
    socket.emit("notebook.search", { text: "fire" }, answer => …)          a command, or a method
    socket.emit("subscribe", { job }, answer => …)
    socket.on("event", ({ topic, event, offset, data }) => …)

Every socket is in the rooms ``user:…``, ``session:…`` and ``instance:…`` of its tab, for applications that emit by
themselves. The proof of who it is comes with the first HTTP request, as everywhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import socketio
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from stoker.model.errors import StokerError
from stoker.web.auth import Auth
from stoker.web.calls import Calls
from stoker.web.hub import Hub
from stoker.web.identity import Caller
from stoker.web.line import WRITE_WITHIN
from stoker.web.refusal import Refusal, answer
from stoker.web.sse import HELLO_WITHIN, hello
from stoker.web.stream import Stream
from stoker.web.websocket import CALLS_MAX, CHANGES, Wanted, change
from stoker.wire.topics import AUDIENCE

CALLER = "stoker.caller"
QUEUED_MAX = 64
"""Packets that wait for one browser at most; what comes after waits in the topics' rings."""
LOOK_EVERY = 0.05
PONG_WITHIN = 5
"""Seconds after a ping until a browser that did not answer is taken for gone."""


class SocketIO:
    """The ASGI application below ``socket.io/``."""

    def __init__(self, auth: Auth, hub: Hub, calls: Calls, most: int) -> None:
        self._auth, self._hub, self._calls = auth, hub, calls
        self.server = socketio.AsyncServer(
            async_mode="asgi", cors_allowed_origins=[], max_http_buffer_size=most, http_compression=False,
            ping_interval=max(1, int(hub.settings.web.tick)), ping_timeout=PONG_WITHIN,
        )  # fmt: skip
        self._app = socketio.ASGIApp(self.server, socketio_path=None)
        self._streams: dict[str, tuple[Stream, asyncio.Task[None]]] = {}
        self._under_way: dict[str, int] = {}
        self.server.on("connect", self._connect)
        self.server.on("disconnect", self._disconnect)
        self.server.on("*", self._emitted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The first request of a session shows who it is; those after it show the session, which nobody can guess."""
        asking = HTTPConnection(scope)
        if "sid" not in asking.query_params:
            try:
                scope[CALLER] = await self._auth.caller(asking, ticket=True)
            except Refusal as error:
                if scope["type"] == "http":
                    await answer(error)(scope, receive, send)
                else:
                    await send({"type": "websocket.close", "code": 1008})
                return
        await self._app(scope, receive, send)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any) -> None:
        caller: Caller = environ["asgi.scope"][CALLER]
        given = auth if isinstance(auth, dict) else {}
        topics = str(given.get("topics", AUDIENCE)).split(",")
        try:
            stream = self._hub.open(caller, str(given.get("instance", sid)), (), topics, str(given.get("after", "")))
        except Refusal as error:
            raise socketio.exceptions.ConnectionRefusedError({"error": error.code, "message": error.message}) from None
        stream.until_turn = None  # the standard client does not come again when it is sent away
        who = caller.identity
        for room in (f"user:{who.user}", f"session:{who.user}:{who.session}", f"instance:{stream.instance}"):
            await self.server.enter_room(sid, room)
        self._streams[sid] = stream, asyncio.get_running_loop().create_task(self._tell(sid, stream))

    async def _disconnect(self, sid: str, *_: Any) -> None:
        found = self._streams.pop(sid, None)
        self._under_way.pop(sid, None)
        if found is not None:
            found[0].close("gone")
            self._hub.close(found[0])

    async def _tell(self, sid: str, stream: Stream) -> None:
        early = await stream.prepare(HELLO_WITHIN)
        await self.server.emit("hello", hello(stream, self._hub.settings.web.tick), to=sid)
        for frame in early:
            await self.server.emit(frame.kind, msgspec.json.decode(frame.body), to=sid)
        while stream.farewell is None:
            async for frame in stream.frames():
                name = "event" if frame.kind == "message" else frame.kind
                await self.server.emit(name, msgspec.json.decode(frame.body), to=sid)
                if not await self._room(sid, stream):
                    stream.close("slow")
                    break
            await stream.wake.wait()
        if stream.farewell != "gone":
            await self.server.emit("bye", {"reason": stream.farewell}, to=sid)
            await self.server.disconnect(sid)

    async def _room(self, sid: str, stream: Stream) -> bool:
        """Wait while the browser does not read; False when it is too slow, or gone."""
        end = asyncio.get_running_loop().time() + WRITE_WITHIN
        while True:
            socket = self.server.eio.sockets.get(self.server.manager.eio_sid_from_sid(sid, "/"))
            if socket is None or socket.queue.qsize() < QUEUED_MAX:
                stream.busy = False
                return socket is not None
            if asyncio.get_running_loop().time() > end:
                return False
            stream.busy = True
            await asyncio.sleep(LOOK_EVERY)

    async def _emitted(self, event: str, sid: str, data: Any = None, *_: Any) -> dict[str, Any]:
        """Anything else is a call, or a change of what the stream carries; the answer is the acknowledgement."""
        found = self._streams.get(sid)
        if found is None:
            return {"ok": False, "error": "unauthorized", "message": "this socket is not connected"}
        stream = found[0]
        if self._under_way.get(sid, 0) >= CALLS_MAX:
            return {"ok": False, "error": "not_allowed", "message": f"{CALLS_MAX} calls are under way"}
        self._under_way[sid] = self._under_way.get(sid, 0) + 1
        try:
            return {"ok": True, "data": await self._answer(stream, event, {} if data is None else data)}
        except (StokerError, Refusal) as error:
            return {"ok": False, "error": error.code, "message": error.message}
        finally:
            if sid in self._under_way:
                self._under_way[sid] -= 1

    async def _answer(self, stream: Stream, event: str, data: Any) -> Any:
        if event in CHANGES:
            try:
                wanted = msgspec.convert(data, Wanted)
            except msgspec.ValidationError as error:
                raise Refusal(422, "refused", f"wrong parameters: {error}") from None
            return change(self._hub, stream, event, wanted)
        wait = None
        if event == "call" and isinstance(data, dict):
            event, data, wait = str(data.get("method", "")), data.get("params", {}), data.get("wait")
        try:
            params = msgspec.Raw(msgspec.json.encode(data))
        except (TypeError, RecursionError) as error:
            raise Refusal(422, "refused", f"only JSON can be sent: {error}") from None
        who = stream.caller.identity
        found = await self._calls.call(who, event, params, instance=stream.instance, wait=wait)
        return msgspec.json.decode(found)
