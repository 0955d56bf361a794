"""A server that is not there yet, or says no; and one behind a pooler."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.model.errors import StoreError, StoreFull
from tests.conftest import Fresh
from tests.crash.conftest import Enlist
from tests.daemon import until
from tests.fleet import Fleet, started
from tests.kept import scratch
from tests.needs import unavailable
from tests.pgbouncer import PgBouncer
from tests.postgres import PASSWORD, Server
from tests.terminal import typed

STORE_EXIT = 5


def in_order(log: str, *words: str) -> bool:
    """Whether these come in the log one after the other."""
    place = 0
    for word in words:
        place = log.find(word, place)
        if place < 0:
            return False
    return True


def test_a_daemon_starts_before_its_server(fresh_postgres: Fresh, enlist: Enlist) -> None:
    """It waits, says so, and is ready when the server is."""
    fleet = enlist(fresh_postgres())
    daemon = fleet.node("a", begin=False)
    fleet.server.stop()
    daemon.start(wait=False)
    until(lambda: "Connection retry 3..." in daemon.log())
    fleet.server.start()
    daemon.wait_ready()
    assert in_order(daemon.log(), "Connection retry 1...", "Connection retry 2...", "Connected successfully", "ready")
    assert daemon.client.call("led.work")["attempt"] == 1


def test_a_server_that_takes_no_writes(fresh_postgres: Fresh, enlist: Enlist) -> None:
    """The client is told so in one sentence; what ran meanwhile is written when it takes them again."""
    server = fresh_postgres()
    fleet = enlist(server)
    daemon = fleet.node("a")
    running = daemon.client.submit("led.work", gate="readonly")
    daemon.wait_here("readonly")
    server.configure(default_transaction_read_only="on")
    with pytest.raises(StoreError) as caught:
        daemon.client.submit("led.work", id="refused")
    daemon.open_gate("readonly")
    server.configure(default_transaction_read_only="off")
    assert running.wait(30).status == "completed"
    assert daemon.client.submit("led.work", id="refused").wait(20).status == "completed"
    fleet.check([running.id, "refused"], faults=1)
    assert "\n" not in str(caught.value)
    assert "read-only" in str(caught.value)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder on a disk of its own, with room for a server and not much more."""
    if os.geteuid() != 0:
        raise unavailable("only root can mount a small disk; run the tests as root")
    folder = scratch("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=755", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_server_whose_disk_is_full(small_disk: Path, enlist: Enlist) -> None:
    """The client is told so at once and in one sentence; with room again all goes on, and what ran is not lost."""
    with Server(small_disk / "pg") as server:
        fleet = enlist(server)
        daemon = fleet.node("a")
        running = daemon.client.submit("led.work", gate="full")
        daemon.wait_here("full")
        disk = os.statvfs(small_disk)
        filler = small_disk / "filler"
        filler.write_bytes(bytes(disk.f_bavail * disk.f_frsize - (200 << 10)))
        large = [{"text": os.urandom(300_000).hex()}] * 5
        with pytest.raises(StoreFull, match="the server has no space left") as caught:
            daemon.client.submit_many("led.work", large)
        assert "\n" not in str(caught.value)
        filler.unlink()
        daemon.open_gate("full")
        assert running.wait(30).attempt == 1
        after = daemon.client.submit("led.work")
        fleet.all_ended([running.id, after.id])
        fleet.check([running.id, after.id], faults=0)
        fleet.close()


def test_a_server_with_no_connection_to_spare(fresh_postgres: Fresh, enlist: Enlist) -> None:
    """The daemon says which it is, and comes in as soon as there is one."""
    server = fresh_postgres()
    fleet = enlist(server)
    server.psql("CREATE ROLE app LOGIN CONNECTION LIMIT 0")
    server.psql(f"ALTER DATABASE {fleet.database} OWNER TO app")
    daemon = fleet.node("a", begin=False, store=fleet.url(user="app"))
    daemon.start(wait=False)
    until(lambda: "Connection retry 2..." in daemon.log())
    assert "too many connections for role" in daemon.log()
    server.psql("ALTER ROLE app CONNECTION LIMIT 20")
    daemon.wait_ready()
    assert daemon.client.call("led.work")["attempt"] == 1


def test_a_wrong_password_is_told_and_not_shown(fresh_postgres: Fresh, enlist: Enlist) -> None:
    """One sentence, an exit code of its own, no traceback; the password is in no log and no answer, right or wrong."""
    fleet = enlist(fresh_postgres(auth="scram-sha-256"))
    wrong = fleet.node("wrong", begin=False, store=fleet.url(password="sesame-open-wrong"))
    wrong.start(wait=False)
    assert wrong.exit_code() == STORE_EXIT
    assert "the server refuses this user or password" in wrong.log()
    assert "Traceback" not in wrong.log()
    assert "sesame" not in wrong.log()
    right = fleet.node("right")
    assert right.client.call("led.work")["attempt"] == 1
    told = [typed(right, *words.split()).stdout for words in ("status --all", "stats --json", "nodes", "check")]
    for text in (right.log(), *told):
        assert PASSWORD not in text
        assert "p%40ss" not in text


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"sslmode": "bogus"}, "this is wrong in the address: `sslmode` parameter must be one of"),
        ({"shoe_size": "44"}, 'this is wrong in the address: unrecognized configuration parameter "shoe_size"'),
        ({"work_mem": "much"}, 'this is wrong in the address: invalid value for parameter "work_mem"'),
    ],
)
def test_a_wrong_parameter_in_the_address_is_told_at_once(fleet: Fleet, query: dict[str, str], why: str) -> None:
    """It is not tried again for ever: no patience mends it."""
    daemon = fleet.node("a", begin=False, store=fleet.url(**query))
    daemon.start(wait=False)
    assert daemon.exit_code() == STORE_EXIT
    assert why in daemon.log()
    assert "Connection retry" not in daemon.log()


def test_who_waits_for_a_moment_only_has_standard_output_for_itself() -> None:
    """Tries to connect are for the daemon's log; a program that submits gets an error, and prints what it likes."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"postgresql://u@127.0.0.1:{closed.getsockname()[1]}/db"
    code = (
        "import asyncio, sys; from stoker.store.address import store_at; asyncio.run(store_at(sys.argv[1]).open(0.5))"
    )
    said = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60)
    assert "does not answer" in said.stderr
    assert said.stdout == ""


def test_through_a_pooler_in_transaction_mode(fleet: Fleet, postgres: Server) -> None:
    """PgBouncer between nodes and server: with a way past it for the listener, and without."""
    with PgBouncer(postgres) as pooler:
        given = {"port": pooler.port, "pooler": "transaction"}
        apps = ("ledgered", "faraway")
        listens = fleet.url(**given, direct=f"127.0.0.1:{postgres.port}")
        a = fleet.node("a", *apps, begin=False, look=30, store=listens, labels="gpu")
        b = fleet.node("b", *apps, begin=False, look=0.5, store=fleet.url(**given))
        started(a, b)
        ids = [job.id for job in b.client.submit_many("led.work", [{}] * 100)]
        told = b.client.submit("far.tell", lines=20)
        assert [event.value() for event in told.events() if event.kind == "chunk"] == list(range(20))
        held = b.client.submit("far.hold", gate="never")
        a.wait_here("never")
        held.cancel("enough")
        assert held.wait(20).error == "Cancelled: enough"
        fleet.all_ended(ids)
        fleet.check(ids, faults=0)
        assert {row["name"]: row["alive"] for row in b.client.ask("nodes")} == {"a": True, "b": True}
        assert [node.stop() for node in (a, b)] == [0, 0]
