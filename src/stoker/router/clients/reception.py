"""Where clients come in, and where those that are in are known."""

from __future__ import annotations

import asyncio
import socket

from stoker.router.clients.connection import Connection
from stoker.router.house import House
from stoker.wire.acceptor import Acceptor, accept
from stoker.wire.transport import Transport


class Reception:
    """The listening sockets and the connections of one router. See :class:`stoker.router.clients.connection.Lobby`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._servers: list[Acceptor] = []
        self._connections: set[Connection] = set()

    async def open(self, listeners: list[socket.socket]) -> None:
        """Listen from now on."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            self._servers.append(self._serve(loop, listener))

    def _serve(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> Acceptor:
        if listener.family == socket.AF_UNIX:
            return Acceptor(loop, listener, lambda sock: Transport(loop, sock, self._connection()))
        return accept(loop, listener, self._connection)

    def _connection(self) -> Connection:
        return Connection(self._house, self)

    def welcome(self, connection: Connection) -> bool:
        """Let a client in if there is room."""
        self._connections.add(connection)
        return len(self._connections) <= self._house.settings().max_clients

    def introduced(self, role: str) -> None:
        clients = self._house.figures.clients
        clients[role] = clients.get(role, 0) + 1

    def farewell(self, connection: Connection, role: str | None) -> None:
        self._connections.discard(connection)
        if role is not None:
            self._house.figures.clients[role] -= 1

    @property
    def waiting(self) -> bool:
        """Whether any client waits for an answer."""
        return any(connection.waiting for connection in self._connections)

    def close(self) -> None:
        """Let nobody in any more."""
        for server in self._servers:
            server.close()

    async def dismiss(self) -> None:
        """Close every line."""
        for connection in list(self._connections):
            connection.close()
        for server in self._servers:
            await server.wait_closed()
