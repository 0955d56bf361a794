"""The public protocol with nothing but a socket and json, as any other program would speak it."""

from __future__ import annotations

import json
import socket
from typing import Any


class RawClient:
    """One connection. Knows nothing of Stoker."""

    def __init__(self, path: str, timeout: float = 20.0) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self._file = self.sock.makefile("rb")

    def send(self, message: object) -> None:
        self.send_bytes(json.dumps(message).encode() + b"\n")

    def send_bytes(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive_line(self) -> dict[str, Any]:
        """The next message of any kind. Raises EOFError when the daemon hangs up."""
        line = self._file.readline()
        if not line:
            raise EOFError
        message: dict[str, Any] = json.loads(line)
        return message

    def receive(self) -> dict[str, Any]:
        """The next message that is no ping."""
        while (message := self.receive_line())["type"] == "ping":
            pass
        return message

    def call(self, id: int | str, method: str, **params: Any) -> dict[str, Any]:
        """Call and wait for the answer with this id."""
        self.send({"type": "call", "id": id, "method": method, "params": params})
        while True:
            message = self.receive()
            if message.get("id") == id:
                return message

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.sock.close()
