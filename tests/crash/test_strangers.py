"""D35: another user of the same machine: refused everywhere, by the modes of the files and by the kernel's word."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker import Client
from tests.crash.conftest import Make
from tests.daemon import Daemon, below
from tests.nobody import as_other, needs_root


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(
        "secrets", "story", token="", log_file="worker.log", environ={"SOME_KEY": "in-the-environment"}
    ) as daemon:
        daemon.client.call("vault.connect", host="db", password="in-the-input")
        os.chmod(daemon.folder, 0o755)
        yield daemon


def test_modes(daemon: Daemon) -> None:
    """E2: the folder is 0700, socket, store and log are 0600, whatever the umask of whoever started it."""
    folder = daemon.settings.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {"stoker.sock", "stoker.db", "stoker.db-wal", "stoker.db-shm", "stoker.db.lock"} <= set(modes)
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


def attempt(daemon: Daemon) -> dict[str, Any]:
    """What somebody else gets when they try everything."""
    found: dict[str, Any] = {}
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.settimeout(5)
            sock.connect(str(daemon.settings.socket_path))
            with contextlib.suppress(OSError):
                sock.sendall(b'{"type": "init", "role": "script"}\n{"type": "call", "id": 1, "method": "stats"}\n')
            found["connect"] = sock.recv(65536).decode()
        except OSError as error:
            found["connect"] = type(error).__name__
    for name in ("stoker.db", "stoker.db-wal", "stoker.db.lock"):
        found[name] = _read(daemon.settings.folder / name)
    for process in below(daemon.pid):
        found[f"environ of {process.title.split()[0]}"] = _read(Path(f"/proc/{process.pid}/environ"))
    return found


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        return type(error).__name__


@needs_root
def test_another_user_gets_nothing(daemon: Daemon) -> None:
    """D35: neither by the socket nor by a file nor by /proc."""
    found = as_other(lambda: attempt(daemon))
    assert set(found.values()) == {"PermissionError"}, found


@needs_root
def test_a_loosened_mode_is_not_enough(make: Make) -> None:
    """D35: with folder and socket open to all, the peer's uid still decides; and the refusal is one sentence."""
    daemon = make("story")
    for path, mode in ((daemon.folder, 0o755), (daemon.settings.folder, 0o755), (daemon.settings.socket_path, 0o666)):
        os.chmod(path, mode)
    found = as_other(lambda: attempt(daemon)["connect"])
    assert "this daemon belongs to another user than uid 65534" in found
    assert '"return"' not in found

    def by_client() -> str:
        client = Client(settings=daemon.settings)
        try:
            client.ask("stats")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "answered"

    assert as_other(by_client) == "NotAllowed: this daemon belongs to another user than uid 65534"
    assert daemon.client.call("story.double", number=1) == 2


@needs_root
def test_the_place_of_the_socket_taken_by_somebody_else(make: Make) -> None:
    """D35: a link or a folder prepared by another user is not followed: it refuses to start, in words."""
    daemon = make("story", begin=False)
    os.chmod(daemon.folder, 0o777)
    as_other(lambda: os.mkdir(daemon.settings.folder))
    daemon.start(wait=False)
    assert daemon.exit_code() == 2
    assert "belongs to another user" in daemon.log()
    daemon.settings.folder.rmdir()
    daemon.settings.folder.mkdir(mode=0o700)
    daemon.settings.socket_path.symlink_to("/tmp/somewhere-else.sock")
    daemon.start(wait=False)
    assert daemon.exit_code() == 2
    assert "is not a socket" in daemon.log()
    assert not Path("/tmp/somewhere-else.sock").exists()
