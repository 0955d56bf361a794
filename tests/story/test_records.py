"""What a record tells: whose it is, how it went, where it runs; and the workers of all nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stoker.model.errors import NotAllowed, RequestError
from tests.daemon import Daemon, until
from tests.fleet import Fleet
from tests.terminal import answer, typed


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("insides", node="alpha") as one:
        yield one


def test_a_user_is_a_number_or_text(daemon: Daemon) -> None:  # X33
    assert daemon.client.submit("insides.whose", user=7).result(20) == "7"
    with daemon.raw() as raw:
        stored = raw.call(2, "submit", command="insides.whose", user=8)["data"]["id"]
        assert raw.call(3, "wait", job=stored)["data"]["user"] == "8"
        assert [one["id"] for one in raw.call(4, "jobs", user=8)["data"]] == [stored]
    (found,) = daemon.client.jobs(user=7)
    assert (found.user, found.result()) == ("7", "7")


@pytest.mark.parametrize("user", ["0", 0, True, 1.5, b"x", ""])
def test_nobody_is_called_everybody_or_something_else(daemon: Daemon, user: Any) -> None:
    with pytest.raises(RequestError, match="user"):
        daemon.client.submit("insides.whose", user=user)


def test_a_job_without_a_daemon_is_nobodys_who_is_everybody() -> None:
    daemon = Daemon("insides")
    try:
        assert "is everybody" in typed(daemon, "submit", "insides.whose", "--user", "0", code=7).stderr
    finally:
        daemon.close()


def test_a_job_that_says_it_did_not_go_well_is_shown_apart(daemon: Daemon) -> None:  # X13
    job = daemon.client.submit("insides.unwell")
    record = job.wait(20)
    assert (record.status, record.unwell) == ("completed", True)
    assert "completed, not well" in typed(daemon, "jobs").stdout
    assert "completed, not well" in typed(daemon, "job", job.id).stdout
    assert answer(daemon, "job", job.id, "--json")["unwell"] is True
    (row,) = [one for one in daemon.client.ask("command_stats") if one["command"] == "insides.unwell"]
    assert (row["completed"], row["unwell"]) == (1, 1)


def test_a_running_job_tells_its_node_and_process(daemon: Daemon) -> None:  # H81
    job = daemon.client.submit("insides.stumble", gate="here")
    daemon.wait_here("here")
    record = job.record()
    (worker,) = [one for one in daemon.client.ask("getWorkerPings") if one["job"] == job.id]
    assert (record.node, record.pid) == ("alpha", worker["pid"])
    assert f"alpha, pid {record.pid}" in typed(daemon, "job", job.id).stdout
    assert [one.pid for one in daemon.client.jobs(status="running")] == [record.pid]
    daemon.open_gate("here")
    ended = job.wait(20)
    assert (ended.status, ended.node, ended.pid) == ("failed", None, None)
    assert ended.traceback is not None


def test_what_jobs_alone_may_call_is_told_as_such(daemon: Daemon) -> None:
    with pytest.raises(NotAllowed, match=r"^insides\.within may be called by jobs alone, not by script$"):
        daemon.client.call("insides.within")


def test_a_state_that_is_none_is_told(daemon: Daemon) -> None:
    assert "'done' is none of new, running, completed, failed, cancelled" in " ".join(
        typed(daemon, "jobs", "--status", "done", code=2).stderr.replace("│", " ").split()
    )
    assert answer(daemon, "jobs", "--status", "canceled", "--json") == []


def test_either_node_shows_the_workers_and_the_jobs_of_both(fleet: Fleet) -> None:  # H81
    quick = {"STOKER_STATS_EVERY": "0.2"}
    one, other = fleet.nodes_of("one", "other", apps=("insides",), environ=quick, labels="")
    job = one.client.submit("insides.stumble", gate="both")
    until(lambda: job.status() == "running")
    where = job.record().node
    asked = other if where == "one" else one
    assert (where, asked.client.job(job.id).record().pid) in (("one", None), ("other", None))
    assert asked.client.job(job.id).record().node == where

    def seen() -> bool:
        workers = asked.client.ask("getWorkerPings", list[dict[str, Any]], all=True)
        return {one["node"] for one in workers} == {"one", "other"}

    assert until(seen)
    workers = answer(asked, "pools", "--all", "--json")
    assert {one["seenAgo"] for one in workers if one["node"] != where} == {0.0}
    assert all(0 <= one["seenAgo"] < 60 and one["pid"] for one in workers)
    assert {pid for one in workers if one["node"] == where and (pid := one["pid"])} <= {
        process.pid for process in (one if where == "one" else other).processes()
    }
    assert "ago" in typed(asked, "pools", "--all").stdout
    (one if where == "one" else other).kill()
    until(lambda: {w["node"] for w in asked.client.ask("getWorkerPings", all=True)} != {"one", "other"}, 30)
