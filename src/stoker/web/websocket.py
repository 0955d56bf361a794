"""WebSockets: the same topics, and calls, over one line that goes both ways."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from stoker.model.errors import NotAllowed, ProtocolError, StokerError
from stoker.web import refusal
from stoker.web.auth import Auth
from stoker.web.calls import Calls
from stoker.web.hub import Hub
from stoker.web.line import line, sent
from stoker.web.link import compact
from stoker.web.refusal import Refusal
from stoker.web.rest import cursor
from stoker.web.sse import asked_tabs, asked_topics, bye, opening
from stoker.web.stream import Frame, Stream

PROTOCOL = "stoker"
CALLS_MAX = 100
"""Calls of one socket under way at one time."""
CHANGES = ("subscribe", "unsubscribe")
PING = '{"type":"ping"}'


class Said(msgspec.Struct):
    """What a browser sends."""

    type: str
    id: int | str | None = None
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"{}")
    wait: bool | None = None


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """Parameters of ``subscribe`` and ``unsubscribe``."""

    topic: str | None = None
    job: str | None = None
    after: int | str | None = None

    @property
    def name(self) -> str:
        if (self.topic is None) == (self.job is None):
            raise ProtocolError("name a topic or a job")
        return self.topic or f"job:{self.job}"


def change(hub: Hub, stream: Stream, method: str, wanted: Wanted) -> Any:
    """Carry a topic more or less, as ``subscribe`` or ``unsubscribe`` says; the answer to it."""
    if method == "unsubscribe":
        return hub.drop(stream, wanted.name)
    hub.carry(stream, wanted.name, cursor(wanted.name, wanted.after))
    return {"topic": wanted.name}


def text(frame: Frame) -> str:
    """A frame as a message."""
    kind = "event" if frame.kind == "message" else frame.kind
    return f'{{"type":"{kind}",{frame.body[1:].decode()}'


def read_said(text: str) -> Said:
    """What a browser sent, if it is something. Raises :class:`ProtocolError` or :class:`PayloadTooLarge`."""
    try:
        return msgspec.json.decode(compact(text.encode()), type=Said)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"not a message: {error}") from None


def refused(id: int | str | None, error: StokerError | Refusal) -> str:
    """The message that tells of an error."""
    return msgspec.json.encode({"type": "error", "id": id, "code": error.code, "message": error.message}).decode()


def changed(hub: Hub, stream: Stream, said: Said) -> Any:
    """:func:`change`, as a message says it. Raises :class:`ProtocolError` or :class:`Refusal`."""
    try:
        wanted = msgspec.json.decode(said.params, type=Wanted)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"wrong parameters: {error}") from None
    return change(hub, stream, said.method, wanted)


class Sockets:
    """The handler of the route."""

    def __init__(self, auth: Auth, hub: Hub, calls: Calls) -> None:
        self._auth, self._hub, self._calls = auth, hub, calls

    async def open(self, socket: WebSocket) -> Stream | None:
        """A stream for it; None when it was refused."""
        try:
            caller = await self._auth.caller(socket, ticket=True)
            query = socket.query_params
            instance, after = query.get("instance", ""), query.get("after", "")
            return self._hub.open(caller, instance, asked_tabs(socket), asked_topics(socket), after)
        except Refusal as error:
            await socket.send_denial_response(refusal.answer(error))
            return None

    async def serve(self, socket: WebSocket) -> None:
        stream = await self.open(socket)
        if stream is None:
            return
        try:
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
            await Talk(socket, stream, self._hub, self._calls).run()
        except TimeoutError:
            connection = line(socket.scope)
            if connection is not None:
                connection.abort()
        except (WebSocketDisconnect, OSError):
            pass  # gone
        finally:
            self._hub.close(stream)


class Talk:
    """One open socket."""

    def __init__(self, socket: WebSocket, stream: Stream, hub: Hub, calls: Calls) -> None:
        self._socket, self._stream = socket, stream
        self._line = line(socket.scope)
        self._hub, self._calls = hub, calls
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until either side has enough."""
        listening = asyncio.get_running_loop().create_task(self._listen())
        try:
            await self._tell()
        finally:
            for task in (listening, *self._tasks):
                task.cancel()
            await asyncio.gather(listening, *self._tasks, return_exceptions=True)

    async def _tell(self) -> None:
        stream, tick = self._stream, self._hub.settings.web.tick
        for frame in await opening(stream, tick):
            await self._send(frame)
        while True:
            async for frame in stream.frames():
                await self._send(frame)
                if stream.farewell is not None:
                    break
            if stream.farewell is not None:
                await self._send(bye(stream.farewell))
                await self._socket.close(1001, stream.farewell)
                return
            try:
                async with asyncio.timeout(tick):
                    await stream.wake.wait()
            except TimeoutError:
                await self._write(PING)

    async def _send(self, frame: Frame) -> None:
        await self._write(text(frame))

    async def _write(self, text: str) -> None:
        if self._socket.application_state is not WebSocketState.CONNECTED:
            raise WebSocketDisconnect(1006)  # another of our tasks has found out
        self._stream.busy = True
        self._stream.busy = await sent(self._line, self._socket.send_text(text))

    async def _listen(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                await self._hear(message.get("text") or "")
        finally:
            self._stream.close("gone")

    async def _hear(self, text: str) -> None:
        id: int | str | None = None
        try:
            said = read_said(text)
            if said.type == "ping":
                return
            id = said.id
            if said.type != "call" or id is None:
                raise ProtocolError("a browser sends calls, with an id, and pings")
            if len(self._tasks) >= CALLS_MAX:
                raise NotAllowed(f"{CALLS_MAX} calls are under way; wait for some answers")
        except StokerError as error:
            await self._reply(id, error)
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(said))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, said: Said) -> None:
        # who reads no answers is let go by the task that tells events
        with contextlib.suppress(TimeoutError, OSError, WebSocketDisconnect, RuntimeError):
            try:
                answer = await self._answer(said)
            except (StokerError, Refusal) as error:
                await self._reply(said.id, error)
            else:
                data = msgspec.json.encode({"type": "return", "id": said.id, "data": answer})
                await self._write(data.decode())

    async def _answer(self, said: Said) -> Any:
        if said.method in CHANGES:
            return changed(self._hub, self._stream, said)
        who = self._stream.caller.identity
        return await self._calls.call(who, said.method, said.params, instance=self._stream.instance, wait=said.wait)

    async def _reply(self, id: int | str | None, error: StokerError | Refusal) -> None:
        await self._write(refused(id, error))
