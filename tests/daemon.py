"""A real daemon for tests: its processes, its log, a client for it, and the certainty that nothing of it stays.

``with Daemon("story", consumers_max=3) as daemon`` copies ``tests/apps/story.py`` into a folder of its own, runs
``python -m stoker up story`` there under a keeper (``tests/keeper.py``), and waits until the socket answers.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from stoker import AsyncClient, Client
from stoker import settings as settings_module
from stoker.settings import Settings
from tests.raw import RawClient as RawClient

T = TypeVar("T")
APPS = Path(__file__).parent / "apps"
UP = (sys.executable, "-m", "stoker", "up")
KEEPER = Path(__file__).parent / "keeper.py"
NOT_OURS = ("STOKER_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_USEC", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED",
            "DEBUG")  # fmt: skip
"""Variables of whoever runs the tests that would change what a daemon does."""
TEST_SETTINGS: dict[str, Any] = {"look": 0.5, "lease": 5.0, "kill_grace": 0.5}
LOADED = 5.0
"""Seconds that a machine with other work may add to whatever takes time. That a promise of time is kept is measured in
``bench``; a test finds out whether it is kept at all, and prints how long it took."""
SCALE = float(os.environ.get("STOKER_TEST_SCALE", "1"))


def scaled(count: int, least: int = 1) -> int:
    """How often to repeat: ``count`` times STOKER_TEST_SCALE."""
    return max(least, round(count * SCALE))


def until(condition: Callable[[], T], seconds: float = 20.0, what: str = "the condition") -> T:
    """Poll until ``condition`` gives something true, and return that; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {found!r}")
        time.sleep(0.005)


class Process(NamedTuple):
    """One process as /proc shows it."""

    pid: int
    parent: int
    state: str
    title: str


