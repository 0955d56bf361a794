"""Processes that are measured: a daemon of its own, and helpers that do the bare minimum."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from stoker import Client, JobHandle
from stoker import settings as settings_module
from stoker.run import process

APPS = Path(__file__).parent / "apps"
DRIVERS = Path(__file__).parent / "drivers"
NOT_OURS = ("STOKER_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_USEC", "DEBUG")
CHUNK = 10_000
"""Jobs in one submission at most."""
COUNTED_WITHIN = 15.0
TAIL = 30
"""Jobs at the end that are waited for before the daemon is asked whether all have ended."""


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for a condition, looking often but at no cost worth naming."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        time.sleep(0.002)


def spawn(
    argv: Sequence[str], log: Path, environ: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a program that ends when we do; what it complains about goes to ``log``."""
    parent = os.getpid()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    with log.open("ab") as file:
        child: subprocess.Popen[bytes] = subprocess.Popen(
            argv, stderr=file, env={**kept, "OMP_NUM_THREADS": "1", **(environ or {})},
            preexec_fn=lambda: process.die_with_parent(parent, signal.SIGTERM), **options,
        )  # fmt: skip
    return child


def end(child: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    """Ask it to leave; make it, if it does not."""
    child.terminate()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


class Daemon:
    """``stoker up`` in a folder of its own, with every setting at its default but those given; a client for it."""

    def __init__(self, folder: Path, app: str, **settings: str | int) -> None:
        self.folder = folder
        shutil.copytree(APPS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        self.settings = settings_module.load({"root": str(folder), **settings}, environ={})
        self.client = Client(settings=self.settings)
        given = {f"STOKER_{name.upper().replace('.', '_')}": str(value) for name, value in settings.items()}
        self._up = spawn([sys.executable, "-m", "stoker", "up", app], folder / "log", given, cwd=folder)
        self.pid = self._up.pid
        self._zygote: int | None = None

    def __enter__(self) -> Self:
        def ready() -> bool:
            if self._up.poll() is not None:
                raise RuntimeError(f"the daemon ended:\n{self.log()}")
            return self.settings.socket_path.exists() and self.client.try_connect()

        try:
            until(ready, "the daemon answers")
        except BaseException:
            end(self._up)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        end(self._up)

    def processes(self) -> dict[str, list[int]]:
        """Process ids by role: up, router, zygote, spare."""
        found: dict[str, list[int]] = {}
        for one in (psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)):
            with contextlib.suppress(psutil.Error, IndexError):
                role = one.cmdline()[0].split()[0].partition("-")[2]
                found.setdefault(role, []).append(one.pid)
        return found

    def wait_spares(self) -> None:
        """Until as many consumers are forked ahead as the settings say, and none runs."""
        if self._zygote is None:
            self._zygote = int(self.client.stats()["zygote"])
        zygote = self._zygote
        until(lambda: len(process.children(zygote)) == self.settings.spares, "all spares are there")

    @contextlib.contextmanager
    def paused(self, command: str) -> Iterator[None]:
        self.client.ask("pause", name=command)
        try:
            yield
        finally:
            self.client.ask("resume", name=command)

    def submit(
        self, command: str, count: int, input: Mapping[str, Any] | None = None, **options: Any
    ) -> list[JobHandle[object]]:
        """Store so many jobs with the same input, or none."""
        handles: list[JobHandle[object]] = []
        while len(handles) < count:
            some = [input or {}] * min(CHUNK, count - len(handles))
            handles += self.client.submit_many(command, some, **options)
        return handles

    def drain(self, command: str, count: int, input: Mapping[str, Any] | None = None, *, forked: bool = True) -> float:
        """Jobs a second: so many are stored first, then let loose, until all have ended. ``forked``: each in a process
        of its own, so that those that are forked ahead belong to the beginning."""
        before = self.client.stats()["completed"]
        with self.paused(command):
            handles = self.submit(command, count, input)
            if forked:
                self.wait_spares()
            begun = time.perf_counter()
        for handle in handles[: -TAIL - 1 : -1]:
            handle.wait()
        until(self._ended, "all jobs have ended")
        seconds = time.perf_counter() - begun
        self._check(before + count)
        return count / seconds

    def _ended(self) -> bool:
        stats = self.client.stats()
        return not stats["queued"] + stats["running"] + stats["scheduled"]

    def _check(self, completed: int) -> None:
        """A rate counts only if every job was really done. Raises RuntimeError that shows what else happened."""
        try:
            # of a great many ended jobs the daemon does not count all for every question
            until(lambda: bool(self.client.stats()["completed"] == completed), "all jobs are completed", COUNTED_WITHIN)
        except RuntimeError:
            stats = self.client.stats()
            counts = {name: stats[name] for name in ("completed", "failed", "cancelled")}
            raise RuntimeError(f"{completed} jobs should be completed, but: {counts}\n{self.log()}") from None

    def log(self) -> str:
        """The end of what the daemon said."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]


class Helper:
    """A program of ``floors`` or ``drivers`` that answers a line with a line."""

    def __init__(
        self, folder: Path, *argv: str, python: str = sys.executable, environ: Mapping[str, str] | None = None
    ) -> None:
        self._log = folder / "floors.log"
        self._child = spawn(
            [python, *argv], self._log, environ, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def ask(self, line: str = "") -> str:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(f"{line}\n".encode())
        answer = self._child.stdout.readline().decode().strip()
        if not answer:
            raise RuntimeError(f"a floor ended:\n{self._log.read_text()[-2000:]}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            end(self._child)
        if self._child.stdout is not None:
            self._child.stdout.close()
