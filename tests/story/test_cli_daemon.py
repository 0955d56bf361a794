"""The command line about the daemon: looking at it, ruling it, starting and stopping it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker import JobHandle
from stoker._version import __version__
from stoker.wire.records import moment
from tests.daemon import Daemon, alive, process, until
from tests.story.conftest import Make
from tests.terminal import STOKER, Terminal, answer, typed


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("shell", consumers_max=2) as daemon:
        yield daemon


@pytest.fixture
def full(daemon: Daemon, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Both slots held, three jobs in line; the ids of the holders."""
    gate = request.node.name
    jobs: list[JobHandle[Any]] = [daemon.client.submit("shell.wait", gate=gate) for _ in range(2)]
    daemon.wait_here(gate, 2)
    jobs += [daemon.client.submit("shell.wait", gate=gate) for _ in range(3)]
    yield [job.id for job in jobs[:2]]
    daemon.open_gate(gate)
    for job in jobs:
        job.wait(20)


def figure(text: str, name: str) -> str:
    """What stands beside a name in ``stoker status``."""
    found = re.search(rf"^{name}\s+(.*?)\s*$", text, re.MULTILINE)
    assert found, text
    return found[1]


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_prints_the_figures_of_stats(daemon: Daemon, full: list[str]) -> None:
    """V90, O75, V106: uptime, active consumers, queued jobs; state with pid; who holds the slots."""
    stats = daemon.client.stats()
    text = typed(daemon, "status").stdout
    first = text.splitlines()[0]
    assert re.fullmatch(rf"stoker RUNNING pid {daemon.router}, uptime \d+:\d\d:\d\d", first)
    assert [line.split("  ")[0] for line in text.splitlines()[1:4]] == ["uptime", "active consumers", "queued jobs"]
    assert figure(text, "active consumers") == f"{stats['consumers']} of 2" == "2 of 2"
    assert figure(text, "queued jobs") == str(stats["queued"]) == "3"
    for slot in stats["slots"]:
        assert slot["job"] in full
        assert re.search(rf"^\s*{slot['pid']}\s+shell.wait\s+{slot['job']}", text, re.MULTILINE)
    told = answer(daemon, "status", "--json")
    assert (told["state"], told["queued"], told["pid"]) == ("running", 3, daemon.router)


def test_top_shows_processes_slots_and_jobs(daemon: Daemon, full: list[str]) -> None:
    text = typed(daemon, "top", "--once").stdout
    assert "2 of 2 slots busy  3 queued" in text
    for pid, kind in ((daemon.pid, "up"), (daemon.router, "router"), (daemon.zygote, "zygote")):
        assert re.search(rf"^\s*{pid}\s+{kind}\b", text, re.MULTILINE)
    for id in full:
        assert id in text
    with Terminal(daemon, "top", "--interval", "0.1") as terminal:
        terminal.wait_for("newest jobs")
        terminal.interrupt()
        assert terminal.end() == 130


def test_stats_are_averages_and_failure_rates(daemon: Daemon) -> None:
    """O78, O79: 3 of 12 is 25 %."""
    for number in range(12):
        name = "boom" if number < 3 else "quiet"
        daemon.client.submit(f"shell.{name}").wait(20)
    rows = {row["command"]: row for row in answer(daemon, "stats", "--json")}
    done = daemon.client.jobs(command="shell.quiet", status="completed", limit=100)
    hand = sum(moment(job.completed_at or "") - moment(job.created) for job in done) / len(done)
    assert rows["shell.quiet"]["seconds"] == pytest.approx(hand, abs=0.002)
    assert (rows["shell.quiet"]["failure_rate"], rows["shell.boom"]["failure_rate"]) == (0, 100)
    text = typed(daemon, "stats").stdout
    assert re.search(r"^shell\.boom\s+3\s+0\s+3\s+0\s+100 %", text, re.MULTILINE)


