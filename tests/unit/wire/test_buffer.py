"""Buffers: memory like any other until it is moved, void from then on; and nothing that is none is ever mapped."""

from __future__ import annotations

import fcntl
import gc
import io
import mmap
import os
import pickle
import resource
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoker.model.errors import BufferClosed, BufferMoved, InvalidBuffer, InvalidInput
from stoker.model.schema import JsonCodec, Signature
from stoker.wire import rights
from stoker.wire.buffer import Buffer
from stoker.wire.exchange import Exchange
from stoker.wire.memfd import SEALS, check
from stoker.wire.rights import BUFFERS_MAX, close_all


def open_fds() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def memfd(size: int, seals: int = SEALS) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def test_it_is_memory_of_a_fixed_size() -> None:
    with Buffer(10) as buffer:
        assert (len(buffer), bytes(buffer)) == (10, bytes(10))
        buffer[2:5] = b"abc"
        buffer[0] = 7
        assert (buffer[0], buffer[2:5], buffer.find(b"b")) == (7, b"abc", 3)
        with memoryview(buffer) as view:
            view[9] = 255
        assert buffer[-1] == 255
        with pytest.raises(InvalidBuffer, match="keeps its size"):
            buffer.resize(20)


def test_it_can_be_made_of_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_000))
    assert bytes(Buffer.from_file(path)) == path.read_bytes()
    for data in (b"abc", bytearray(b"abc"), memoryview(b"xaxbxc")[1::2], b""):
        assert bytes(Buffer.of(data)) == bytes(data)
    with pytest.raises(FileNotFoundError):
        Buffer.from_file(tmp_path / "nothing")
    for endless in ("/dev/zero", "/dev/null"):
        with pytest.raises(InvalidBuffer, match="no regular file"):
            Buffer.from_file(endless)


def test_a_file_can_be_read_into_it_without_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 50)
    buffer = Buffer(50)
    with path.open("rb", buffering=0) as file:
        assert file.readinto(buffer) == 50
    assert bytes(buffer) == b"x" * 50
    assert (buffer.read(3), buffer.tell()) == (b"xxx", 3)


def test_numpy_works_in_it() -> None:
    numpy = pytest.importorskip("numpy")
    buffer = Buffer(8 * 4)
    numbers = numpy.frombuffer(buffer.view(), dtype="<i8")
    numbers[:] = [1, 2, 3, 4]
    assert bytes(buffer[8:16]) == (2).to_bytes(8, "little")
    assert numpy.frombuffer(buffer, dtype="<i8").sum() == 10


def test_pillow_reads_from_it(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (3, 2), (10, 20, 30)).save(tmp_path / "a.png")
    with image.open(Buffer.from_file(tmp_path / "a.png")) as read:
        assert (read.size, read.getpixel((2, 1))) == ((3, 2), (10, 20, 30))


def test_what_is_no_picture_is_told_by_pillow_itself() -> None:
    """It looks beyond the end, which a file allows."""
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(OSError, match="cannot identify image file"):
        image.open(Buffer.of(b"junk"))


def test_it_can_be_read_like_a_file() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.txt", "hello")
    buffer = Buffer.of(made.getvalue())
    with zipfile.ZipFile(buffer) as archive:
        assert archive.read("a.txt") == b"hello"
    assert (buffer.seek(2), buffer.seek(3, 1), buffer.seek(-4, 2), buffer.tell()) == (
        2,
        5,
        len(buffer) - 4,
        len(buffer) - 4,
    )
    assert (buffer.seek(1 << 40) > len(buffer), buffer.read()) == (True, b"")
    with pytest.raises(ValueError, match="negative"):
        buffer.seek(-1)
    buffer.close()
    with pytest.raises(BufferClosed):
        buffer.seek(0)


def test_one_of_no_bytes_is_one_like_any_other() -> None:
    buffer = Buffer(0)
    assert (len(buffer), bytes(buffer), memoryview(buffer).nbytes, buffer[:]) == (0, b"", 0, b"")
    buffer[:] = b""
    with pytest.raises(IndexError):
        buffer[0]
    with pytest.raises(IndexError):
        buffer[:] = b"x"
    assert len(Buffer.adopt(os.dup(buffer.fileno()), 0)) == 0
    buffer.give()
    with pytest.raises(BufferMoved):
        len(buffer)


def test_four_gigabytes_are_sparse() -> None:
    with Buffer(4 << 30) as buffer:
        buffer[-1] = 9
        assert len(buffer) == 4 << 30
        with Buffer.adopt(os.dup(buffer.fileno()), 4 << 30) as other:
            assert (other[-1], other[0]) == (9, 0)
        assert os.fstat(buffer.fileno()).st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("size", [-1, 1 << 70])
