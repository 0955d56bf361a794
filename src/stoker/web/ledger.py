"""What was taken back before its time: sessions that were logged out, tickets that were used.

Both lie in files of the project's folder, so that they hold for every process that serves its browsers, and after a
restart.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from stoker.wire.endpoint import make_private_folder

REVOKED = "web.revoked"
TICKETS = "web.tickets"
LINES_KEPT = 10_000
"""Lines of the list after which those that are over are taken out."""


class Revoked(msgspec.Struct, frozen=True):
    """Nothing that was signed for this session before ``at`` is good any more; kept until all of it has expired."""

    user: str
    session: str | None
    at: float
    until: float


class Ledger:
    """The list of one project."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / REVOKED
        self._seen = (0, 0)
        self._at: dict[tuple[str, str | None], float] = {}

    def revoke(self, user: str, session: str | None, life: float) -> None:
        """Take back all that was given to a session until now, or to all sessions of the user; ``life`` is how long it
        could have been used. Heard of by the other processes within seconds."""
        now = time.time()
        make_private_folder(self._folder)
        self._tidy(now)
        line = msgspec.json.encode(Revoked(user, session, now, now + life)) + b"\n"
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)
        self.look()

    def revoked(self, user: str, session: str, since: float) -> bool:
        """Whether what was given then is no good any more."""
        return any(since <= self._at.get(key, 0.0) for key in ((user, session), (user, None)))

    def look(self) -> bool:
        """Read the list if it has changed; whether it had."""
        try:
            found = self._path.stat()
        except OSError:
            return False
        seen = (found.st_ino, found.st_size)
        if seen == self._seen:
            return False
        self._seen = seen
        now = time.time()
        self._at = {}
        for entry in self._entries():
            if entry.until > now:
                key = (entry.user, entry.session)
                self._at[key] = max(self._at.get(key, 0.0), entry.at)
        return True

    def spend(self, ticket: str, life: float) -> bool:
        """Use up a ticket; False when it was used before, by whichever process."""
        folder = self._folder / TICKETS
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(folder / ticket, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        self._sweep(folder, time.time() - life)
        return True

    def _sweep(self, folder: Path, before: float) -> None:
        with contextlib.suppress(OSError), os.scandir(folder) as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    if entry.stat().st_mtime < before:
                        os.unlink(entry.path)

    def _entries(self) -> list[Revoked]:
        found = []
        with contextlib.suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError):
                    found.append(msgspec.json.decode(line, type=Revoked))
        return found

    def _tidy(self, now: float) -> None:
        entries = self._entries()
        if len(entries) < LINES_KEPT:
            return
        new = self._path.with_name(f".{REVOKED}.{os.getpid()}")
        new.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries if entry.until > now))
        new.chmod(0o600)
        new.replace(self._path)