def test_commands_health_and_metrics(daemon: Daemon) -> None:
    text = typed(daemon, "commands").stdout
    assert re.search(r"^shell\.convertPdf\s+documentId, mode=\s+fork.*Convert a document\.", text, re.MULTILINE)
    assert typed(daemon, "health").stdout == "ok\n"
    assert "\nstoker_healthy 1\n" in typed(daemon, "metrics").stdout


def test_check_explains_every_setting(daemon: Daemon) -> None:
    daemon.file("stoker.toml").write_text('node = "here"\n')
    found = answer(daemon, "check", "--json")
    settings = {one["name"]: one for one in found["settings"]}
    assert settings["consumers_max"]["value"] == 2
    assert settings["consumers_max"]["source"] == "STOKER_CONSUMERS_MAX"
    assert settings["node"] == {**settings["node"], "value": "here", "source": "stoker.toml"}
    assert settings["spares"]["source"] == "default"
    assert all(one["about"] for one in found["settings"])
    levels = {one["what"]: one["level"] for one in found["findings"]}
    assert levels == {"application": "note", "store": "ok", "socket": "ok", "processes": levels["processes"]}
    given = answer(daemon, "check", "shell", "--store", "elsewhere.db", "--json")
    assert "shell.convertPdf" in given["commands"]
    store = next(one for one in given["settings"] if one["name"] == "store")
    assert (store["value"], store["source"]) == (f"sqlite:///{daemon.file('elsewhere.db')}", "command line")
    text = typed(daemon, "check", STOKER_APP="shell", STOKER_TOKEN="hush").stdout
    assert "shell.convertPdf" in text
    assert "hush" not in text
    assert f"a daemon answers: pid {daemon.router}" in text


@pytest.mark.parametrize(
    ("environ", "code", "said"),
    [
        ({"STOKER_APP": "nowhere"}, 4, "there is no module 'nowhere'"),
        ({"STOKER_APP": "leaves"}, 4, "its import ended the process (status 7)"),
        ({"STOKER_STORE": "note.txt"}, 5, "is not a SQLite database"),
        ({"STOKER_SOCKET": "note.txt"}, 2, "is there and is not a socket"),
        ({"STOKER_SPARES": "many"}, 2, "spares"),
    ],
)
def test_check_finds_what_is_wrong(daemon: Daemon, environ: dict[str, str], code: int, said: str) -> None:
    daemon.file("leaves.py").write_text("import os\nos._exit(7)\n")
    daemon.file("note.txt").write_text("just a note, long enough to be no empty database\n" * 20)
    done = typed(daemon, "check", code=code, **environ)
    assert said in done.stdout + done.stderr


def test_version_help_and_slips(daemon: Daemon) -> None:
    assert typed(daemon, "--version").stdout == f"stoker {__version__}\n"
    help = typed(daemon, "--help").stdout
    for command in ("up", "worker", "call", "jobs", "top", "restart", "demo", "check"):
        assert re.search(rf"^│ {command} ", help, re.MULTILINE)
    assert "status" in typed(daemon, "stauts", code=2).stderr
    assert "--limit" in typed(daemon, "jobs", "--limti", "3", code=2).stderr
    assert (
        "_STOKER_COMPLETE"
        in typed(daemon, "--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").stdout
    )


# ── ruling ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pause_and_resume(daemon: Daemon) -> None:
    assert "paused: shell.boom" in typed(daemon, "pause", "boom").stdout
    id = typed(daemon, "submit", "boom").stdout.strip()
    assert "`stoker resume shell.boom` lets it run" in typed(daemon, "job", id).stdout
    assert typed(daemon, "resume", "boom").stdout == "nothing is paused\n"
    assert daemon.client.job(id).wait(20).status == "failed"
    typed(daemon, "pause", "nobody", code=7)


def test_health_fails_when_jobs_wait_and_nobody_works(daemon: Daemon) -> None:
    typed(daemon, "pause", "*")
    id = daemon.client.submit("shell.quiet").id
    sick = "jobs are waiting and nobody works: everything is paused"
    assert typed(daemon, "health", code=1).stdout == f"{sick}\n"
    assert figure(typed(daemon, "status").stdout, "health") == sick
    typed(daemon, "resume", "*")
    assert daemon.client.job(id).wait(20).status == "completed"


