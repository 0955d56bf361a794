"""How a native connection says what a stream tells: as Server-Sent Events, as those of one job, or as a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
from websockets.frames import Frame as Framed
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from stoker.model.errors import NotAllowed, ProtocolError, StokerError
from stoker.web import sse
from stoker.web.hub import Hub
from stoker.web.refusal import Refusal
from stoker.web.stream import Frame, Stream
from stoker.web.websocket import CHANGES, PING, changed, read_said, refused, text

SAID_MAX = 64 << 10
"""Bytes of a message from a browser: it says which topics it wants, and no more."""


class Voice(NamedTuple):
    """``hello``: whether a stream begins with that. ``before`` stands before the first thing said, and the last."""

    frame: Callable[[Frame], bytes]
    tick: bytes
    hello: bool
    before: Callable[[], bytes]


def _framed(text: str) -> bytes:
    return Framed(Opcode.TEXT, text.encode()).serialize(mask=False)


EVENTS = Voice(sse.encode, sse.TICK, True, sse.retry)
PLAIN = Voice(sse.encode_plain, sse.TICK, False, sse.retry)


class Speech:
    """The WebSocket of one connection: what the browser says, and the answers."""

    __slots__ = ("_parts", "_protocol")

    voice = Voice(lambda frame: _framed(text(frame)), _framed(PING), True, bytes)

    def __init__(self, subprotocol: str | None) -> None:
        chosen = None if subprotocol is None else [Subprotocol(subprotocol)]
        self._protocol = ServerProtocol(subprotocols=chosen, max_size=SAID_MAX)
        self._parts = bytearray()

    def greet(self, head: bytes) -> tuple[bytes, bool]:
        """The answer to the head of the request, and whether they understand each other."""
        self._protocol.receive_data(head)
        for event in self._protocol.events_received():
            assert isinstance(event, Request)
            response = self._protocol.accept(event)
            self._protocol.send_response(response)
            return self._to_send(), response.status_code == 101
        return b"", False

    def hear(self, data: bytes, stream: Stream, hub: Hub) -> bytes:
        """What is to be sent after these bytes; see :attr:`over`."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Framed) and event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._parts += event.data
                if len(self._parts) > SAID_MAX:
                    self._protocol.fail(1009)
                elif event.fin:
                    said, self._parts = bytes(self._parts), bytearray()
                    for told in _answers(said, stream, hub):
                        if self._open:  # else it said good-bye in the same breath
                            self._protocol.send_text(told.encode())
        return self._to_send()

    def leave(self, reason: str) -> bytes:
        """The end of the talk."""
        if self._open:
            self._protocol.send_close(1001, reason)
        return self._to_send()

    @property
    def over(self) -> bool:
        """Whether nothing more is to be said."""
        return self._protocol.close_expected()

    @property
    def _open(self) -> bool:
        return self._protocol.state is State.OPEN

    def _to_send(self) -> bytes:
        return b"".join(self._protocol.data_to_send())


def _answers(said: bytes, stream: Stream, hub: Hub) -> Iterator[str]:
    id: int | str | None = None
    try:
        message = read_said(said.decode("utf-8", "replace"))
        if message.type == "ping":
            return
        id = message.id
        if message.type != "call" or id is None:
            raise ProtocolError("a browser sends calls, with an id, and pings")
        if message.method not in CHANGES:
            raise NotAllowed("only subscribe and unsubscribe are heard here; for all else ask at web.listen")
        answer = changed(hub, stream, message)
        yield msgspec.json.encode({"type": "return", "id": id, "data": answer}).decode()
    except (StokerError, Refusal) as error:
        yield refused(id, error)
