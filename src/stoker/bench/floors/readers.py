"""Thousands of clients that read streams, with nothing but epoll.

``python -m stoker.bench.floors.readers``. ``open PORT COUNT TOKEN TOPICS…`` connects, each to the next of the topics,
and answers when all have got their hello. ``read COUNT`` waits until each has got so many messages since then, and
answers seconds from the first byte to the last. ``check COUNT`` does so with streams of numbered chunks, and fails
unless each has every number once and in order. ``close`` closes all.
"""

from __future__ import annotations

import re
import resource
import select
import socket
import sys
import time

HELLO, MESSAGE = b"event: hello", b"event: message"
NUMBERED = re.compile(rb'"event":"chunk","offset":(\d+),"data":(\d+)')
PATIENCE = 90.0
AT_ONCE = 200


class Readers:
    def __init__(self) -> None:
        self._poll = select.epoll()
        self._socks: dict[int, socket.socket] = {}
        self._tails: dict[int, bytes] = {}
        self._all: dict[int, bytearray] | None = None
        self._seen: dict[int, int] = {}
        self._hello: set[int] = set()

    def open(self, port: int, count: int, token: str, topics: list[str]) -> float:
        """Some at a time, so that no queue of the kernel overflows."""
        begun = time.perf_counter()
        while count > 0:
            new: list[int] = []
            for _ in range(min(AT_ONCE, count)):
                sock = socket.create_connection(("127.0.0.1", port))
                number = len(self._socks)
                topic = topics[number % len(topics)]
                sock.sendall(
                    f"GET /events?instance=r{number}&topics={topic} HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: Bearer {token}\r\n\r\n".encode()
                )
                sock.setblocking(False)
                self._socks[sock.fileno()] = sock
                self._poll.register(sock, select.EPOLLIN)
                new.append(sock.fileno())
            self._until(new, HELLO, 1)
            count -= len(new)
        return time.perf_counter() - begun

    def read(self, count: int) -> float:
        begun = self._until(list(self._socks), MESSAGE, count)
        return time.perf_counter() - begun

    def keep(self) -> None:
        """From now on everything is kept, to be checked."""
        self._all = {}

    def check(self, count: int) -> float:
        took = self.read(count)
        assert self._all is not None
        for data in self._all.values():
            found = NUMBERED.findall(data)
            numbers = [int(number) for _, number in found]
            offsets = [int(offset) for offset, _ in found]
            if numbers != list(range(count)) or offsets != sorted(set(offsets)):
                raise SystemExit(f"not each chunk once and in order: {numbers[:20]}… of {len(numbers)}")
        return took

    def close(self) -> None:
        for sock in self._socks.values():
            sock.close()
        self._socks.clear()
        self._seen.clear()
        self._tails.clear()

    def _until(self, which: list[int], mark: bytes, count: int) -> float:
        """Read until each of these has seen the mark so often; when the first byte came."""
        missing = {fd for fd in which if self._count(fd, mark) < count}
        begun, end = 0.0, time.monotonic() + PATIENCE
        while missing:
            for fd, _ in self._poll.poll(1.0):
                data = self._socks[fd].recv(1 << 18)
                begun = begun or time.perf_counter()
                if not data:
                    raise SystemExit(f"a stream ended; {len(missing)} wait for {mark!r}")
                self._take(fd, data)
                if fd in missing and self._count(fd, mark) >= count:
                    missing.discard(fd)
            if time.monotonic() > end:
                raise SystemExit(f"{len(missing)} of {len(which)} still wait for {mark!r}")
        for fd in which:
            self._seen[fd] = self._seen.get(fd, 0) - (count if mark == MESSAGE else 0)
        return begun or time.perf_counter()

    def _take(self, fd: int, data: bytes) -> None:
        if self._all is not None:
            self._all.setdefault(fd, bytearray()).extend(data)
        whole = self._tails.get(fd, b"") + data
        self._seen[fd] = self._seen.get(fd, 0) + whole.count(MESSAGE)
        if HELLO in whole:
            self._hello.add(fd)
        self._tails[fd] = whole[-len(MESSAGE) + 1 :]

    def _count(self, fd: int, mark: bytes) -> int:
        return int(fd in self._hello) if mark == HELLO else self._seen.get(fd, 0)


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    readers = Readers()
    for line in sys.stdin:
        match line.split():
            case ["open", port, count, token, *topics]:
                print(readers.open(int(port), int(count), token, topics), flush=True)
            case ["keep"]:
                readers.keep()
                print("kept", flush=True)
            case ["read", count]:
                print(readers.read(int(count)), flush=True)
            case ["check", count]:
                print(readers.check(int(count)), flush=True)
            case ["close"]:
                readers.close()
                readers = Readers()
                print("closed", flush=True)


if __name__ == "__main__":
    main()
