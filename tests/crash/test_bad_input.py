"""Everything that can be wrong when a daemon starts: one clear sentence, an exit code that tells, and nothing lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests import ledger
from tests.crash.conftest import Make
from tests.daemon import UP, Daemon, until
from tests.nobody import NOBODY, needs_root, wrapper

USAGE, APP, STORE, RUNNING = 2, 4, 5, 6


def refused(daemon: Daemon, code: int, *words: str) -> str:
    """Start it; it must end with ``code`` and say why in one line that a person understands."""
    before = daemon.log()
    daemon.start(wait=False)
    assert daemon.exit_code() == code, daemon.log()
    said = daemon.log()[len(before) :].strip()
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1, said
    for word in words:
        assert word in said, said
    return said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["there is no module 'broken'"]),
        ("def oops(:\n", ["SyntaxError", "broken.py, line 1"]),
        ("1 / 0\n", ["ZeroDivisionError", "broken.py, line 1"]),
        ("import nosuchlibrary\n", ["nosuchlibrary", "broken.py, line 1"]),
        ("raise SystemExit(3)\n", ["ends the program"]),
        ("import os\n", ["no product with a command found"]),
        ("from stoker import Product\np = Product('p')\n", ["no product with a command found"]),
        ("from stoker import Product\np = Product('bad name!')\n", ["bad name!"]),
        ("from stoker import Product\np = Product('p')\n@p.command\ndef f(*args): ...\n", ["p.f", "*args"]),
        ("from stoker import Product\np = Product('p')\n@p.command(timeout=-1)\ndef f(): ...\n", ["p.f", "timeout"]),
        ("from stoker import Product\np = Product('p')\n@p.command(memory='lots')\ndef f(): ...\n", ["'lots'"]),
        (
            "from stoker import Product\np = Product('p')\n@p.command\ndef f(): ...\n"
            "@p.command(name='f')\ndef g(): ...\n",
            ["p.f is registered twice"],
        ),
        ("import os\nos._exit(0)\n", ["ended while it loaded the application: exit 0"]),
        ("import os\nos.abort()\n", ["ended while it loaded the application: signal 6 (SIGABRT)"]),
    ],
)
def test_an_application_that_cannot_be_loaded(make: Make, text: str | None, words: list[str]) -> None:
    """Exit code 4, with module, line and reason; a job that waits is still there."""
    daemon = make("broken", begin=False)
    id = daemon.client.submit("led.work").id
    if text is not None:
        daemon.file("broken.py").write_text(text)
    refused(daemon, APP, *words)
    assert ledger.rows(daemon.store)[id].state == "new"


@pytest.mark.parametrize(
    ("target", "words"),
    [("ledgered:nothing", ["has no 'nothing'"]), ("ledgered:QUICK", ["not a Product"]), ("./ledgered.py", ["no .py"])],
)
def test_a_target_that_names_nothing(make: Make, target: str, words: list[str]) -> None:
    """P16: what follows the colon must be there and be a product."""
    daemon = make(target, begin=False)
    daemon.copy("ledgered")
    refused(daemon, APP, *words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"consumers_max": "many"}, ["consumers_max"]),
        ({"consumers_max": 0}, ["consumers_max", "1 or more"]),
        ({"store": "mysql://x"}, ["store", "mysql"]),
        ({"log_level": "loud"}, ["log_level", "loud"]),
        ({"listen": "tcp://127.0.0.1:18799"}, ["token"]),
        ({"socket": "/tmp/" + "x" * 200}, ["107 bytes"]),
        ({"memory": "1 potato"}, ["memory", "1 potato"]),
    ],
)
def test_settings_that_make_no_sense(make: Make, settings: dict[str, object], words: list[str]) -> None:
    """Exit code 2, naming the setting and what would be right."""
    daemon = make("ledgered", begin=False, **settings)
    refused(daemon, USAGE, *words)


def test_a_second_daemon_on_the_same_store(make: Make) -> None:
    """Exit code 6, whether the socket is the same or another; the first works on undisturbed."""
    daemon = make("ledgered")
    job = daemon.client.submit("led.work", {"gate": "first"})
    daemon.wait_here("first")
    for more in ({}, {"STOKER_SOCKET": str(daemon.file("another.sock"))}):
        environ = {**daemon.environ, **more}
        second = subprocess.run(
            [*UP, "ledgered"], cwd=daemon.folder, env=environ, capture_output=True, text=True, timeout=60
        )
        assert second.returncode == RUNNING, second.stderr
        assert "another daemon" in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
    daemon.open_gate("first")
    assert job.wait(20).attempt == 1
    assert daemon.settings.socket_path.is_socket()


def test_a_stale_socket(make: Make) -> None:
    """Left by a daemon that was killed: replaced without a word; a file in its place is not touched."""
    daemon = make("ledgered")
    daemon.kill()
    assert daemon.settings.socket_path.is_socket()
    daemon.start()
    assert daemon.client.call("led.work")["attempt"] == 1
    daemon.stop()
    daemon.settings.socket_path.write_text("precious")
    refused(daemon, USAGE, "is not a socket")
    assert daemon.settings.socket_path.read_text() == "precious"


def test_a_database_of_another_program(make: Make) -> None:
    """Exit code 5; not one byte of it is changed."""
    daemon = make("ledgered", begin=False)
    daemon.settings.folder.mkdir(mode=0o700)
    with closing(sqlite3.connect(daemon.store)) as db:
        db.executescript("CREATE TABLE books (title TEXT); INSERT INTO books VALUES ('Emma');")
    before = daemon.store.read_bytes()
    refused(daemon, STORE, "database of another program", "stoker.db")
    assert daemon.store.read_bytes() == before


@pytest.mark.parametrize("content", [b"this is a letter to my aunt\n" * 100, os.urandom(4096)])
def test_a_file_that_is_no_database(make: Make, content: bytes) -> None:
    """Exit code 5; left as it is."""
    daemon = make("ledgered", begin=False)
    daemon.settings.folder.mkdir(mode=0o700)
    daemon.store.write_bytes(content)
    refused(daemon, STORE, "is not a SQLite database")
    assert daemon.store.read_bytes() == content


def test_a_damaged_database(make: Make) -> None:
    """Exit code 5: never a silent loss, never a traceback, and the file is left for whoever can mend it."""
    daemon = make("ledgered")
    daemon.client.submit_many("led.work", [{}] * 50)
    daemon.stop()
    data = bytearray(daemon.store.read_bytes())
    data[4096:40960] = b"\xa5" * 36864
    daemon.store.write_bytes(data)
    daemon.start(wait=False)
    assert daemon.exit_code() == STORE
    assert "is damaged" in daemon.log().splitlines()[-1]
    assert "Traceback" not in daemon.log()


def test_a_database_from_a_newer_version(make: Make) -> None:
    """Exit code 5: it is not touched by what does not know it."""
    daemon = make("ledgered", begin=False)
    id = daemon.client.submit("led.work").id
    with ledger.writing(daemon.store) as db:
        ((version,),) = db.execute("PRAGMA user_version").fetchall()
        db.execute("PRAGMA user_version = 999")
    refused(daemon, STORE, "newer Stoker", "999")
    with ledger.writing(daemon.store) as db:
        db.execute(f"PRAGMA user_version = {version}")
    daemon.start()
    assert daemon.client.job(id).wait(20).status == "completed"


def test_a_locked_database(make: Make) -> None:
    """Exit code 5 after the time that a lock may take; with the lock gone it starts, and has everything."""
    daemon = make("ledgered", begin=False)
    id = daemon.client.submit("led.work").id
    with closing(sqlite3.connect(daemon.store, isolation_level=None)) as stranger:
        stranger.execute("PRAGMA locking_mode = EXCLUSIVE")
        stranger.execute("BEGIN EXCLUSIVE")
        refused(daemon, STORE, "locked by another program")
    daemon.start()
    assert daemon.client.job(id).wait(20).status == "completed"


@needs_root
def test_a_database_that_may_only_be_read(make: Make) -> None:
    """Exit code 5, for an ordinary user to whom the file belongs no more."""
    daemon = make("ledgered", begin=False, user=NOBODY, prefix_argv=wrapper())
    id = daemon.client.submit("led.work").id
    for path in [daemon.settings.folder, *daemon.settings.folder.iterdir()]:
        os.chown(path, NOBODY, NOBODY)
    os.chown(daemon.store, 0, 0)
    os.chmod(daemon.store, 0o644)
    refused(daemon, STORE, "cannot be written by this user")
    os.chown(daemon.store, NOBODY, NOBODY)
    daemon.start()
    assert daemon.client.job(id).wait(20).status == "completed"


@needs_root
def test_a_folder_that_cannot_be_written(make: Make) -> None:
    """Exit code 2, before anything was made."""
    daemon = make("ledgered", begin=False, user=NOBODY, prefix_argv=wrapper())
    os.chown(daemon.folder, 0, 0)
    os.chmod(daemon.folder, 0o755)
    refused(daemon, USAGE, "cannot make the folder", "Permission denied")


def test_no_application_at_all(make: Make) -> None:
    """Exit code 4, and what to type."""
    daemon = make(begin=False)
    refused(daemon, APP, "stoker up")
    assert not Path(daemon.settings.socket_path).exists()
    until(lambda: daemon.processes() == [])
