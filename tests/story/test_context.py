"""The context: what a job says and asks while it runs, and whose keys it sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stoker import JobCancelled, JobFailed, JobHandle
from tests.daemon import Daemon, until


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("contextual", consumers_max=4, environ={"SHARED_KEY": "system"}) as daemon:
        yield daemon


def text_of(job: JobHandle[object], kind: str) -> str:
    return "".join(str(event.value()) for event in job.events() if event.kind == kind)


def test_progress_is_readable_while_it_runs(daemon: Daemon) -> None:
    """O56: whoever polls sees each text in order, and the history keeps all of them."""
    texts = ["Extracting text...", "Embedding...", "Storing..."]
    job = daemon.client.submit("context.steps", {"texts": texts})
    for number, text in enumerate(texts):
        daemon.wait_here(text)
        shown = until(job.progress)
        until(lambda text=text: getattr(job.progress(), "message", None) == text)  # type: ignore[misc]
        shown = job.progress()
        assert shown is not None
        assert (shown.step, round(shown.percent or 0)) == (f"step {number}", round(100 * number / 3))
        daemon.open_gate(text)
    job.result(20)
    told = [event.value()["message"] for event in job.events() if event.kind == "progress"]
    assert told == texts


def test_impossible_progress_is_an_error(daemon: Daemon) -> None:
    """O56: a percentage lies between 0 and 100."""
    with pytest.raises(JobFailed, match="between 0 and 100"):
        daemon.client.call("context.progress_of", percent=101)


def test_log_lines(daemon: Daemon) -> None:
    """O81-O83: lines with level and fields, by the context or by the standard library, with tracebacks."""
    job = daemon.client.submit("context.talk")
    job.wait(20)
    lines = [event.value() for event in job.events() if event.kind == "log"]
    assert lines[0] == {"level": "info", "message": "plain"}
    assert lines[1] == {"level": "warning", "message": "with fields", "page": 3, "nested": {"ü": [1]}}
    assert lines[2] == {"level": "info", "message": "by logging 7", "logger": "contextual.voice"}
    assert lines[3]["level"] == "error"
    assert "KeyError: 'inner'" in lines[3]["traceback"]


def test_output_is_captured_whoever_writes_it(daemon: Daemon) -> None:
    """V70: Python, a subprocess, C, raw bytes, a line without an end: all of it, in order, each stream by itself."""
    job = daemon.client.submit("context.output")
    job.result(20)
    assert text_of(job, "stdout") == (
        "from python\nfrom a subprocess\nfrom C\nraw \ufffd bytes and a \x1b[31mcolour\nunfinished line"
    )
    assert text_of(job, "stderr") == "to stderr\nits stderr\n"


def test_stream_and_emit(daemon: Daemon) -> None:
    """V70: streamed pieces are any JSON, once and in order; custom events carry a name and data."""
    job = daemon.client.submit("context.pieces")
    assert list(job.stream()) == ["word ", {"tokens": [1, 2]}, None, "ü\nnew line"]
    (emitted,) = [event.value() for event in job.events() if event.kind == "emit"]
    assert emitted == {"event": "chapter", "data": {"number": 1}}


def test_later(daemon: Daemon) -> None:
    """V71: current code first, then what was put off; both before the result is reported."""
    assert daemon.client.call("context.order") == ["now", "later"]
    assert daemon.file("order.txt").read_text().split() == ["first", "deferred"]


def test_a_job_submits_jobs(daemon: Daemon) -> None:
    """O45, O84: on behalf of the same user; a second attempt submits the same jobs and makes no second ones."""
    job = daemon.client.submit("context.parent", {"count": 3}, user="u7")
    children = job.result(20)
    assert job.record().attempt == 2
    first, second = daemon.file("submitted.txt").read_text().splitlines()
    assert first == second == " ".join(children)
    assert [daemon.client.job(id).result(20) for id in children] == [{"number": n, "user": "u7"} for n in range(3)]
    assert len(daemon.client.jobs(user="u7", command="context.child", limit=100)) == 3


def test_a_job_asks_the_router(daemon: Daemon) -> None:
    """V70: what a script may ask, a job may ask, but not for the daemon's end."""
    found = daemon.client.call("context.asks")
    assert found == {"status": "running", "pid": daemon.router, "refused": "NotAllowed"}


@pytest.mark.parametrize("command", ["context.async_asks", "context.resident_asks"])
def test_a_coroutine_asks_without_blocking(daemon: Daemon, command: str) -> None:
    """O17, O45: in a process of its own and in a resident; several questions at one time."""
    status, running, id, *order = daemon.client.call(command)
    assert (status, running) == ("running", 1)
    assert daemon.client.job(id).wait(20).status == "completed"
    assert order in ([], [["now", "later"]])


@pytest.mark.parametrize("command", ["keys", "async_keys", "thread_keys"])
def test_keys_of_two_users_never_meet(daemon: Daemon, command: str) -> None:
    """O86, O87, O36: two users' jobs at one time, in processes or in one resident; each sees its own keys, which are
    gone afterwards."""
    jobs = {user: daemon.client.submit(f"context.{command}", {"gate": command}, user=user) for user in ("ann", "bob")}
    daemon.wait_here(command, 2)
    daemon.open_gate(command)
    found = {user: job.result(20) for user, job in jobs.items()}
    for user, seen in found.items():
        assert seen["key"] == f"key-of-{user}"
        assert seen["restored"] is True
        assert seen.get("after") is None
        assert seen.get("below", seen["key"]) == f"key-of-{user}"
    same_process = found["ann"]["pid"] == found["bob"]["pid"]
    assert same_process == (command != "keys")
    log = daemon.log()
    assert "key-of" not in log


def test_output_of_threads_goes_to_their_own_job(daemon: Daemon) -> None:
    """V70: jobs that share a process do not mix what they print and log."""
    jobs = {
        user: daemon.client.submit("context.thread_keys", {"gate": "talkers"}, user=user) for user in ("ann", "bob")
    }
    daemon.open_gate("talkers")
    for user, job in jobs.items():
        job.result(20)
        assert text_of(job, "stdout") == f"printed for {user}\n"
        lines = [event.value()["message"] for event in job.events() if event.kind == "log"]
        assert lines == [f"logged for {user}"]


@pytest.mark.parametrize("how", ["success", "error", "timeout", "cancel"])
def test_clean_up_always_runs(daemon: Daemon, how: str) -> None:
    """O62, O85: `finally`, context managers and registered clean-ups, however the handler ends."""
    job = daemon.client.submit("context.tidy", {"how": how})
    if how == "cancel":
        daemon.wait_here("tidy-cancel")
        job.cancel("enough")
    words = {
        "error": (JobFailed, "on purpose"),
        "timeout": (JobFailed, "time limit"),
        "cancel": (JobCancelled, "enough"),
    }
    if how == "success":
        assert job.result(20) == "success"
    else:
        with pytest.raises(words[how][0], match=words[how][1]):
            job.result(20)
    assert daemon.file("finally.txt").read_text().split()[-1] == how
    assert daemon.file("tidied.txt").read_text().split()[-1] == how
    assert {path.suffix for path in daemon.folder.glob("tidy-*")} <= {".here"}, "the temporary file is gone"
