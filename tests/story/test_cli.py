"""The command line about jobs: the real program beside a real daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.daemon import Daemon, process, until
from tests.terminal import STOKER, Terminal, answer, typed

COLOUR = re.compile(r"\x1b\[(\d+;)*[39][0-7]m")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("shell", consumers_max=2) as daemon:
        yield daemon


# ── call ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_call_prints_the_result(daemon: Daemon) -> None:
    """V72, V67: a bare name and a bare value; 42 arrives as an integer."""
    done = typed(daemon, "call", "convertPdf", "42")
    assert done.stdout == '{"document":42,"mode":"fast"}\n'


def test_words_are_read_as_the_types_say(daemon: Daemon) -> None:
    words = ["text=42", "number=2", "flag=yes", 'tags=["a", "b"]', 'extra={"k": [1]}']
    assert answer(daemon, "call", "shell.typed", *words) == ["42", 2.0, True, ["a", "b"], {"k": [1]}]
    assert answer(daemon, "call", "process", "http://h/?a=b", "false") == {
        "path": "http://h/?a=b",
        "embed": False,
        "depth": None,
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["convertPdf", "abc"], "shell.convertPdf: documentId: 'abc' is not an integer"),
        (["process", "pth=a.pdf"], "no argument 'pth' (did you mean path?)"),
        (["convertpfd", "1"], "did you mean shell.convertPdf?"),
        (["process", "--input", "@nowhere.json"], "cannot read nowhere.json"),
        (["process", "--input", "{"], "--input: is not JSON"),
    ],
)
def test_a_mistake_is_told_before_anything_is_stored(daemon: Daemon, words: list[str], said: str) -> None:
    before = daemon.client.stats()["submitted"]
    done = typed(daemon, "call", *words, code=2 if "--input" in words else 7)
    assert done.stderr.startswith("stoker: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert daemon.client.stats()["submitted"] == before


def test_input_comes_as_json_from_a_file_or_from_standard_input(daemon: Daemon) -> None:
    source = {"path": "ä.pdf", "embed": False, "depth": 3}
    text = json.dumps(source)
    daemon.file("source.json").write_text(text)
    assert answer(daemon, "call", "process", "--input", "@source.json", "depth=4") == {**source, "depth": 4}
    assert json.loads(typed(daemon, "call", "process", "--input", "-", input=text).stdout) == source


def test_a_failing_job_is_one_line_and_exit_1(daemon: Daemon) -> None:
    """O83: class and text."""
    done = typed(daemon, "call", "boom", "text=Rate limit exceeded", code=1)
    assert done.stdout == ""
    assert done.stderr.endswith("failed: ValueError: Rate limit exceeded\n")


def test_in_a_pipe_only_the_result_is_on_standard_output(daemon: Daemon) -> None:
    done = typed(daemon, "call", "tell")
    assert json.loads(done.stdout) == {"said": "it"}
    for part in ("streamed words", r"printed \x1b[31mred", "complained", "the disk is nearly full  left=3"):
        assert part in done.stderr
    assert typed(daemon, "call", "tell", "--quiet").stderr == ""


def test_on_a_terminal_a_call_shows_bar_output_and_result(daemon: Daemon) -> None:
    with Terminal(daemon, "call", "tell", "gate=bar") as terminal:
        terminal.wait_for("reading page 3")
        terminal.wait_for(" 40 %")
        daemon.open_gate("bar")
        assert terminal.end() == 0
    for part in ("streamed words\n", r"printed \x1b[31mred", "complained\n", "the disk is nearly full", '"said": "it"'):
        assert part in terminal.seen
    assert "\x1b[31mred" not in terminal.raw
    assert COLOUR.search(terminal.raw)


def test_no_color_is_respected(daemon: Daemon) -> None:
    with Terminal(daemon, "call", "convertPdf", "1", NO_COLOR="1") as plain:
        assert plain.end() == 0
    assert '"document": 1' in plain.seen
    assert not COLOUR.search(plain.raw)


def test_ctrl_c_cancels_the_job(daemon: Daemon) -> None:
    with Terminal(daemon, "call", "wait", "gate=never") as terminal:
        daemon.wait_here("never")
        terminal.interrupt()
        assert terminal.end() == 130
    (job,) = daemon.client.jobs(limit=1)
    assert (job.name, job.status) == ("shell.wait", "cancelled")
    assert job.error == "Cancelled: interrupted at the command line"


def test_ctrl_c_cancels_a_job_whose_submission_was_not_answered_yet() -> None:
    """The job is stored, and may run, before its client hears of it."""
    with Daemon("shell", failpoints=["after-submit:stop"]) as daemon:
        router = daemon.router
        daemon.arm("after-submit")
        with Terminal(daemon, "call", "wait", "gate=never") as terminal:
            until(lambda: (found := process(router)) is not None and found.state == "T")
            terminal.interrupt()
            terminal.wait_for("cancelling it")
            os.kill(router, signal.SIGCONT)
            assert terminal.end() == 130
        (job,) = daemon.client.jobs(limit=1)
        assert (job.status, job.error) == ("cancelled", "Cancelled: interrupted at the command line")


def test_a_command_that_nobody_waits_for_answers_with_its_id(daemon: Daemon) -> None:
    for words in (["quiet"], ["boom", "--no-wait"]):
        id = typed(daemon, "call", *words).stdout.strip()
        assert daemon.client.job(id).wait(20).name == f"shell.{words[0]}"


def test_the_daemons_own_methods_are_called_by_name(daemon: Daemon) -> None:
    assert answer(daemon, "call", "stats")["pid"] == daemon.router
    assert answer(daemon, "call", "ping") == "pong"


# ── submit, jobs, job, logs ──────────────────────────────────────────────────────────────────────────────────────────


def test_submit_prints_the_id_and_passes_the_options_on(daemon: Daemon) -> None:
    options = ["--user", "u7", "--priority", "critical", "--delay", "1h", "--tag", "a", "--tag", "b", "--key", "k"]
    id = typed(daemon, "submit", "shell.convertPdf", "7", *options).stdout.strip()
    job = answer(daemon, "job", id, "--json")
    assert (job["user"], job["priority"], job["tags"]) == ("u7", 20, ["a", "b"])
    assert (job["input"], job["waits"], job["key"]) == ({"documentId": 7}, "time", "shell.convertPdf:k")
    shown = typed(daemon, "job", f"command:{id}").stdout
    assert re.search(r"waits for its time, in (59m|1h)", shown), "to the second, or rounded"
    assert "u7" in shown
    assert "cancelled" in typed(daemon, "cancel", id).stdout


def test_a_unique_job_is_stored_once(daemon: Daemon) -> None:
    words = ["submit", "convertPdf", "8", "--delay", "1h", "--unique", "", "--json"]
    first, second = answer(daemon, *words), answer(daemon, *words)
    assert first == {"id": second["id"], "created": True}
    assert second["created"] is False
    typed(daemon, "cancel", first["id"])


@pytest.mark.parametrize(("option", "value"), [("--priority", "high"), ("--delay", "soon")])
def test_a_wrong_option_is_a_usage_error(daemon: Daemon, option: str, value: str) -> None:
    assert option in typed(daemon, "submit", "boom", option, value, code=2).stderr


def test_jobs_lists_the_last_ten_newest_first(daemon: Daemon) -> None:
    """O77, O80: ten by default; filters; the next page."""
    ids = [daemon.client.submit("shell.convertPdf", documentId=n, user="lister").id for n in range(12)]
    daemon.client.job(ids[-1]).wait(20)
    until(lambda: len(daemon.client.jobs(user="lister", status="completed", limit=20)) == 12, what="12 to be done")
    listed = [job["id"] for job in answer(daemon, "jobs", "--json")]
    assert listed == ids[:1:-1]
    page = answer(daemon, "jobs", "--user", "lister", "--limit", "3", "--before", ids[2], "--json")
    assert [job["id"] for job in page] == [ids[1], ids[0]]
    failed = answer(daemon, "jobs", "--status", "failed", "--command", "boom", "--json")
    assert failed
    assert {job["status"] for job in failed} == {"failed"}
    table = typed(daemon, "jobs", "--product", "shell", "--limit", "2").stdout.splitlines()
    assert table[0].split()[:4] == ["ID", "COMMAND", "STATUS", "AGE"]
    assert [line.split()[0] for line in table[1:]] == ids[:9:-1]


def test_a_job_is_one_line_in_the_list_whoever_its_user_is(daemon: Daemon) -> None:
    typed(daemon, "submit", "shell.quiet", "--user", "x\ny\tz")
    rows = typed(daemon, "jobs", "--user", "x\ny\tz").stdout.splitlines()
    assert len(rows) == 2
    assert "x\\ny\\tz" in rows[1]


def test_job_tells_every_attempt_and_the_traceback(daemon: Daemon) -> None:
    id = daemon.client.submit("shell.flaky").id
    daemon.client.job(id).wait(20)
    whole = answer(daemon, "job", id, "--json")
    assert [one["error"] for one in whole["attempts"]] == ["KeyError: 'again'"]
    shown = typed(daemon, "job", id).stdout
    assert "earlier attempts" in shown
    assert 'raise KeyError("again")' in shown


def test_logs_shows_control_bytes_as_what_they_are(daemon: Daemon) -> None:
    id = daemon.client.submit("shell.tell").id
    daemon.client.job(id).wait(20)
    done = typed(daemon, "logs", id)
    assert r"printed \x1b[31mred\x1b[0m" in done.stdout
    assert "warning  the disk is nearly full  left=3" in done.stdout
    assert "streamed words\n" in done.stdout
    assert done.stderr == "complained\n"
    assert "printed \x1b[31mred" in typed(daemon, "logs", id, "--raw").stdout
    kinds = [json.loads(line)["kind"] for line in typed(daemon, "logs", id, "--json").stdout.splitlines()]
    assert sorted(kinds) == ["chunk", "chunk", "log", "progress", "stderr", "stdout"]


def test_logs_follow_until_the_end(daemon: Daemon) -> None:
    id = daemon.client.submit("shell.tell", gate="follow").id
    with Terminal(daemon, "logs", "-f", id) as terminal:
        terminal.wait_for("nearly full")
        daemon.open_gate("follow")
        assert terminal.end() == 0


def test_cancel_and_retry(daemon: Daemon) -> None:
    """O71: a failed job is made new and picked up by itself."""
    id = daemon.client.submit("shell.boom").id
    daemon.client.job(id).wait(20)
    assert f"{id} had already failed" in typed(daemon, "cancel", id).stdout
    assert f"{id} is new again" in typed(daemon, "retry", id).stdout
    assert daemon.client.job(id).wait(20).status == "failed"
    done = typed(daemon, "cancel", "0badcafe", id, code=7)
    assert "there is no job 0badcafe" in done.stderr
    assert id in done.stdout
    waits = daemon.client.submit("shell.wait", gate="stuck").id
    daemon.wait_here("stuck")
    assert "was told to stop" in typed(daemon, "cancel", waits, "--reason", "enough").stdout
    assert daemon.client.job(waits).wait(20).error == "Cancelled: enough"


def test_errors_are_json_for_programs(daemon: Daemon) -> None:
    done = typed(daemon, "job", "0badcafe", "--json", code=7)
    assert json.loads(done.stderr) == {"error": "unknown_job", "message": "there is no job 0badcafe"}
    assert done.stdout == ""


def test_a_reader_that_leaves_is_no_error(daemon: Daemon) -> None:
    """``stoker commands --json | head -c 1``."""
    words = [*STOKER, "commands", "--json"]
    with subprocess.Popen(
        words, cwd=daemon.folder, env=daemon.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(30) in (1, 141)
