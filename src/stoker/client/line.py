"""One blocking connection to the daemon."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

from stoker.client import core
from stoker.model.errors import DaemonSilent, DaemonUnavailable
from stoker.wire import endpoint, messages

T = TypeVar("T")
RECV = 1 << 16


class Line:
    """One connection. Raises DaemonError when it breaks or stays silent."""

    def __init__(self, address: str, silence: float, token: str) -> None:
        self._address = address
        self._silence = silence
        self._sock = endpoint.connect(address, silence)
        self._talk = core.Conversation(token=token or None)
        self._inbox: list[messages.Message] = []
        self._send(self._talk.hello())

    def ask(self, method: str, params: Any, kind: type[T], wait: bool | None = None) -> T:
        number, line = self._talk.call(method, params, wait)
        self._send(line)
        while True:
            message = self.next()
            if isinstance(message, messages.Return | messages.Error) and message.id == number:
                return core.read(message, kind)

    def next(self) -> messages.Message:
        """The next message; waits for it."""
        while not self._inbox:
            try:
                data = self._sock.recv(RECV)
            except TimeoutError:
                raise DaemonSilent(f"the daemon at {self._address} said nothing for {self._silence:g} s") from None
            except OSError as error:
                raise endpoint.unreachable(self._address, error) from None
            if not data:
                raise DaemonUnavailable(f"the daemon at {self._address} closed the connection")
            self._inbox = self._talk.feed(data)
        return self._inbox.pop(0)

    def _send(self, line: bytes) -> None:
        try:
            self._sock.sendall(line)
        except OSError as error:
            self._last_words()
            raise endpoint.unreachable(self._address, error) from None

    def _last_words(self) -> None:
        """Raise what the daemon said before it hung up, if it did: the line was too long, or we are not welcome."""
        with contextlib.suppress(OSError):
            while data := self._sock.recv(RECV):
                self._inbox += self._talk.feed(data)

    def expect(self, silence: float) -> None:
        """How long the daemon may be silent from now on."""
        self._silence = silence
        self._sock.settimeout(silence)

    def close(self) -> None:
        self._sock.close()
