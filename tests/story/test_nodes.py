"""One daemon as a node: its labels, its heartbeat, and what a cordon does. Several on one store: test_fleet."""

from __future__ import annotations

import socket
from typing import Any

from stoker import JobHandle
from tests.daemon import until
from tests.story.conftest import Make
from tests.terminal import answer, typed


def why(job: JobHandle[Any]) -> str:
    return str(job.record().why)


def test_the_roster_shows_the_daemon_and_its_heartbeat_goes_on(make: Make) -> None:
    daemon = make("fleet", node="alpha", labels="gpu big", consumers_max=3, lease=1.0)
    (first,) = answer(daemon, "nodes", "--json")
    assert (first["name"], first["host"], first["pid"]) == ("alpha", socket.gethostname(), daemon.router)
    assert (first["labels"], first["slots"], first["running"]) == (["gpu", "big"], 3, 0)
    assert (first["alive"], first["cordoned"]) == (True, False)
    until(lambda: answer(daemon, "nodes", "--json")[0]["heartbeat"] > first["heartbeat"], 5)
    shown = typed(daemon, "nodes").stdout
    assert "alpha" in shown
    assert "gpu big" in shown
    assert answer(daemon, "status", "--all", "--json")["nodes"][0]["boot"] == first["boot"]


def test_a_command_waits_for_a_node_with_its_label(make: Make) -> None:
    daemon = make("fleet")
    job = daemon.client.submit("fleet.train")
    assert why(job) == "needs a node with the label gpu, and none is alive; start one with `stoker up --label gpu`"
    assert daemon.client.call("fleet.where") == str(daemon.folder), "others are not held up"
    daemon.stop()
    daemon.change(labels="gpu")
    daemon.start()
    assert job.result(20) == str(daemon.folder)


def test_a_cordoned_node_begins_nothing_until_it_is_freed_also_after_a_restart(make: Make) -> None:
    daemon = make("fleet", node="alpha")
    running = daemon.client.submit("fleet.hold")
    daemon.wait_here("door")
    (node,) = answer(daemon, "nodes", "cordon", "alpha", "--json")
    assert node["cordoned"]
    waiting = daemon.client.submit("fleet.where")
    assert why(waiting) == "this node is cordoned; `stoker nodes uncordon alpha` lets it work"
    assert running.status() == "running"
    daemon.open_gate("door")
    assert answer(daemon, "nodes", "drain", "alpha", "--json")[0]["running"] == 0
    assert running.status() == "completed"
    typed(daemon, "health", code=1)
    typed(daemon, "restart")
    assert waiting.status() == "new"
    answer(daemon, "nodes", "uncordon", "alpha", "--json")
    assert waiting.result(20) == str(daemon.folder)


def test_a_node_that_is_not_there_is_told(make: Make) -> None:
    daemon = make("fleet", node="alpha")
    for verb in ("cordon", "uncordon", "drain"):
        done = typed(daemon, "nodes", verb, "beta", code=7)
        assert done.stderr == "stoker: there is no node 'beta'; there are alpha\n"


def test_a_store_is_copied_with_all_it_keeps_and_only_once(make: Make) -> None:
    daemon = make("fleet", node="alpha")
    ids = [daemon.client.submit("fleet.where").id for _ in range(3)]
    assert [daemon.client.job(id).wait(20).status for id in ids] == ["completed"] * 3
    later = daemon.client.submit("fleet.where", delay=3600)
    answer(daemon, "pause", "fleet.hold", "--json")
    answer(daemon, "nodes", "cordon", "alpha", "--json")
    busy = typed(daemon, "migrate-store", ".stoker/stoker.db", "copy.db", code=6).stderr
    assert "another daemon works on" in busy
    daemon.stop()
    told = answer(daemon, "migrate-store", ".stoker/stoker.db", "copy.db", "--json")
    assert (told["jobs"], told["stored"]) == (4, 4)
    again = typed(daemon, "migrate-store", ".stoker/stoker.db", "copy.db").stdout
    assert "4 of them were there" in " ".join(again.split())
    daemon.change(store=str(daemon.file("copy.db")))
    daemon.start()
    assert [daemon.client.job(id).result() for id in ids] == [str(daemon.folder)] * 3
    assert daemon.client.job(later.id).status() == "new"
    assert daemon.client.stats()["paused"] == ["fleet.hold"]
    assert daemon.client.stats()["cordoned"], "its node was not on the roster any more"


def test_a_copy_of_nothing_is_refused_and_makes_nothing(make: Make) -> None:
    daemon = make("fleet", begin=False)
    assert "there is no store at" in typed(daemon, "migrate-store", "nothing.db", "copy.db", code=5).stderr
    typed(daemon, "migrate-store", "copy.db", "copy.db", code=2)
    assert not daemon.file("nothing.db").exists()
    assert not daemon.file("copy.db").exists()