def process(pid: int) -> Process | None:
    """What /proc says of a process; None when it is gone."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return Process(pid, int(parent), state, title)


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    found = process(pid)
    return found is not None and found.state not in "ZX"


def below(pid: int) -> list[Process]:
    """Every living process under one."""
    found: list[Process] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for word in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                child = process(int(word))
                if child is not None and child.state not in "ZX":
                    found += [child, *below(child.pid)]
    return found


class Daemon:
    """One daemon and its folder. ``settings`` are those of Stoker, set by environment."""

    started: list[Daemon] = []  # noqa: RUF012 (all that live, so that a failing test can show their logs)

    def __init__(
        self,
        *apps: str,
        user: int | None = None,
        prefix_argv: Sequence[str] = (),
        environ: dict[str, str] | None = None,
        failpoints: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="st-", dir="/tmp"))
        self.apps = apps
        self.failpoints = failpoints
        self.prefix = list(prefix_argv)
        self.more_environ = dict(environ or {})
        self._given = {**TEST_SETTINGS, **settings}
        self._keeper: subprocess.Popen[bytes] | None = None
        self._said = b""
        self._clients: list[Client] = []
        self.pid = 0
        for app in apps:
            self.copy(app.partition(":")[0])
        if user is not None:
            os.chown(self.folder, user, user)

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def environ(self) -> dict[str, str]:
        """What the daemon, and every command typed beside it, has as environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        kept["PYTHONPATH"] = str(APPS.parent.parent)  # for tests.apps.kit
        for name, value in self._given.items():
            kept[f"STOKER_{name.upper()}"] = str(value)
        if self.failpoints:
            plans = (f"{point}={self._charge(point.partition(':')[0])}" for point in self.failpoints)
            kept["STOKER_FAILPOINTS"] = " ".join(plans)
        return {**kept, **self.more_environ}

    @property
    def settings(self) -> Settings:
        return settings_module.load({"root": str(self.folder), **self._given}, environ={})

    def start(self, *, wait: bool = True) -> Daemon:
        """Start it, and wait until it answers."""
        self._end_keeper()
        with open(self.folder / "log.txt", "ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), *self.prefix, *UP, *self.apps],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=self.folder, env=self.environ,
            )  # fmt: skip
        self._said = b""
        self.pid = int(self._line("pid", 10.0))
        self.started.append(self)
        if wait:
            self.wait_ready()
        return self

    def change(self, **settings: Any) -> None:
        """Start under other settings the next time."""
        self._given.update(settings)

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Until the router answers; fails if the daemon ends instead."""

        def ready() -> bool:
            assert alive(self.pid), f"the daemon ended while it started:\n{self.log()}"
            return self.settings.socket_path.exists() and self.client.try_connect()

        until(ready, seconds, f"the daemon in {self.folder} answers")

    def exit_code(self, seconds: float = 30.0) -> int:
        """Wait for ``stoker up`` to end; its exit code, negative for a signal."""
        return int(self._line("exit", seconds))

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30.0) -> int:
        """End it in order; its exit code."""
        self.send(number)
        return self.exit_code(seconds)

    def kill(self) -> None:
        """The plug is pulled: every process of it, at once."""
        members = [self.pid, *(member.pid for member in below(self.pid))]
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end_keeper()

    def close(self) -> None:
        """Leave nothing: no process, no folder."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._end_keeper()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Daemon:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── its processes ────────────────────────────────────────────────────────────────────────────────────────────────

    def processes(self, role: str | None = None) -> list[Process]:
        """What lives below ``up``; of one role by its title: router, zygote, consumer, spare, resident."""
        found = below(self.pid)
        return [one for one in found if role is None or one.title.startswith(f"stoker-{role}")]

    def pids(self, role: str) -> list[int]:
        return [one.pid for one in self.processes(role)]

    @property
    def router(self) -> int:
        return until(lambda: self.pids("router"), what="a router")[0]

    @property
    def zygote(self) -> int:
        """The zygote that is a child of the router; not one of its children that has not got its title yet."""
        return until(
            lambda: [one.pid for one in self.processes("zygote") if one.parent in self.pids("router")], what="a zygote"
        )[0]

    @property
    def keeper(self) -> int:
        assert self._keeper is not None
        return self._keeper.pid

    # ── its files and clients ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def client(self) -> Client:
        if not self._clients:
            self.another_client()
        return self._clients[0]

    def another_client(self, **options: Any) -> Client:
        """A client with connections of its own; closed with the daemon."""
        self._clients.append(Client(settings=self.settings, **options))
        return self._clients[-1]

    def async_client(self, **options: Any) -> AsyncClient:
        return AsyncClient(settings=self.settings, **options)

    @contextlib.contextmanager
    def raw(self, role: str | None = "script") -> Iterator[RawClient]:
        """A connection that knows nothing of Stoker but JSON lines; says ``init`` unless the role is None."""
        with RawClient(str(self.settings.socket_path)) as raw:
            if role is not None:
                raw.send({"type": "init", "role": role})
                assert raw.receive()["type"] == "init"
            yield raw

    @property
    def store(self) -> Path:
        """The file that it works on."""
        path = self.settings.store_path
        assert path is not None, "its store is a server"
        return path

    def log(self) -> str:
        path = self.folder / "log.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def copy(self, app: str) -> None:
        """Put one of the test applications beside the daemon, if there is one of this name."""
        if (APPS / f"{app}.py").exists():
            shutil.copy(APPS / f"{app}.py", self.folder)

    def file(self, name: str) -> Path:
        """A file in the folder where jobs run."""
        return self.folder / name

    def here(self, gate: str) -> list[int]:
        """The jobs that have come as far as the gate (:func:`tests.apps.kit.hold`), by their pids."""
        path = self.file(f"{gate}.here")
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_here(self, gate: str, count: int = 1) -> list[int]:
        """Wait until so many jobs are at the gate."""
        return until(lambda: self.here(gate) if len(self.here(gate)) >= count else [], what=f"{count} at {gate}")

    def open_gate(self, gate: str) -> None:
        """Let them go on, and whoever comes later."""
        self.file(f"{gate}.gate").touch()

    def arm(self, point: str) -> None:
        """Let the failpoint strike, once, from now on."""
        self._charge(point).touch()

    def struck(self, point: str) -> bool:
        """Whether an armed failpoint has struck."""
        return not self._charge(point).exists()

    def _charge(self, point: str) -> Path:
        return self.folder / f"{point}.charge"

    def _end_keeper(self) -> None:
        keeper, self._keeper = self._keeper, None
        if self in self.started:
            self.started.remove(self)
        if keeper is not None:
            assert keeper.stdin is not None
            assert keeper.stdout is not None
            keeper.stdin.close()
            try:
                keeper.wait(20)
            finally:
                keeper.stdout.close()

    def _line(self, word: str, seconds: float) -> str:
        """What the keeper says after ``word``."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._keeper.stdout, selectors.EVENT_READ)
            while True:
                for line in self._said.decode().splitlines():
                    if line.startswith(f"{word} "):
                        return line.partition(" ")[2]
                left = end - time.monotonic()
                assert left > 0, f"the daemon did not say {word!r} within {seconds:g} s:\n{self.log()}"
                if selector.select(left):
                    data = os.read(self._keeper.stdout.fileno(), 4096)
                    assert data, f"the keeper ended:\n{self.log()}"
                    self._said += data
