"""One blocking connection to the daemon."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from stoker.client import core
from stoker.model.errors import DaemonSilent, DaemonUnavailable, DispatchTimeout, ProtocolError
from stoker.wire import endpoint, messages, rights
from stoker.wire.rights import close_all

T = TypeVar("T")
RECV = 1 << 16
HUNG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)


class Line:
    """One connection. Raises DaemonError when it breaks or stays silent."""

    def __init__(self, address: str, silence: float, token: str) -> None:
        self._address = address
        self._silence = silence
        self._sock = endpoint.connect(address, silence)
        self._talk = core.Conversation(token=token or None)
        self._inbox: list[messages.Message] = []
        self._rights = self._sock.family == socket.AF_UNIX
        self._came: deque[int] = deque()
        self._results: dict[int | str, list[int]] = {}
        """Descriptors of answers to dispatches, by their job."""
        self._owed = self._torn = False
        self._pid = os.getpid()
        try:
            self._send(self._talk.hello())
        except BaseException:
            self._sock.close()
            raise

    def ask(self, method: str, params: Any, kind: type[T], wait: bool | None = None) -> T:
        number, line = self._talk.call(method, params, wait)
        self._send(line)
        while True:
            message = self.next()
            if isinstance(message, messages.Return | messages.Error) and message.id == number:
                return core.read(message, kind)
            if isinstance(message, messages.JobResult):
                close_all(self._results.pop(message.job_id, ()))  # of a dispatch that was given up

    def next(self) -> messages.Message:
        """The next message; waits for it."""
        while not self._inbox:
            self._torn = True  # until what comes is understood
            try:
                data = self._receive()
            except TimeoutError:
                raise DaemonSilent(f"the daemon at {self._address} said nothing for {self._silence:g} s") from None
            except OSError as error:
                raise endpoint.unreachable(self._address, error) from None
            if not data:
                raise DaemonUnavailable(f"the daemon at {self._address} closed the connection")
            self._inbox = self._talk.feed(data)
            for message in self._inbox:
                if isinstance(message, messages.JobResult) and message.buffers:
                    self._results[message.job_id] = self._take_fds(len(message.buffers))
            self._torn = False
        return self._inbox.pop(0)

    @property
    def sound(self) -> bool:
        """Whether it may be used again: it is this process's, all that came was understood, and no answer to a dispatch
        is still to come, which might be large, and would be in the way of the next thing said here."""
        return self._pid == os.getpid() and not (self._torn or self._owed)

    @property
    def gone(self) -> bool:
        """Whether the other side has hung up, as far as is known without asking it."""
        poll = select.poll()
        poll.register(self._sock, HUNG_UP)
        return bool(poll.poll(0))

    def tell(self, line: bytes, fds: Sequence[int], until: float | None) -> None:
        """Send a dispatch, and descriptors beside it; those stay the caller's. Raises :class:`DispatchTimeout` as
        :meth:`result` does."""
        self._owed = True
        with self._bounded(until):
            self._send(line, fds)

    def result(self, job: str, until: float | None) -> tuple[messages.JobResult, list[int]]:
        """Wait for the answer to a dispatch; the descriptors that came with it are the caller's. Raises
        :class:`DispatchTimeout` at ``until``, on the monotonic clock."""
        while True:
            with self._bounded(until):
                message = self.next()
            if not isinstance(message, messages.JobResult):
                continue
            fds = self._results.pop(message.job_id, [])
            if message.job_id == job:
                self._owed = False
                return message, fds
            close_all(fds)  # nobody waits for that one any more

    @contextlib.contextmanager
    def _bounded(self, until: float | None) -> Iterator[None]:
        """Wait no longer than until then, on the monotonic clock. Raises :class:`DispatchTimeout`."""
        if until is not None:
            self._sock.settimeout(min(self._silence, max(0.001, until - time.monotonic())))
        try:
            yield
        except DaemonSilent:
            if until is None or time.monotonic() < until:
                raise
            raise DispatchTimeout(f"no answer from the daemon at {self._address} in time") from None
        finally:
            self._sock.settimeout(self._silence)

    def _take_fds(self, count: int) -> list[int]:
        if count > len(self._came):
            raise ProtocolError(f"{count} buffers were announced, and {len(self._came)} descriptors came with the line")
        return [self._came.popleft() for _ in range(count)]

    def _receive(self) -> bytes:
        if not self._rights:
            return self._sock.recv(RECV)
        data, fds = rights.receive(self._sock, RECV)
        self._came.extend(fds)
        return data

    def _send(self, line: bytes, fds: Sequence[int] = ()) -> None:
        try:
            if fds:
                line = line[socket.send_fds(self._sock, [line], list(fds)) :]
            self._sock.sendall(line)
        except TimeoutError:
            raise DaemonSilent(f"the daemon at {self._address} took nothing for {self._silence:g} s") from None
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
        for fds in (self._came, *self._results.values()):
            close_all(fds)
        self._came.clear()
        self._results.clear()
