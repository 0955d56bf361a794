"""A small file beside the socket that says which products have live workers; written by the router, read by anyone.

A reader maps it once. After that a look costs no system call, but for one every :data:`LOOK_EVERY` seconds that asks
the kernel whether the router still holds its lock on the file: a lock ends with its holder, however that ends.

    magic | generation | length | crc32 | MessagePack: {product: workers}

The generation is odd while the router writes, and another one after; a reader that saw it change reads again.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import threading
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from stoker.wire import forked

SIZE = 1 << 16
LOOK_EVERY = 0.05
"""Seconds that a router is taken to live after it was seen to."""
REOPEN_EVERY = 0.2
"""Seconds between tries to find the file while there is none, or none that is held."""
TRIES = 1000
_MAGIC = b"stoker\0\1"
_GENERATION = struct.Struct("<Q")
_BODY = struct.Struct("<II")
_AT, _BODY_AT, _DATA_AT = 8, 16, 24
# struct flock: type, whence, start, length, pid
_LOCK = struct.Struct("hhqqi4x")

_decoder = msgspec.msgpack.Decoder(dict[str, int])


def beside(socket: str | Path) -> Path:
    """Where the board of the daemon is that listens on this socket."""
    return Path(f"{str(socket).removeprefix('unix://')}.workers")


class Board:
    """The router's side. There is one writer; the lock says that it lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._generation = 0
        self._said: dict[str, int] | None = None
        # a file of its own each time: one that an old router's readers have mapped stays as that router left it
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        self._fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # all of it now: a disk that is full later must not end us by SIGBUS
            os.posix_fallocate(self._fd, 0, SIZE)
        except OSError:
            os.close(self._fd)
            os.unlink(fresh)
            raise
        self._memory = mmap.mmap(self._fd, SIZE)
        fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 0)
        self.say({})
        self._memory[: len(_MAGIC)] = _MAGIC
        os.replace(fresh, path)

    def say(self, workers: Mapping[str, int]) -> None:
        """Write how many live workers each product has."""
        if workers == self._said:
            return
        data = msgspec.msgpack.encode(dict(workers))
        if len(data) > SIZE - _DATA_AT:
            data = msgspec.msgpack.encode({})
        _GENERATION.pack_into(self._memory, _AT, self._generation + 1)
        _BODY.pack_into(self._memory, _BODY_AT, len(data), zlib.crc32(data))
        self._memory[_DATA_AT : _DATA_AT + len(data)] = data
        self._generation += 2
        _GENERATION.pack_into(self._memory, _AT, self._generation)
        self._said = dict(workers)

    def close(self) -> None:
        """Say that nobody is here, and let go."""
        self.say({})
        with contextlib.suppress(OSError):
            if os.stat(self._path).st_ino == os.fstat(self._fd).st_ino:
                os.unlink(self._path)
        self._memory.close()
        os.close(self._fd)


class Reader:
    """Anyone's side. Safe from any thread, and after a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._fd = -1
        self._memory: mmap.mmap | None = None
        self._trusted_until = 0.0
        self._generation = -1
        self._workers: dict[str, int] = {}
        forked.in_child(self, Reader._unlock)

    def _unlock(self) -> None:
        self._lock = threading.Lock()

    def workers(self, product: str) -> int:
        """How many workers of a product live; 0 when no router does."""
        if time.monotonic() >= self._trusted_until:
            with self._lock:
                self._look()
        memory = self._memory
        if memory is None:
            return 0
        if _GENERATION.unpack_from(memory, _AT)[0] != self._generation:
            with self._lock:
                self._read()
        return self._workers.get(product, 0)

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _look(self) -> None:
        """Whether the file is still that of a router that lives; if not, perhaps there is a new one."""
        if self._memory is None or not _held(self._fd):
            self._forget()
            self._open()
        self._trusted_until = time.monotonic() + (REOPEN_EVERY if self._memory is None else LOOK_EVERY)

    def _open(self) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if os.fstat(fd).st_size == SIZE and _held(fd):
                memory = mmap.mmap(fd, SIZE, prot=mmap.PROT_READ)
                if memory[: len(_MAGIC)] == _MAGIC:
                    self._fd, self._memory, fd = fd, memory, -1
        finally:
            if fd >= 0:
                os.close(fd)

    def _forget(self) -> None:
        if self._memory is not None:
            # not closed here: another thread may be reading it this very moment
            self._memory = None
            os.close(self._fd)
        self._generation, self._workers = -1, {}

    def _read(self) -> None:
        memory = self._memory
        if memory is None:
            return
        for _ in range(TRIES):
            generation = _GENERATION.unpack_from(memory, _AT)[0]
            length, sum = _BODY.unpack_from(memory, _BODY_AT)
            data = memory[_DATA_AT : _DATA_AT + min(length, SIZE)]
            if generation % 2 == 0 and zlib.crc32(data) == sum:
                with contextlib.suppress(msgspec.DecodeError):
                    self._workers, self._generation = _decoder.decode(data), generation
                    return


def _held(fd: int) -> bool:
    """Whether somebody has the file locked; asked without taking the lock for a moment."""
    told = fcntl.fcntl(fd, fcntl.F_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    return bool(_LOCK.unpack(told)[0] != fcntl.F_UNLCK)
