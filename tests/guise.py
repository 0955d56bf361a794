"""As whom servers run in tests: PostgreSQL and PgBouncer refuse root.

Root therefore starts them in a user namespace in which it is user 65534 (``unshare``: to the kernel it stays the owner
of root's files, so closed folders on the way do no harm), or, where namespaces are forbidden, as user 65534 itself
(``setpriv``: then every folder on the way must be open). An ordinary user starts them as it is. With ``unshare`` they
also get System V memory of their own, of which a SIGKILL leaves nothing. Which way is taken is found out by trying.
"""

from __future__ import annotations

import functools
import os
import random
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.kept import Kept
from tests.needs import unavailable

NOBODY = 65534
MAPPED = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--ipc")
CHANGED = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
AS_BEFORE = ("unshare", "--user", "--map-current-user", "--ipc")


class Guise(NamedTuple):
    """One way to run a server."""

    argv: tuple[str, ...]
    """What goes before its command line."""
    own_ipc: bool = True
    """Whether its System V memory ends with it."""
    user: int | None = None
    """The owner that its folder must have; None: whoever runs the tests."""

    def give(self, folder: Path) -> None:
        """Let the server write in this folder."""
        if self.user is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.user, self.user)


@functools.cache
def guise(program: str) -> Guise:
    """The first way that works for this program, which must know ``--version``."""
    if os.geteuid() == 0:
        ways = [Guise(MAPPED), Guise(CHANGED, own_ipc=False, user=NOBODY)]
    else:
        ways = [Guise(AS_BEFORE), Guise((), own_ipc=False)]
    said = ""
    for way in ways:
        try:
            done = subprocess.run([*way.argv, program, "--version"], capture_output=True, text=True)
        except OSError as error:
            said += f"\n{error}"
            continue
        if done.returncode == 0:
            return way
        said += f"\n{done.stderr.strip()}"
    raise unavailable(f"{program} cannot be run here as an ordinary user:{said}")


def environ() -> dict[str, str]:
    """This environment without the PG* of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def free_port() -> int:
    """A TCP port nobody listens on, below those the kernel gives to clients: it stays free while a server restarts."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def run(way: Guise, argv: Sequence[str], folder: Path) -> None:
    """Run a program to its end as a server runs, with ``folder`` to write in."""
    way.give(folder)
    kept = Kept([*way.argv, *argv], folder / "log.txt", environ())
    try:
        status = kept.wait(60)
    finally:
        kept.end()
    assert status == 0, f"{argv[0]} failed: {kept.log.read_text()}"
