"""D36: secrets are put in everywhere they belong; afterwards they are looked for everywhere they do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker import Client, JobFailed
from tests.daemon import Daemon, below

TOKEN = "canary-token-4e1f9a7c2b"
PASSWORD = "canary-password-8d3b6f"
JOB_TOKEN = "canary-job-token-1c9e"
CANARIES = (TOKEN, PASSWORD, JOB_TOKEN)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon at its most talkative, with a token, that has run jobs which end in every way."""
    listen = "tcp://127.0.0.1:18742"
    with Daemon("secrets", token=TOKEN, listen=listen, log_level="debug", log_file="worker.log") as daemon:
        for how in ("well", "refuses", "crashes"):
            job = daemon.client.submit(
                "vault.connect", {"host": "db.example", "password": PASSWORD, "token": JOB_TOKEN, "how": how}
            )
            job.wait(20)
        with pytest.raises(Exception, match="how"):
            daemon.client.submit("vault.connect", {"host": "x", "password": PASSWORD, "token": JOB_TOKEN, "how": 5})
        daemon.client.ask("reload")
        wrong = Client(listen, token=TOKEN[:-1], settings=daemon.settings)
        with pytest.raises(Exception, match="token"):
            wrong.ask("stats")
        wrong.close()
        yield daemon


def hits(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def test_not_in_any_log(daemon: Daemon) -> None:
    """D36: neither on standard error nor in the file, at the level debug, with failures, crashes and wrong input."""
    assert "connecting" not in daemon.log()
    assert hits(daemon.log()) == []
    assert hits(daemon.file("worker.log").read_text()) == []


def test_not_in_argv_or_titles(daemon: Daemon) -> None:
    """D36 (Jupyter CVE-2022-29241): a process table is public."""
    processes = below(daemon.keeper)
    assert len(processes) >= 4
    assert hits(" ".join(process.title for process in processes)) == []


def test_not_in_the_environment_of_jobs(daemon: Daemon) -> None:
    """D36, O36: the daemon's token is the daemon's; a job and what it starts never have it."""
    found = daemon.client.call("vault.connect", host="h", password=PASSWORD)
    assert found == {"host": "h", "leaks": [], "secrets": []}
    for role in ("zygote", "spare"):
        for pid in daemon.pids(role):
            assert hits(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")) == []


def test_not_in_what_clients_are_shown(daemon: Daemon) -> None:
    """D36: records, lists, errors, tracebacks, events and figures have the fields masked."""
    records = daemon.client.jobs(limit=50)
    assert len(records) >= 3
    assert bytes(records[-1].input) == b'{"host":"db.example","password":"***","token":"***","how":"well"}'
    shown = [repr(record) + bytes(record.input).decode() + bytes(record.output).decode() for record in records]
    for record in records:
        shown += [bytes(event.data).decode() for event in daemon.client.job(record.id).events()]
        shown.append(str(record.traceback))
    for method in ("stats", "health", "metrics", "command_stats", "commands", "methods"):
        shown.append(repr(daemon.client.ask(method)))
    assert hits("\n".join(shown)) == []


def test_not_in_what_the_callers_exceptions_say(daemon: Daemon) -> None:
    """D36: a failing job's message reaches logs of the caller, where nobody masks anything."""
    with pytest.raises(JobFailed) as caught:
        daemon.client.call("vault.connect", host="h", password=PASSWORD, token=JOB_TOKEN, how="refuses")
    assert hits(str(caught.value) + repr(caught.value)) == []


def test_the_handler_itself_got_them(daemon: Daemon) -> None:
    """The canaries were really there: the store has the input as it was given, for the attempt to come."""
    assert PASSWORD in daemon.store.read_bytes().decode(errors="replace") + daemon.store.with_name(
        "stoker.db-wal"
    ).read_bytes().decode(errors="replace")