def test_reload_says_what_is_in_force(make: Make) -> None:
    daemon = make("shell")
    before = daemon.router
    source = daemon.file("shell.py").read_text()
    daemon.file("shell.py").write_text(source + "\n@shell.command\ndef fresh() -> str:\n    return 'fresh'\n")
    assert "fresh" not in typed(daemon, "commands").stdout
    typed(daemon, "reload")
    assert answer(daemon, "call", "fresh") == "fresh"
    daemon.file("shell.py").write_text("syntax error here\n")
    assert "SyntaxError" in typed(daemon, "reload", code=4).stderr
    assert answer(daemon, "commands", "--json")
    assert daemon.router == before


def test_restart_waits_for_new_processes_and_stop_for_their_end(make: Make) -> None:
    """V89, V61: the pids change and the socket stays; O75's state; nothing that waits is lost."""
    daemon = make("shell")
    before = (daemon.router, daemon.zygote)
    told = answer(daemon, "restart", "--json")
    assert told["before"]["pid"], told["before"]["zygote"] == before
    assert (told["after"]["pid"], told["after"]["zygote"]) == (daemon.router, daemon.zygote)
    assert not set(before) & {daemon.router, daemon.zygote}
    assert answer(daemon, "call", "convertPdf", "1")["document"] == 1

    pids = [daemon.pid, daemon.router, daemon.zygote]
    assert typed(daemon, "stop").stdout == "stopped\n"
    assert not any(alive(pid) for pid in pids)
    assert daemon.exit_code() == 0

    for words in (["restart"], ["stop"], ["health"], ["call", "convertPdf", "1"]):
        done = typed(daemon, *words, code=3)
        assert "cannot reach the daemon at" in done.stderr  # V63, V103
        assert str(daemon.settings.socket_path) in done.stderr
    assert not daemon.settings.socket_path.exists()

    stored = typed(daemon, "submit", "shell.convertPdf", "documentId=5")
    assert "runs when one starts" in stored.stderr
    assert "full name" in typed(daemon, "submit", "convertPdf", "documentId=5", code=3).stderr
    assert "1 job waiting" in typed(daemon, "status", code=3).stdout
    assert json.loads(typed(daemon, "status", "--json", code=3).stdout)["queued"] == 1
    assert "has version" in typed(daemon, "migrate").stdout

    daemon.start()
    assert daemon.client.job(stored.stdout.strip()).result(20) == {"document": 5, "mode": "fast"}
    assert "a daemon works on" in typed(daemon, "migrate", code=6).stderr


def test_stop_now_gives_running_jobs_back(make: Make) -> None:
    daemon = make("shell")
    job: JobHandle[Any] = daemon.client.submit("shell.wait", gate="later")
    daemon.wait_here("later")
    typed(daemon, "stop", "--now")
    assert daemon.exit_code() == 0
    daemon.open_gate("later")
    daemon.start()
    assert daemon.client.job(job.id).wait(20).status == "completed"


def test_call_lives_through_a_restart(make: Make) -> None:
    """The job it waits for is given back by the old daemon and run by the new one."""
    daemon = make("shell", grace=0.1)
    words = [*STOKER, "call", "wait", "gate=over"]
    with subprocess.Popen(words, cwd=daemon.folder, env=daemon.environ, stdout=subprocess.PIPE, text=True) as call:
        daemon.wait_here("over")
        typed(daemon, "restart")
        daemon.open_gate("over")
        out, _ = call.communicate(timeout=40)
    assert call.returncode == 0
    assert int(out) in daemon.here("over")


# ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_up_says_why_it_cannot(make: Make) -> None:
    daemon = make("shell")
    assert "no application given" in typed(daemon, "up", code=4).stderr
    assert "another daemon listens on" in typed(daemon, "up", "shell", code=6).stderr
    elsewhere = ["up", "nowhere", "--socket", "other.sock", "--store", "other.db"]
    assert "there is no module 'nowhere'" in typed(daemon, *elsewhere, code=4).stderr
    assert "tcp://host:port" in typed(daemon, "up", "shell", "--listen", "8080", code=2).stderr


