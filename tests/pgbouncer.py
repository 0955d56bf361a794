"""A real PgBouncer (Debian's package) before a test's PostgreSQL."""

from __future__ import annotations

import contextlib
import shutil
import signal
from pathlib import Path
from typing import Any, Literal, Self

import psycopg

from tests.certificate import Certificate, certificate
from tests.daemon import until
from tests.guise import environ, free_port, guise
from tests.kept import Kept, scratch
from tests.needs import unavailable
from tests.postgres import Server

PoolMode = Literal["session", "transaction", "statement"]


def pgbouncer() -> str:
    """The program; skips the test where it is not installed."""
    found = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if found is None:
        raise unavailable("PgBouncer is not installed; apt-get install pgbouncer")
    return found


class PgBouncer:
    """A pooler before ``server``, on 127.0.0.1. ``settings`` are further lines of its [pgbouncer] section.

    What it does not know in a start-up message it refuses, as it does out of the box. ``users`` are the roles that may
    come beside the superuser (with a password server: by name and password). ``tls``: nobody comes without.
    """

    def __init__(
        self,
        server: Server,
        pool_mode: PoolMode = "transaction",
        *,
        users: dict[str, str] | None = None,
        tls: bool = False,
        **settings: str | int,
    ) -> None:
        self.server = server
        self.program = pgbouncer()
        self.folder = scratch("pool")
        self.port = free_port()
        self.certificate: Certificate | None = certificate(self.folder) if tls else None
        self._users = {"postgres": server.password or "", **(users or {})}
        self._settings: dict[str, str | int] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust" if server.password is None else "scram-sha-256",
            "auth_file": str(self.folder / "users.txt"),
            "admin_users": "postgres",
            "pool_mode": pool_mode,
            **self._tls_settings(),
            **settings,
        }
        self._kept: Kept | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return self.dsn()

    def dsn(self, **query: Any) -> str:
        """As the server's, through the pooler."""
        return self.server.dsn(port=self.port, **query)

    @property
    def pid(self) -> int:
        assert self._kept is not None, "PgBouncer does not run"
        return self._kept.pid

    @property
    def log(self) -> str:
        path = self.folder / "log.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._kept is None, "PgBouncer runs already"
        way = guise(self.program)
        file = self._write()
        way.give(self.folder)
        self._kept = Kept([*way.argv, self.program, str(file)], self.folder / "log.txt", environ())
        until(self._answers, 20, "PgBouncer answers")

    def stop(self) -> None:
        """End it in order: clients are cut off, servers are told."""
        assert self._kept is not None, "PgBouncer does not run"
        self._kept.send(signal.SIGTERM)
        self._kept.wait()
        self.kill()

    def kill(self) -> None:
        """The plug is pulled."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.end()

    def close(self) -> None:
        """End it at once and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def admin(self, command: str) -> list[tuple[Any, ...]]:
        """A command of its console: ``SHOW POOLS``, ``PAUSE``, ``RESUME``, ``KILL postgres``."""
        mode = "disable" if self.certificate is None else "require"
        url = self.dsn(database="pgbouncer", sslmode=mode, connect_timeout=5)
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        assert self._kept is not None
        assert self._kept.status is None, f"PgBouncer ended while it started:\n{self.log}"
        with contextlib.suppress(psycopg.OperationalError):
            return bool(self.admin("SHOW VERSION"))
        return False

    def _tls_settings(self) -> dict[str, str]:
        if self.certificate is None:
            return {}
        return {
            "client_tls_sslmode": "require",
            "client_tls_cert_file": str(self.certificate.cert),
            "client_tls_key_file": str(self.certificate.key),
        }

    def _write(self) -> Path:
        """Its files; the path of the one that names the others."""
        known = [f'"{user}" "{password}"\n' for user, password in self._users.items()]
        (self.folder / "users.txt").write_text("".join(known))
        lines = [f"{name} = {value}" for name, value in self._settings.items()]
        target = f"* = host=127.0.0.1 port={self.server.port}"
        file = self.folder / "pgbouncer.ini"
        file.write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))
        return file
