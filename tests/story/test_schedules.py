"""What runs at its time, as a user sees it: files put into the project, a daemon, and `stoker schedule`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon, until
from tests.schedules import put, script
from tests.terminal import answer, typed

EVERY = "* * * * * *"
FAR = "0 0 1 1 *"


@pytest.fixture
def make() -> Iterator[Any]:
    """Daemons in an environment of their own; nothing of them stays."""
    made: list[Daemon] = []

    def make(app: str, entries: list[dict[str, Any]], *, start: bool = True, **environ: str) -> Daemon:
        given = {f"STOKER_SCHEDULES_{name.upper()}": value for name, value in {"env": "demo", **environ}.items()}
        daemon = Daemon(*([app] if app else []), environ={**given, "TZ": "UTC"})
        made.append(daemon)
        put(daemon, entries)
        return daemon.start() if start else daemon

    yield make
    for daemon in made:
        daemon.close()


def entry(name: str, schedule: str = FAR, **more: Any) -> dict[str, Any]:
    return {"active": 1, "name": name, "schedule": schedule, **more}


def slots(daemon: Daemon, name: str, count: int = 1, **wanted: str) -> list[dict[str, Any]]:
    """Decided slots of a schedule that are as wanted, when there are so many."""

    def found() -> list[dict[str, Any]]:
        every = answer(daemon, "schedule", "history", name, "--json", "-n", "100")
        chosen = [one for one in every if all(one[key] == value for key, value in wanted.items())]
        return chosen if len(chosen) >= count else []

    return until(found, 30, f"{count} slots of {name} with {wanted}: {daemon.log()[-3000:]}")


def test_each_kind_runs_as_an_ordinary_job(make: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked: list[bytes] = []
        threading.Thread(target=_serve, args=(listener, asked), daemon=True).start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        daemon = make("schedules", [
            entry("a script", EVERY, cron="sub/report.py --to 'x y'", environment={"KEY": "${env:REPORT_KEY}"}),
            entry("a program", EVERY, command=["sh", "-c", "echo $STOKER_SCHEDULE > program"], as_root=True),
            entry("a shell", EVERY, command="echo one | tr o 0 > piped", shell=True, as_root=True),
            entry("an address", EVERY, url="/tick?n=1"),
            entry("inside", EVERY, url="http://169.254.169.254/latest/"),
            entry("a command", EVERY, job="clock.note", input={"word": "file"}),
            {**entry("off", EVERY, cron="sub/report.py"), "active": 0},
        ], base_url=base, start=False)  # fmt: skip
        daemon.more_environ["REPORT_KEY"] = "k-e-y"
        script(daemon, "sub/report.py", REPORT)
        daemon.start()
        (done, *_) = slots(daemon, "a script", status="completed")
        assert daemon.file("report").read_text().splitlines()[0] == "--to|x y|k-e-y|UTC|a script|closed"
        job = daemon.client.job(done["job"])
        said = [json.loads(bytes(event.data)) for event in job.events() if event.kind == "log"]
        assert [one["event"] for one in said] == ["CRON_START", "CRON_FINISHED"]
        slots(daemon, "a program", status="completed")
        assert daemon.file("program").read_text() == "a program\n"
        slots(daemon, "a shell", status="completed")
        assert daemon.file("piped").read_text() == "0ne\n"
        slots(daemon, "an address", status="completed")
        assert asked[0].startswith(b"GET /tick?n=1 ")
        (refused, *_) = slots(daemon, "inside", status="failed")
        assert "not of the public net" in refused["error"]
        slots(daemon, "a command", status="completed")
        assert "a command" in daemon.file("slots").read_text()
        (off,) = answer(daemon, "schedule", "list", "off", "--json")["schedules"]
        assert (off["active"], off["next"], off["fate"]) == (False, None, None)


REPORT = """
import os, sys, time
from stoker.crons import cron_job
with cron_job(time_limit=60) as job:
    words = [*sys.argv[1:], os.environ["KEY"], time.tzname[0], os.environ["STOKER_SCHEDULE"]]
    job.at_close(lambda: open("report", "a").write("|".join([*words, "closed"]) + "\\n"))
