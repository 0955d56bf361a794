"""Buffers: memory that is handed to another process instead of being copied to it.

A Buffer lives in a memfd, an anonymous file in memory, whose size is sealed when it is made. Handing it over means
passing its descriptor over a Unix socket (``SCM_RIGHTS``): the receiver maps the same pages. Whoever receives one looks
at size and seals before it maps, so that nobody can make it touch memory that is not there (SIGBUS).

In the JSON of a message a Buffer is ``{"$buffer": n}``, the n-th of the descriptors beside it; see :mod:`.exchange`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import stat
import sys
import time
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stoker.model.errors import BufferClosed, BufferMoved, InvalidBuffer
from stoker.model.quantities import show_size
from stoker.wire import exchange, memfd
from stoker.wire.exchange import MARK

B = TypeVar("B", bound="Buffer")

RELIEVE_AT_ONCE, RELIEVE_PAUSE = 2 << 20, 0.0001
"""Bytes, and seconds between them: more may keep a processor that the receiver waits for (512 MB in one piece made a
move 10 ms longer at times)."""
DONTNEED = getattr(mmap, "MADV_DONTNEED", 4)
WRITABLE = 1  # PyBUF_WRITABLE
_libc = ctypes.CDLL(None)


class Buffer:
    """A piece of memory that can be moved between processes: ``Buffer(size)``, ``Buffer.of(data)``,
    ``Buffer.from_file(path)``.

    It is read and written like a ``bytearray`` of fixed size, and is a buffer for everything that takes one:
    ``memoryview(buffer)``, ``numpy.frombuffer(buffer.view(), …)``, ``file.readinto(buffer)``; it also has the methods
    of a file, so that ``PIL.Image.open(buffer)`` works. To move it ends it here: any use then raises
    :class:`~stoker.model.errors.BufferMoved`. Views taken before stay readable, and are the owner's own risk.
    """

    _fd = -1
    _ended: type[BufferMoved] | type[BufferClosed] | None = None

    def __new__(cls, size: int) -> Buffer:
        if not isinstance(size, int) or isinstance(size, bool):
            raise InvalidBuffer(
                f"Buffer(size) takes a number of bytes, not {type(size).__name__}; Buffer.of(data) copies data"
            )
        fd = memfd.create()
        try:
            os.ftruncate(fd, size)
        except BaseException as error:
            os.close(fd)
            if isinstance(error, OSError | OverflowError):
                raise InvalidBuffer(f"there is no buffer of {size} bytes: {memfd.why(error)}") from None
            raise
        return _sealed(fd, size)

    @staticmethod
    def of(data: Any) -> Buffer:
        """A Buffer with a copy of ``data``: bytes, or whatever else has the buffer protocol."""
        view = memoryview(data)
        flat = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        fd = memfd.create()
        try:
            done = memfd.fill(fd, flat)
        except BaseException:
            os.close(fd)
            raise
        return _sealed(fd, done)

    @staticmethod
    def from_file(path: str | PathLike[str]) -> Buffer:
        """A Buffer with what is in a file; copied by the kernel, in one piece.

        Raises :class:`InvalidBuffer` for what is no regular file: a device may have no end, and this memory belongs to
        no process that could be stopped for it.
        """
        with open(path, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidBuffer(f"{os.fspath(path)} is no regular file")
            fd = memfd.create()
            try:
                size = memfd.copy(fd, file.fileno())
            except BaseException:
                os.close(fd)
                raise
        return _sealed(fd, size)

    @staticmethod
    def adopt(fd: int, size: int | None = None) -> Buffer:
        """The Buffer behind a descriptor that came from elsewhere, which is ours from now on: closed if it is none, or
        has not the announced size. Raises :class:`InvalidBuffer`."""
        try:
            found = memfd.check(fd, size)
        except BaseException:
            os.close(fd)
            raise
        return _mapped(fd, found)

    def view(self) -> memoryview:
        """The memory itself, writable, without a copy."""
        self.check()
        return memoryview(cast(Any, self))

    @property
    def moved(self) -> bool:
        """Whether it belongs to somebody else by now."""
        return self._ended is BufferMoved

    def close(self) -> None:
        """Let go of the memory; closed twice is closed. One on its way to somebody else is kept until it is there."""
        if not self.moved:
            self._let_go(BufferClosed)

    def give(self) -> int:
        """Begin to move: nobody can use it here any more. The descriptor, which stays ours until :meth:`gone`."""
        # not by check(): no call lies between, so of two threads that move it only one does
        if self._ended is not None:
            raise self._ended
        self._ended = BufferMoved
        return self._fd

    def fileno(self) -> int:
        """The descriptor of the memory file, as long as it is ours."""
        return self._fd

    def take_back(self) -> None:
        """It was not moved: nobody took it."""
        if self._fd >= 0:
            self._ended = None

    def relieve(self) -> None:
        """Let this process not count the pages as its own any more, as soon as they are another's."""
        raise NotImplementedError

    def gone(self) -> None:
        """The move is over: let go of what was kept for the case that it failed."""
        self._let_go(BufferMoved)

    def check(self) -> None:
        """Raises :class:`BufferMoved` or :class:`BufferClosed` when it is not ours to use any more."""
        if self._ended is not None:
            raise self._ended

    def _unmap(self) -> None:
        raise NotImplementedError

    def _let_go(self, ended: type[BufferMoved] | type[BufferClosed]) -> None:
        self._ended = self._ended or ended
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
            # where a view is still held, the mapping goes with the view
            with contextlib.suppress(BufferError):
                self._unmap()

    def __enter__(self: B) -> B:
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._let_go(BufferClosed)

    def __bytes__(self) -> bytes:
        return self.view().tobytes()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        raise TypeError("a Buffer is moved, not copied; bytes(buffer) makes a copy")

    def __repr__(self) -> str:
        state = {None: "", BufferMoved: ", moved", BufferClosed: ", closed"}[self._ended]
        return f"<buffer{'' if state else f' of {show_size(len(self))}'}{state}>"

    __str__ = __repr__

    # ── how schemas and JSON see it; found by these names, whatever module asks ──────────────────────────────────────

    @classmethod
    def __stoker_schema__(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {MARK: {"type": "integer"}},
            "required": [MARK],
            "description": "a Buffer, moved beside the message",
        }

    @classmethod
    def __stoker_read__(cls, value: Any) -> Buffer:
        return exchange.current().read(value)

    def __stoker_write__(self) -> dict[str, int]:
        return {MARK: exchange.current().write(self)}

    if TYPE_CHECKING:

        def __buffer__(self, flags: int, /) -> memoryview: ...
        def __len__(self) -> int: ...
        def __getitem__(self, place: Any) -> Any: ...
        def __setitem__(self, place: Any, value: Any) -> None: ...
        def read(self, size: int = -1, /) -> bytes: ...
        def readline(self) -> bytes: ...
        def write(self, data: Any, /) -> int: ...
        def seek(self, place: int, whence: int = 0, /) -> int: ...
        def tell(self) -> int: ...
        def find(self, *args: Any, **kwargs: Any) -> int: ...
        def resize(self, newsize: int, /) -> None: ...