def test_up_takes_flags_and_does_not_keep_the_command_line_in_memory(make: Make) -> None:
    """V81; the process that stays is the one that was started, without what only a command line needs."""
    daemon = make("--import-modules", "shell", "--node", "flagged", "--spares", "1", "--log-format", "json")
    stats = daemon.client.stats()
    assert stats["node"] == "flagged"
    found = process(daemon.pid)
    assert found is not None
    assert found.title.startswith("stoker-up")
    assert "pydantic_core" not in Path(f"/proc/{daemon.pid}/maps").read_text()
    assert {json.loads(line)["role"] for line in daemon.log().splitlines()} == {"router"}


def test_worker_starts_as_soon_as_the_store_can_be_opened(make: Make) -> None:
    """O21, O22, O26-O28: the lines of the profile; one process whose id stays; five tasks at a time."""
    daemon = make("shell", begin=False)
    words = [*STOKER, "worker", "--import-modules", "shell", "--name", "surreal-commands-worker"]
    begun = time.monotonic()
    with subprocess.Popen(
        words, cwd=daemon.folder, env={**daemon.environ, "DEBUG": "true"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert worker.stdout.readline() == "Worker enabled - starting after 15s delay...\n"
        assert worker.stdout.readline() == "Starting surreal-commands-worker...\n"
        loaded = worker.stdout.readline()
        assert re.search(r"application loaded .*commands=\d+", loaded)
        until(daemon.client.try_connect, what="the worker to answer")
        assert time.monotonic() - begun < 12
        found = process(worker.pid)
        assert found is not None
        assert found.title.startswith("stoker-up")
        assert daemon.client.stats()["consumers_max"] == 5
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


def test_worker_says_at_once_what_it_waits_for(make: Make) -> None:
    """O26, O64: a disk that is not there yet, and then is."""
    daemon = make("shell", begin=False)
    disk = daemon.file("disk")
    words = [*STOKER, "worker", "--import-modules", "shell", "--store", str(disk / "data" / "stoker.db")]
    with subprocess.Popen(
        words, cwd=daemon.folder, env={**daemon.environ, "STOKER_START_DELAY": "1h"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert worker.stdout.readline() == "Worker enabled - starting after 3600s delay...\n"
        assert worker.stdout.readline() == f"Connection retry 1... there is no folder {disk}\n"
        disk.mkdir()
        assert worker.stdout.readline() == "Connected successfully\n"
        until(daemon.client.try_connect, what="the worker to answer")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


def test_worker_that_is_disabled_says_so_and_stays(make: Make) -> None:
    """O25: two lines, alive, works on nothing, ends on a signal."""
    daemon = make("shell", begin=False)
    daemon.client.submit("shell.quiet")
    with subprocess.Popen(
        [*STOKER, "worker", "--import-modules", "shell"], cwd=daemon.folder,
        env={**daemon.environ, "ENABLE_WORKER": "false"}, stdout=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert worker.stdout.readline() == "Worker disabled (ENABLE_WORKER=false)\n"
        assert worker.stdout.readline() == "Document processing will not work!\n"
        assert "1 job waiting" in typed(daemon, "status", code=3).stdout
        assert worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        assert worker.stdout.read() == ""


def test_demo_reads_answers_and_ends_on_ctrl_c(make: Make) -> None:
    """Issue item 11: the documents are read, the question is answered, and Ctrl-C leaves nothing behind."""
    outside = make("shell", begin=False)
    with Terminal(outside, "demo") as terminal:
        terminal.wait_for("The daemon stays until Ctrl-C.", 100)
        folder = Path(re.search(r"stoker --root (\S+) jobs", terminal.seen)[1])  # type: ignore[index] # it must be there
        assert (folder / ".stoker" / "stoker.db").is_file()
        terminal.interrupt()
        assert terminal.end() == 0
    assert "moon.pdf" in terminal.seen
    assert "The computer that landed on the Moon" in terminal.seen
    assert "6 jobs in" in terminal.seen
    assert not folder.exists()