"""


def _serve(listener: socket.socket, asked: list[bytes]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            asked.append(connection.recv(4096))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def test_a_declared_schedule_ticks_and_each_slot_is_one_job(make: Any) -> None:
    daemon = make("schedules", [])
    until(lambda: len(_lines(daemon)) >= 3, 20, "three ticks")
    daemon.stop()
    lines = _lines(daemon)
    assert len(lines) == len(set(lines))
    assert all(line.startswith("second 20") and line.endswith("Z tick") for line in lines)


def test_every_start_resumes_what_was_left(make: Any) -> None:
    """V54: `resumeProcesses` runs by itself at the start of the daemon, with no client."""
    daemon = make("", [entry("resume", "@reboot", cron="resume.py")], start=False)
    script(daemon, "resume.py", "open('resumed', 'a').write('x')\n")
    for started in (1, 2):
        daemon.start()
        slots(daemon, "resume", started, status="completed")
        daemon.stop()
    assert daemon.file("resumed").read_text() == "xx"


def test_a_copied_store_knows_what_was_fired_and_what_is_paused(make: Any) -> None:
    daemon = make("", [entry("often", EVERY, cron="x.py"), entry("stopped", EVERY, cron="x.py")])
    script(daemon, "x.py", "")
    typed(daemon, "schedule", "pause", "stopped")
    slots(daemon, "often", 2, fate="fired")
    slots(daemon, "stopped", 1, fate="paused")
    daemon.stop()
    told = answer(daemon, "migrate-store", ".stoker/stoker.db", "copy.db", "--json")
    assert (told["schedules"], told["fresh"]) == (2, 2 + told["slots"])
    again = " ".join(typed(daemon, "migrate-store", ".stoker/stoker.db", "copy.db").stdout.split())
    assert f"2 schedules, {told['slots']} slots, {2 + told['slots']} of both were there" in again
    daemon.change(store=str(daemon.file("copy.db")))
    daemon.start()
    after = slots(daemon, "often", 3, fate="fired")
    assert len({one["slot"] for one in after}) == len(after)
    (stopped,) = answer(daemon, "schedule", "list", "stopped", "--json")["schedules"]
    assert stopped["paused"]


def test_files_are_watched_and_a_broken_one_keeps_what_there_was(make: Any) -> None:
    daemon = make("schedules", [entry("first", cron="x.py")])
    put(daemon, [entry("first", cron="x.py"), entry("later", cron="x.py")])
    until(lambda: _names(daemon) == ["first", "later", "second"], what="the new entry")
    put(daemon, '[{"name": tru')
    until(lambda: answer(daemon, "schedule", "list", "--json")["problems"], what="the problem")
    assert _names(daemon) == ["first", "later", "second"]
    (problem,) = answer(daemon, "schedule", "list", "--json")["problems"]
    assert problem == "schedules/cron.demo.json:1:11: is not JSON: Expecting value"
    assert problem in typed(daemon, "schedule", "list").stderr
    assert "cron.demo.json:1:11" in typed(daemon, "reload", code=2).stderr
    put(daemon, [entry("other", cron="x.py")])
    daemon.send(signal.SIGHUP)
    until(lambda: _names(daemon) == ["other", "second"], what="the mended file")


def test_a_daemon_does_not_start_with_a_broken_file_and_says_where(make: Any) -> None:
    daemon = make("schedules", [entry("bad", "60 24 32 13 8", cron="x.py")], start=False)
    daemon.start(wait=False)
    assert daemon.exit_code() == 2
    assert "schedules/cron.demo.json:2: 'bad': '60 24 32 13 8': '60' is not right for minute" in daemon.log()


def test_files_that_come_later_are_seen_without_an_application_that_knew_them(make: Any) -> None:
    daemon = make("schedules", [], start=False)
    (daemon.folder / "schedules/cron.demo.json").unlink()
    (daemon.folder / "schedules").rmdir()
    daemon.start()
    script(daemon, "x.py", "print('hello')")
    put(daemon, [entry("new", EVERY, cron="x.py")])
    slots(daemon, "new", status="completed")


def test_schedules_alone_need_no_application(make: Any) -> None:
    daemon = make("", [entry("alone", EVERY, cron="x.py")], start=False)
    script(daemon, "x.py", "open('ran', 'w').close()")
    daemon.start()
    slots(daemon, "alone", status="completed")
    assert daemon.file("ran").exists()


def test_overlap_is_skipped_by_default_and_said(make: Any) -> None:
    """Rows T53, T56."""
    daemon = make("schedules", [entry("slow", EVERY, job="clock.slow")])
    daemon.wait_here("door")
    (skipped, *_) = slots(daemon, "slow", fate="skipped")
    assert len(daemon.here("door")) == 1
    assert any(
        "slots are skipped until it has ended" in one for one in answer(daemon, "schedule", "why", "slow", "--json")
    )
    running = skipped["job"]
    daemon.open_gate("door")
    until(lambda: any(one["job"] != running for one in slots(daemon, "slow", fate="fired")), what="the next run")


def test_replace_cancels_the_run_before(make: Any) -> None:
    daemon = make("schedules", [entry("slow", EVERY, job="clock.slow", overlap="replace")])
    (ended, *_) = slots(daemon, "slow", status="cancelled")
    assert "a newer run of slow takes its place" in ended["error"]


def test_pause_run_and_resume(make: Any) -> None:
    daemon = make("schedules", [entry("every", EVERY, cron="x.py"), entry("rare", cron="x.py")])
    script(daemon, "x.py", "open('ran', 'a').write('x')")
    assert answer(daemon, "schedule", "pause", "every", "--json")["paused"]
    slots(daemon, "every", 2, fate="paused")
    job = typed(daemon, "schedule", "run", "rare").stdout.strip()
    assert daemon.client.job(job).result(20) == {"exit": 0}
    assert "manual" in daemon.client.job(job).record().tags
    assert answer(daemon, "schedule", "resume", "every", "--json")["paused"] is None
    slots(daemon, "every", fate="fired")
    assert "no schedule 'evry'" in typed(daemon, "schedule", "run", "evry", code=7).stderr


def test_what_is_coming_in_its_zone_also_without_a_daemon(make: Any) -> None:
    daemon = make("schedules", [entry("noon", "0 12 * * *", cron="x.py", tz="America/Chicago")])
    told = answer(daemon, "schedule", "next", "noon", "--json", "-n", "3")
    assert len(told) == 3
    assert " 12:00:00-0" in typed(daemon, "schedule", "next", "noon").stdout
    daemon.stop()
    assert answer(daemon, "schedule", "next", "noon", "--json", "-n", "3") == told
    (listed,) = answer(daemon, "schedule", "list", "--json")["schedules"]
    assert (listed["name"], listed["tz"]) == ("noon", "America/Chicago")


def test_a_job_from_the_store_cannot_say_what_is_run(make: Any) -> None:
    """Part E: what lies in the store is data. A script client may not ask either."""
    daemon = make("schedules", [entry("harmless", cron="x.py")])
    script(daemon, "x.py", "open('harmless', 'w').close()")
    assert "may be called by" in typed(daemon, "submit", "cron.argv", "--input", '{"schedule": "x"}', code=7).stderr
    forged = {"entry": {"name": "harmless", "schedule": FAR, "kind": "command", "what": ["touch", "harmed"],
                        "as_root": True}, "place": {"root": str(daemon.folder), "crons": "."}}  # fmt: skip
    daemon.stop()
    for command in ("cron.argv", "cron.script"):
        typed(daemon, "submit", command, "--input", json.dumps({"schedule": "harmless", "filled": forged}))
    daemon.start()
    until(daemon.file("harmless").exists, what="the entry of the file")
    until(lambda: not daemon.client.jobs(status="new") and not daemon.client.jobs(status="running"), what="both ended")
    assert not daemon.file("harmed").exists()


def test_a_program_does_not_run_as_root_unless_it_is_said(make: Any) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    daemon = make("schedules", [entry("rude", EVERY, command=["touch", "rude"])])
    (failed, *_) = slots(daemon, "rude", status="failed")
    assert "as_root" in failed["error"]
    assert not daemon.file("rude").exists()


def test_check_explains_the_files(make: Any) -> None:
    daemon = make("schedules", [entry("lost", cron="gone.py"), entry("none", job="clock.nothing")], start=False)
    script(daemon, "idle.py", "")
    found = typed(daemon, "check", "--json", code=2).stdout
    said = [one["message"] for one in json.loads(found)["findings"] if one["what"] == "schedules"]
    assert any("'lost': there is no" in one for one in said)
    assert any("1 script run by no entry" in one for one in said)
    assert answer(daemon, "schedule", "list", "--dormant", "--json") == ["idle.py"]


def test_the_crontab_is_installed_and_the_daemon_then_ticks_nothing(make: Any, tmp_path: Path) -> None:
    """Rows T16, T17, X28: never both."""
    daemon = make("", [entry("every", EVERY.removeprefix("* "), cron="x.php")], by="crontab", interpreter="php")
    (tmp_path / "crontab").write_text('#!/bin/sh\ncat "$1" > installed\n')
    (tmp_path / "crontab").chmod(0o755)
    daemon.more_environ["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    typed(daemon, "schedule", "crontab", "--install")
    text = daemon.file("installed").read_text()
    assert f"* * * * * php {daemon.folder}/crons/x.php" in text
    assert typed(daemon, "schedule", "crontab").stdout == text
    sentences = answer(daemon, "schedule", "why", "every", "--json")
    assert any("the system's cron runs it" in one for one in sentences)
    daemon.more_environ["STOKER_SCHEDULES_BY"] = "daemon"
    assert "nothing may run twice" in typed(daemon, "schedule", "crontab", code=2).stderr


GUARDED = """
import sys
from pathlib import Path
from stoker.crons import cron_finished, cron_initialization, is_process_running
sys.argv[0] = __file__
print("running", is_process_running(), flush=True)
cron_initialization(2 if "--limit" in sys.argv else 7200)
print("begun", flush=True)
sys.stdin.read() if "--limit" not in sys.argv else __import__("time").sleep(60)
cron_finished()
"""


def test_a_script_by_hand_is_guarded_and_limited(tmp_path: Path) -> None:
    """Rows T50, T53, T54, T55, T62: a lock that dies with its process, and no end in the log without an end."""
    path = tmp_path / "guarded.py"
    path.write_text(GUARDED)
    words = [sys.executable, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert [first.stdout.readline(), first.stdout.readline()] == ["running False\n", "begun\n"]
        second = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL)
        assert second.stdout == "running True\n"
        assert "CRON_RUNNING" in second.stderr
        first.kill()
    limited = subprocess.run([*words, "--limit"], capture_output=True, text=True, timeout=30, check=False)
    assert "TimeLimitExceeded: time limit 2.0 s exceeded" in limited.stderr
    assert "CRON_START" in limited.stderr
    assert "CRON_FINISHED" not in limited.stderr
    third = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True, stdin=subprocess.DEVNULL)
    assert "CRON_FINISHED" in third.stderr


def _names(daemon: Daemon) -> list[str]:
    return sorted(one["name"] for one in answer(daemon, "schedule", "list", "--json")["schedules"])


def _lines(daemon: Daemon) -> list[str]:
    return daemon.file("slots").read_text().splitlines() if daemon.file("slots").exists() else []