def _guarded(name: str) -> Callable[..., Any]:
    """A method of the mapping that says what is the matter when there is none any more."""
    native = getattr(mmap.mmap, name)

    def method(self: Buffer, *args: Any) -> Any:
        if self._ended is not None:
            raise self._ended
        return native(self, *args)

    method.__name__, method.__doc__ = name, native.__doc__
    return method


class _Mapped(Buffer, mmap.mmap):
    """One with something in it. Its memory is the mapping's, so that C code finds the buffer protocol."""

    __len__ = _guarded("__len__")
    __getitem__ = _guarded("__getitem__")
    __setitem__ = _guarded("__setitem__")
    read = _guarded("read")
    readline = _guarded("readline")
    read_byte = _guarded("read_byte")
    write = _guarded("write")
    write_byte = _guarded("write_byte")

    def seek(self, place: int, whence: int = 0, /) -> int:  # type: ignore[override]
        """As of a file: the place; beyond the end there is nothing to read. (A mapping refuses that, and says the place
        only from Python 3.13 on.)"""
        size = len(self)
        found = place + (0, self.tell(), size)[whence]
        if found < 0:
            raise ValueError(f"negative place {found}")
        mmap.mmap.seek(self, min(found, size))
        return found

    def seekable(self) -> bool:
        return True

    tell = _guarded("tell")
    find = _guarded("find")
    rfind = _guarded("rfind")
    move = _guarded("move")
    size = _guarded("size")
    madvise = _guarded("madvise")
    flush = _guarded("flush")

    if sys.version_info >= (3, 12):

        def __buffer__(self, flags: int, /) -> memoryview:
            self.check()
            return mmap.mmap.__buffer__(self, flags)

        def _memory(self) -> Any:
            return mmap.mmap.__buffer__(self, WRITABLE)

    else:

        def _memory(self) -> Any:
            """The mapping's memory, also while it is on its way to somebody else."""
            return self

    def resize(self, newsize: int) -> None:
        raise InvalidBuffer("a Buffer keeps its size; make another")

    def relieve(self) -> None:
        try:
            size = mmap.mmap.__len__(self)
            here = ctypes.c_char.from_buffer(self._memory())  # while this lives, nobody unmaps it
        except ValueError:
            return  # closed by now
        begin = ctypes.addressof(here)
        for place in range(0, size, RELIEVE_AT_ONCE):
            if place:
                time.sleep(RELIEVE_PAUSE)
            length = min(RELIEVE_AT_ONCE, size - place)
            # not the method of the same name, which would keep every other thread from running meanwhile
            _libc.madvise(ctypes.c_void_p(begin + place), ctypes.c_size_t(length), DONTNEED)

    def _unmap(self) -> None:
        mmap.mmap.close(self)


class _Nothing(Buffer, bytes):
    """One of no bytes at all, which cannot be mapped."""

    def __len__(self) -> int:
        self.check()
        return 0

    def __getitem__(self, place: Any) -> Any:
        self.check()
        return bytes.__getitem__(self, place)

    def __setitem__(self, place: Any, value: Any) -> None:
        self.check()
        if not isinstance(place, slice) or len(value):
            raise IndexError("the buffer has no bytes")

    def read(self, _size: int = -1) -> bytes:
        self.check()
        return b""

    def relieve(self) -> None:
        """There are no pages."""

    def _unmap(self) -> None:
        """There is nothing to unmap."""


def _sealed(fd: int, size: int) -> Buffer:
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, memfd.SEALS)
    except BaseException:
        os.close(fd)
        raise
    return _mapped(fd, size)


def _mapped(fd: int, size: int) -> Buffer:
    try:
        made: Buffer = mmap.mmap.__new__(_Mapped, fd, size) if size else bytes.__new__(_Nothing)
    except (OSError, ValueError) as error:
        os.close(fd)
        raise InvalidBuffer(f"the memory cannot be mapped: {memfd.why(error)}") from None
    made._fd = fd
    return made