def test_a_size_that_cannot_be_is_told(size: int) -> None:
    before = open_fds()
    with pytest.raises(InvalidBuffer, match=f"no buffer of {size} bytes"):
        Buffer(size)
    assert open_fds() == before


USES: dict[str, Callable[[Buffer], Any]] = {
    "len": len,
    "item": lambda buffer: buffer[0],
    "slice": lambda buffer: buffer[0:2],
    "write": lambda buffer: buffer.__setitem__(0, 1),
    "bytes": bytes,
    "view": lambda buffer: buffer.view(),
    "read": lambda buffer: buffer.read(),
    "find": lambda buffer: buffer.find(b"a"),
    "with": lambda buffer: buffer.__enter__(),
    "give": lambda buffer: buffer.give(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_any_use_after_the_move_or_the_end_is_told(use: Callable[[Buffer], Any]) -> None:
    moved, closed = Buffer.of(b"abc"), Buffer.of(b"abc")
    moved.give()
    closed.close()
    closed.close()
    with pytest.raises(BufferMoved, match="belongs to the worker now"):
        use(moved)
    with pytest.raises(BufferClosed):
        use(closed)
    moved.gone()
    with pytest.raises(BufferMoved):
        use(moved)
    with pytest.raises(ValueError, match=r"mmap closed|moved"):
        memoryview(moved)
    assert (repr(moved), repr(closed), moved.moved) == ("<buffer, moved>", "<buffer, closed>", True)


def test_what_nobody_took_is_its_owners_again() -> None:
    buffer = Buffer.of(b"abc")
    buffer.give()
    buffer.relieve()
    buffer.take_back()
    assert bytes(buffer) == b"abc"
    buffer.give()
    buffer.gone()
    buffer.take_back()
    with pytest.raises(BufferMoved):
        buffer.view()


def test_a_view_taken_before_stays_readable() -> None:
    buffer = Buffer.of(b"abc")
    view = buffer.view()
    buffer.give()
    buffer.gone()
    assert bytes(view) == b"abc"


def test_nothing_stays_open() -> None:
    before = open_fds()
    for _ in range(20):
        buffer = Buffer.of(b"abc")
        adopted = Buffer.adopt(os.dup(buffer.fileno()))
        view = adopted.view()
        buffer.give()
        buffer.gone()
        adopted.close()
        del view
    del buffer, adopted
    assert open_fds() == before


def test_it_is_not_copied_by_accident() -> None:
    with pytest.raises(TypeError, match="moved, not copied"):
        pickle.dumps(Buffer(1))


# ── what comes from elsewhere ────────────────────────────────────────────────────────────────────────────────────────


def plain_file() -> int:
    return os.open(__file__, os.O_RDONLY)


def a_socket() -> int:
    one, two = socket.socketpair()
    two.close()
    return one.detach()


STRANGE: dict[str, tuple[Callable[[], int], str]] = {
    "a file": (plain_file, "cannot be sealed"),
    "a socket": (a_socket, "no memory file"),
    "not sealed": (lambda: memfd(100, 0), "not sealed"),
    "sealed against growing only": (lambda: memfd(100, fcntl.F_SEAL_GROW), "not sealed"),
    "truncated": (lambda: memfd(0), "has 0 bytes, and 100 were announced"),
    "longer": (lambda: memfd(200), "has 200 bytes, and 100 were announced"),
    "sealed against writing": (lambda: memfd(100, SEALS | fcntl.F_SEAL_WRITE), "cannot be mapped"),
}


@pytest.mark.parametrize(("make", "why"), STRANGE.values(), ids=STRANGE.keys())
def test_what_is_no_buffer_is_refused_and_closed(make: Callable[[], int], why: str) -> None:
    before = open_fds()
    with pytest.raises(InvalidBuffer, match=why):
        Buffer.adopt(make(), 100)
    assert open_fds() == before


def test_nobody_can_shrink_it_under_the_receiver() -> None:
    """What would end a process by SIGBUS: the seal forbids it to the sender, too."""
    buffer = Buffer(mmap.PAGESIZE * 2)
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.fileno(), 0)
    assert check(buffer.fileno()) == mmap.PAGESIZE * 2


def test_it_passes_between_processes_with_what_is_in_it() -> None:
    ours, theirs = socket.socketpair()
    code = """
import socket, sys
from stoker.wire import rights
from stoker.wire.buffer import Buffer
sock = socket.socket(fileno=int(sys.argv[1]))
data, fds = rights.receive(sock, 100)
buffer = Buffer.adopt(fds[0], 5)
print(bytes(buffer).decode())
buffer[:] = b"there"
"""
    buffer = Buffer.of(b"hello")
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdout=subprocess.PIPE
        )
        socket.send_fds(ours, [b"x"], [buffer.fileno()])
        said, _ = child.communicate(timeout=30)
    assert said == b"hello\n"
    assert bytes(buffer) == b"there"


