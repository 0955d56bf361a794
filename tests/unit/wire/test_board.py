"""The board of live workers: right at once, cheap to ask, and never that of a router that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from stoker.wire.board import Board, Reader, beside
from tests.daemon import until

WRITER = """
import json, sys
from pathlib import Path
from stoker.wire.board import Board
board = Board(Path(sys.argv[1]))
for line in sys.stdin:
    board.close() if line.strip() == "close" else board.say(json.loads(line))
    print("said", flush=True)
"""


class Writer:
    """A router of sorts: another process, since a lock is a process's."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in: IO[str] = self.process.stdin
        self._out: IO[str] = self.process.stdout

    def tell(self, line: str) -> None:
        self._in.write(f"{line}\n")
        self._in.flush()
        assert self._out.readline() == "said\n"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._in.close()
        self._out.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return beside(tmp_path / "stoker.sock")


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    made = Writer(path)
    yield made
    made.end()


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    made = Reader(path)
    yield made
    made.close()


def test_what_is_written_is_read_at_once(writer: Writer, reader: Reader, path: Path) -> None:
    writer.tell('{"images": 2}')
    until(lambda: reader.workers("images") == 2)
    assert (reader.workers("images"), reader.workers("other")) == (2, 0)
    for count in range(50):
        writer.tell(f'{{"images": {count}, "other": 1}}')
        assert (reader.workers("images"), reader.workers("other")) == (count, 1)
    assert path.stat().st_mode & 0o777 == 0o600


def test_nobody_is_there_without_a_writer(reader: Reader, path: Path) -> None:
    assert reader.workers("images") == 0
    path.write_bytes(b"x" * 100)
    assert reader.workers("images") == 0


def test_a_writer_that_was_killed_is_missed_within_a_second(writer: Writer, reader: Reader, path: Path) -> None:
    writer.tell('{"images": 2}')
    until(lambda: reader.workers("images") == 2)
    writer.process.kill()
    writer.process.wait()
    until(lambda: reader.workers("images") == 0)
    assert path.exists()
    again = Writer(path)
    again.tell('{"images": 3}')
    until(lambda: reader.workers("images") == 3)
    again.tell("close")
    assert reader.workers("images") == 0
    assert not path.exists()
    again.end()


def test_more_products_than_there_is_room_for_are_none(writer: Writer, reader: Reader) -> None:
    writer.tell('{"images": 1}')
    until(lambda: reader.workers("images") == 1)
    many = ", ".join(f'"product-number-{number}": 1' for number in range(10_000))
    writer.tell(f"{{{many}}}")
    assert reader.workers("product-number-1") == 0


def test_one_look_costs_next_to_nothing(writer: Writer, reader: Reader) -> None:
    writer.tell('{"images": 1}')
    until(lambda: reader.workers("images") == 1)
    begun = time.thread_time()
    for _ in range(100_000):
        reader.workers("images")
    assert time.thread_time() - begun < 0.5


def test_descriptors_are_given_back(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    board = Board(path)
    board.say({"images": 1})
    board.close()
    reader = Reader(path)
    reader.workers("images")
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before
