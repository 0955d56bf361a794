"""Changed code: when it takes effect, what stays as it is meanwhile, and what broken code does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from stoker import JobFailed
from stoker.model.errors import AppError, UnknownCommand
from tests.daemon import Daemon, alive, until
from tests.story.conftest import Make

APP = """
import helper
from stoker import Product
from tests.apps.kit import hold

morph = Product("morph")

@morph.command
def version() -> str:
    return "VERSION " + helper.word()

@morph.command
def wait(gate: str) -> str:
    hold(gate)
    return "VERSION"
"""
MORE = """
@morph.command
def fresh() -> str:
    return "fresh"
"""
HELPER = "def word() -> str:\n    return {!r}\n"


def write(daemon: Daemon, version: str, helper: str = "helper", more: str = "") -> None:
    daemon.file("morph.py").write_text(APP.replace("VERSION", version) + more)
    daemon.file("helper.py").write_text(HELPER.format(helper))


@pytest.fixture
def daemon(make: Make) -> Daemon:
    daemon = make("morph", begin=False)
    write(daemon, "one")
    return daemon.start()


def test_changed_source_takes_effect_on_the_next_job(daemon: Daemon) -> None:
    """V65: edit a handler between two calls, and a module it imports; router and zygote stay the same. Edits that
    follow each other within a second are seen too."""
    before = daemon.router, daemon.zygote
    assert daemon.client.call("morph.version") == "one helper"
    write(daemon, "two")
    assert daemon.client.call("morph.version") == "two helper"
    write(daemon, "two", "HELPER")
    assert daemon.client.call("morph.version") == "two HELPER"
    write(daemon, "six", "Helper")
    assert daemon.client.call("morph.version") == "six Helper"
    write(daemon, "one")
    assert daemon.client.call("morph.version") == "one helper"
    assert (daemon.router, daemon.zygote) == before


def test_broken_source_fails_the_job_and_nothing_else(daemon: Daemon) -> None:
    """V65: a syntax error in an edit is the next job's error, with its place; mended, the next job runs."""
    daemon.file("morph.py").write_text("def broken(:\n")
    with pytest.raises(JobFailed, match=r"SyntaxError.*morph\.py, line 1"):
        daemon.client.call("morph.version")
    daemon.file("morph.py").unlink()
    with pytest.raises(JobFailed, match="there is no module 'morph'"):
        daemon.client.call("morph.version")
    write(daemon, "mended")
    assert daemon.client.call("morph.version") == "mended helper"


def test_a_new_command_needs_a_reload(daemon: Daemon) -> None:
    """V64, V66: implemented and not registered with the daemon yet, a name is unknown; after a reload it works."""
    write(daemon, "one", more=MORE)
    with pytest.raises(UnknownCommand):
        daemon.client.call("morph.fresh")
    assert "morph.fresh" in daemon.client.ask("reload")["commands"]
    assert daemon.client.call("morph.fresh") == "fresh"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_reload_by_signal_leaves_running_jobs_and_clients_alone(daemon: Daemon, number: int) -> None:
    """V95, V96: a new zygote with the new code takes over; what runs ends under the old; socket and lines stay."""
    router, zygote, socket = daemon.router, daemon.zygote, os.stat(daemon.settings.socket_path).st_ino
    job = daemon.client.submit("morph.wait", {"gate": "reload"})
    daemon.wait_here("reload")
    with daemon.client.line() as line:
        write(daemon, "two", more=MORE)
        daemon.send(number)
        until(lambda: "morph.fresh" in daemon.client.stats()["commands"])
        assert line.ask("ping", {}, str) == "pong"
    assert daemon.client.call("morph.version") == "two helper"
    assert (daemon.router, os.stat(daemon.settings.socket_path).st_ino) == (router, socket)
    assert alive(zygote)
    assert job.status() == "running"
    daemon.open_gate("reload")
    assert job.result(20) == "one"
    until(lambda: not alive(zygote), what="the old zygote leaves when its last job has")
    assert job.record().attempt == 1


def test_many_reloads_in_a_row_leave_one_zygote(daemon: Daemon) -> None:
    """V95: however often it is asked for, one zygote and its spares are there in the end, and no job is lost."""
    jobs = []
    for number in range(6):
        daemon.send(signal.SIGHUP)
        jobs += [daemon.client.submit("morph.version") for _ in range(number)]
    assert {job.result(30) for job in jobs} == {"one helper"}
    assert {job.record().attempt for job in jobs} == {1}
    daemon.client.ask("reload")
    until(lambda: len([one for one in daemon.processes("zygote") if one.parent == daemon.router]) == 1)
    until(lambda: len(daemon.pids("spare")) == daemon.settings.spares)


def test_a_reload_of_broken_code_keeps_the_old(daemon: Daemon) -> None:
    """V95: who asks is told why; commands and zygote stay as they were."""
    zygote = daemon.zygote
    daemon.file("morph.py").write_text("1 / 0\n")
    with pytest.raises(AppError, match="ZeroDivisionError"):
        daemon.client.ask("reload")
    assert daemon.zygote == zygote
    assert "morph.version" in daemon.client.stats()["commands"]
    assert "the old code stays in force" in daemon.log()
    write(daemon, "again")
    assert daemon.client.call("morph.version") == "again helper"


def by_client(daemon: Daemon) -> None:
    assert daemon.client.ask("restart") == "restarting"


def by_signal(daemon: Daemon) -> None:
    daemon.send(signal.SIGUSR2)


@pytest.mark.parametrize("ask", [by_client, by_signal])
def test_restart_changes_every_process_and_no_address(daemon: Daemon, ask: Callable[[Daemon], None]) -> None:
    """V61, V62, V89: router, zygote and consumers are new, the socket is the same, and clients find the way back."""
    before = {daemon.router, daemon.zygote, *daemon.pids("spare")}
    up, socket = daemon.pid, os.stat(daemon.settings.socket_path).st_ino
    boot = daemon.client.stats()["boot"]
    write(daemon, "two", more=MORE)
    ask(daemon)
    until(lambda: not before & {one.pid for one in daemon.processes()}, what="none of the old processes")
    assert daemon.client.call("morph.fresh") == "fresh"
    assert daemon.client.stats()["boot"] != boot
    assert (daemon.pid, os.stat(daemon.settings.socket_path).st_ino) == (up, socket)
    assert alive(up)


def test_restart_lets_running_jobs_end(daemon: Daemon) -> None:
    """V61: what runs is not cut off; what waits runs afterwards."""
    job = daemon.client.submit("morph.wait", {"gate": "restart"})
    daemon.wait_here("restart")
    old = daemon.router
    daemon.client.ask("restart")
    waiting = daemon.another_client().submit("morph.version", delay=0.1)
    daemon.open_gate("restart")
    until(lambda: old not in daemon.pids("router"))
    assert job.wait(20).attempt == 1
    assert waiting.result(20) == "one helper"
