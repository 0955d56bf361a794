"""A service manager starts it: by the first connection to a socket it holds, and told how it goes by ``sd_notify``."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, RawClient, alive, process, until
from tests.story.conftest import Make

REPORTER = """
import os
from stoker import Product
watched = Product("watched")

@watched.command
def environment() -> list[str]:
    return [name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]
"""


def activated(make: Make, *apps: str, listen: Path | None = None, **settings: object) -> Daemon:
    """A daemon that systemd-socket-activate will start when somebody connects."""
    daemon = make(*apps, begin=False, **settings)
    path = listen or daemon.settings.socket_path
    path.parent.mkdir(mode=0o700, exist_ok=True)
    named = [word for name in daemon.environ if name.startswith(("STOKER_", "PYTHONPATH")) for word in ("-E", name)]
    daemon.prefix = ["systemd-socket-activate", "-l", str(path), *named]
    daemon.start(wait=False)
    until(path.exists, what=f"systemd listens on {path}")
    return daemon


def title(pid: int) -> str:
    found = process(pid)
    return found.title if found else ""


def listening(pid: int) -> list[str]:
    """The Unix sockets that a process listens on, by their inode: ``ss`` would say the same."""
    held = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            held.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return [row[6] for row in rows if row[3] == "00010000" and f"socket:[{row[6]}]" in held]


def test_the_first_connection_starts_it_and_is_answered(make: Make) -> None:
    """V82, V83."""
    daemon = activated(make, "story")
    assert title(daemon.pid).startswith("systemd-socket-activate")
    (before,) = listening(daemon.pid)
    with RawClient(str(daemon.settings.socket_path)) as raw:
        raw.send({"type": "init"})
        assert raw.receive()["type"] == "init"
        assert raw.call(1, "story.double", number=21)["data"] == 42
    assert title(daemon.pid).startswith("stoker-up"), "the same process, become the daemon"
    assert listening(daemon.router) == [before], "the inherited socket, and no other"


def test_the_path_is_systemds_and_stays(make: Make) -> None:
    daemon = activated(make, "story")
    path = daemon.settings.socket_path
    before = path.stat().st_ino
    assert daemon.client.call("story.double", number=1) == 2
    assert daemon.stop() == 0
    assert path.stat().st_ino == before


def test_a_restart_keeps_the_inherited_socket(make: Make) -> None:
    """V61 under activation: every process that matters is another one, the address is the same."""
    daemon = activated(make, "story")
    assert daemon.client.call("story.double", number=1) == 2
    router, held = daemon.router, listening(daemon.pid)
    daemon.send(signal.SIGUSR2)
    until(lambda: daemon.pids("router") not in ([], [router]), what="another router")
    assert daemon.client.call("story.double", number=2) == 4
    assert listening(daemon.pid) == listening(daemon.router) == held


def test_a_unit_that_listens_elsewhere_is_refused_naming_both(make: Make, tmp_path: Path) -> None:
    """V10."""
    elsewhere = tmp_path / "other.sock"
    daemon = activated(make, "story", listen=elsewhere)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(elsewhere))
        assert daemon.exit_code() == 2
    assert str(elsewhere) in daemon.log()
    assert str(daemon.settings.socket_path) in daemon.log()


# ── what the manager hears ───────────────────────────────────────────────────────────────────────────────────────────


class Manager:
    """The receiving end of sd_notify(3): a real datagram socket, and who sent what."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.bind(address)
        self.sock.settimeout(20)

    def hear(self, word: str) -> tuple[list[str], int]:
        """Messages until one says ``word``; that one's lines, and the process that sent it."""
        while True:
            data, ancillary, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(12))
            lines = data.decode().splitlines()
            if word in lines:
                return lines, int.from_bytes(ancillary[0][2][:4], "little")

    def hears_nothing_of(self, word: str) -> bool:
        """Whether what has come so far says nothing of ``word``."""
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                if word in self.sock.recv(4096).decode():
                    return False
        self.sock.settimeout(20)
        return True


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Manager, str]]:
    path = f"/tmp/st-notify-{os.getpid()}-{time.monotonic_ns()}"
    found = Manager(path if request.param == "path" else f"\0{path}")
    yield found, path if request.param == "path" else f"@{path}"
    found.sock.close()
    if request.param == "path":
        os.unlink(path)


def test_ready_when_it_is_and_stopping_when_it_does(make: Make, manager: tuple[Manager, str]) -> None:
    heard, address = manager
    daemon = make("story", begin=False, environ={"NOTIFY_SOCKET": address})
    daemon.start(wait=False)
    ready, sender = heard.hear("READY=1")
    assert any(line.startswith("STATUS=") and "commands ready" in line for line in ready)
    assert sender == daemon.router, "below the main process, so the unit says NotifyAccess=all"
    assert daemon.client.call("story.double", number=2) == 4, "ready means that requests are answered"
    assert heard.hears_nothing_of("WATCHDOG=1"), "nobody asked for it"
    daemon.send(signal.SIGTERM)
    heard.hear("STOPPING=1")
    assert daemon.exit_code() == 0


def test_the_watchdog_is_fed_while_the_loop_turns(make: Make, manager: tuple[Manager, str]) -> None:
    heard, address = manager
    daemon = make("story", begin=False, environ={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"})
    daemon.start(wait=False)
    heard.hear("READY=1")
    for _ in range(3):
        heard.hear("WATCHDOG=1")
    router = daemon.router
    os.kill(router, signal.SIGSTOP)
    until(lambda: (found := process(router)) and found.state == "T", what="the router stands still")
    heard.hears_nothing_of("WATCHDOG=1")  # takes what was on its way
    heard.sock.settimeout(0.5)
    with pytest.raises(TimeoutError):
        heard.sock.recv(4096)
    os.kill(router, signal.SIGCONT)
    heard.sock.settimeout(20)
    heard.hear("WATCHDOG=1")
    assert alive(daemon.pid)


def test_jobs_know_nothing_of_the_manager(make: Make, manager: tuple[Manager, str]) -> None:
    """A job could end the service by a word to the manager: it does not get the address."""
    heard, address = manager
    daemon = make("watched", begin=False, environ={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000"})
    daemon.file("watched.py").write_text(REPORTER)
    daemon.start()
    heard.hear("READY=1")
    assert daemon.client.call("watched.environment") == []