def test_too_many_descriptors_at_once_are_refused_and_closed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = open_fds()
        extra = [os.open(os.devnull, os.O_RDONLY) for _ in range(BUFFERS_MAX + 1)]
        socket.send_fds(ours, [b"x"], extra)
        close_all(extra)
        with pytest.raises(InvalidBuffer, match="16 are the most"):
            rights.receive(theirs, 100)
        assert open_fds() == before


# ── in JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def handler(pixels: Buffer, width: int = 1) -> dict[str, Any]:
    return {"pixels": pixels, "width": width}


def test_it_is_a_mark_in_the_json_and_itself_on_the_other_side() -> None:
    signature, buffer = Signature.of(handler), Buffer.of(b"abc")
    with Exchange() as sent:
        data = signature.pack((buffer,), {"width": 3})
    assert data == b'{"pixels":{"$buffer":0},"width":3}'
    assert sent.sent == [buffer]
    with Exchange(sent.sent):
        assert signature.arguments(data) == {"pixels": buffer, "width": 3}


MARKS = ("1", "0", '"0"', "true", "-1", "{}", '{"$buffer":1}', '{"$buffer":0,"x":1}', '{"$buffer":true}')


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_that_names_none_is_invalid_input(mark: str) -> None:
    with Exchange([Buffer(1)]), pytest.raises(InvalidInput, match="pixels: Expected a Buffer"):
        Signature.of(handler).arguments(b'{"pixels":' + mark.encode() + b"}")


def test_plain_bytes_in_its_place_are_told_what_to_do() -> None:
    with Exchange(), pytest.raises(InvalidInput, match=r"give Buffer\.of\(data\)"):
        Signature.of(handler).pack((b"junk",), {})


def test_a_stored_job_has_none() -> None:
    with pytest.raises(InvalidInput, match="no part of a stored job"):
        Signature.of(handler).pack((Buffer(1),), {})
    with pytest.raises(InvalidInput, match="no part of a stored job"):
        Signature.of(handler).arguments(b'{"pixels":{"$buffer":0}}')


def test_one_that_was_moved_cannot_be_moved_again() -> None:
    buffer = Buffer(1)
    buffer.give()
    with Exchange(), pytest.raises(BufferMoved):
        JsonCodec().encode([buffer])


def test_where_nothing_is_declared_the_marks_are_filled_in() -> None:
    one, two = Buffer(1), Buffer(2)
    exchange = Exchange([one, two])
    value = {"a": [{"$buffer": 1}, {"$buffer": 7}], "b": {"$buffer": 0}, "c": {"$buffer": 0, "d": 1}}
    assert exchange.filled(value) == {"a": [two, {"$buffer": 7}], "b": one, "c": {"$buffer": 0, "d": 1}}


def test_one_that_is_there_twice_is_sent_once_and_too_many_are_refused() -> None:
    buffer = Buffer(1)
    with Exchange() as exchange:
        assert JsonCodec().encode([buffer, buffer]) == b'[{"$buffer":0},{"$buffer":0}]'
        assert exchange.sent == [buffer]
    with Exchange(), pytest.raises(InvalidInput, match="16 Buffers are the most"):
        JsonCodec().encode([Buffer(1) for _ in range(17)])


@pytest.mark.parametrize("size", ["x", 1.5, None, b"x", True])
def test_a_size_is_a_number_of_bytes(size: Any) -> None:
    with pytest.raises(InvalidBuffer, match=r"takes a number of bytes, not .*; Buffer\.of\(data\) copies data"):
        Buffer(size)


def test_what_is_on_its_way_is_not_closed_by_who_gave_it() -> None:
    """The descriptor is needed until the other side has answered; and nobody gives it twice."""
    buffer = Buffer.of(b"abc")
    fd = buffer.give()
    buffer.close()
    assert os.pread(fd, 3, 0) == b"abc"
    with pytest.raises(BufferMoved):
        buffer.give()
    buffer.take_back()
    assert bytes(buffer) == b"abc"
    buffer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_duplicates_are_all_there_or_none() -> None:
    """No descriptor is left for the second one: the first is not left open."""
    before = open_fds()
    (first,) = rights.duplicates([0])
    close_all([first])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + 1, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            rights.duplicates([0, 0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_fds() == before
