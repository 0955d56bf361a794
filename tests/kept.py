"""Programs and folders that never outlive the test run, however it ends.

The kernel closes a dead process's pipes: that is what ``keeper.py`` (for programs) and the broom (for folders) wait
for, so a SIGKILL of pytest leaves nothing either. Both have a session of their own: a Ctrl-C is meant for pytest alone.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.daemon import KEEPER

BROOM = """\
import os, shutil, sys, time
sys.stdin.read()
for _ in range(1000):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    if not os.path.exists(sys.argv[1]):
        break
    time.sleep(0.01)
"""
"""Removes a folder when its standard input ends; again, while a dying program still writes there."""
SECONDS = 20.0


class Kept:
    """A running program under a keeper; its outputs are appended to ``log``."""

    def __init__(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with open(log, "ab") as file:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), *argv],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, env=env, start_new_session=True,
            )  # fmt: skip
        self._said = b""
        try:
            self.pid = int(self._line("pid", SECONDS) or 0)
            assert self.pid, f"{argv[0]} did not start: {log.read_text()}"
        except BaseException:
            self.end()
            raise

    @property
    def status(self) -> int | None:
        """How the program ended (negative: by that signal); None while it runs."""
        line = self._line("exit", 0)
        return None if line is None else int(line)

    def send(self, number: int) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def wait(self, seconds: float = SECONDS) -> int:
        """The program's exit status; fails when it has not ended by then."""
        line = self._line("exit", seconds)
        assert line is not None, f"process {self.pid} did not end within {seconds:g} s:\n{self.log.read_text()}"
        return int(line)

    def end(self) -> None:
        """Kill what is left of it, all at once: the program and whatever it started."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(SECONDS)
        finally:
            self._keeper.stdout.close()

    def _line(self, word: str, seconds: float) -> str | None:
        """What the keeper says after ``word``; None when it says nothing until then, or ended."""
        assert self._keeper.stdout is not None
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            if not self._keeper.stdout.closed:
                selector.register(self._keeper.stdout, selectors.EVENT_READ)
            while True:
                for line in self._said.decode().splitlines(keepends=True):
                    if line.startswith(f"{word} ") and line.endswith("\n"):
                        return line.partition(" ")[2].strip()
                if not selector.get_map() or not selector.select(max(0.0, end - time.monotonic())):
                    return None
                data = os.read(self._keeper.stdout.fileno(), 4096)
                if not data:
                    return None
                self._said += data


def scratch(name: str) -> Path:
    """A new empty folder, open to every user, with a short path: room for a Unix socket in it."""
    made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_base()))
    made.chmod(0o755)
    return made


@functools.cache
def _base() -> Path:
    """The folder of everything made here, swept when this process ends."""
    home = tempfile.gettempdir()
    base = Path(tempfile.mkdtemp(prefix="srv-", dir=home if len(home) < 40 else "/tmp"))
    base.chmod(0o755)
    broom = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BROOM, str(base)], stdin=subprocess.PIPE, start_new_session=True
    )
    owner = os.getpid()

    def sweep() -> None:
        if os.getpid() == owner:
            with contextlib.suppress(OSError):
                shutil.rmtree(base)
            assert broom.stdin is not None
            broom.stdin.close()
            broom.wait(SECONDS)

    atexit.register(sweep)
    return base
