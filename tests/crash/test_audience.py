"""Pushed events when something dies: the router, a node, the line to the server. None is lost, none is doubled."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sqlite3
import threading
from typing import Any

import pytest

from stoker.model.errors import StokerError
from tests.daemon import Daemon, until
from tests.fleet import Fleet, started
from tests.story.conftest import Make
from tests.tabs import Bridge

TAB = ("u7", "s1", "a")


class Writer:
    """Pushes 0, 1, 2 … to a user, whatever happens; each until it is acknowledged, under an id of its own."""

    def __init__(self, daemon: Daemon, name: str = "", user: str = "u7") -> None:
        self._client = daemon.another_client(timeout=5.0)
        self._name = name
        self._user = user
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")
        self.count = 0

    def _run(self) -> None:
        while not self._stop.is_set():
            data = f"{self._name}{self.count}"
            try:
                self._client.ask("send_to_all", user=self._user, event="n", data=data, id=f"id-{data}")
            except StokerError:
                self._stop.wait(0.02)
                continue
            self.count += 1

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Reader:
    """What a bridge does for its tab: attach, read what was missed, then listen; over again when the line is cut."""

    def __init__(self, daemon: Daemon, offset: int = 0, epoch: str | None = None) -> None:
        self.daemon = daemon
        self.offset = offset
        self.epoch = epoch
        self.seen: list[Any] = []
        self.lines = 0

    def read_until(self, enough: Any) -> None:
        while not enough(self.seen):
            try:
                with Bridge(self.daemon, 10) as bridge:
                    self._read(bridge, enough)
            except (OSError, EOFError):
                # it comes back
                until(lambda: self.daemon.client.try_connect(), 30)

    def _read(self, bridge: Bridge, enough: Any) -> None:
        self.lines += 1
        place = bridge.attach(*TAB)
        assert self.epoch in (None, place["epoch"]), "the row of numbers is another"
        self.epoch = place["epoch"]
        while self.offset < place["offset"]:
            page = bridge.ask("messages", after=self.offset, limit=100, epoch=self.epoch, to=_tab())["data"]
            assert not page["reset"]
            for message in page["messages"]:
                self._take(message)
            self.offset = page["offset"]
        while not enough(self.seen):
            self._take(bridge.next())

    def _take(self, message: dict[str, Any]) -> None:
        if message["offset"] > self.offset:
            self.offset = message["offset"]
            self.seen.append(message["data"])


def _gone(daemon: Daemon, router: int) -> bool:
    return router not in daemon.pids("router")


def _tab() -> dict[str, str]:
    return dict(zip(("user", "session", "instance"), TAB, strict=True))


def test_the_router_is_killed_again_and_again(make: Make) -> None:
    """P13: kill -9 of the router between, during and after pushes: a tab that comes back with its cursor has them all,
    each once and in order."""
    daemon = make("pushing")
    reader = Reader(daemon)
    with Writer(daemon) as writer:
        for kill in range(3):
            done = writer.count
            reader.read_until(lambda seen, least=done + 30: len(seen) >= least)
            router = daemon.router
            os.kill(router, signal.SIGKILL)
            until(functools.partial(_gone, daemon, router), what=f"router {kill} is gone")
    reader.read_until(lambda seen: len(seen) >= writer.count)
    assert reader.seen == [str(number) for number in range(writer.count)]
    assert reader.lines >= 3


def test_a_killed_connection_takes_its_tabs_along(make: Make) -> None:
    daemon = make("pushing")
    with Bridge(daemon) as stays:
        stays.attach("u1", "s", "i")
        gone = Bridge(daemon)
        for number in range(100):
            gone.attach("u7", "s", str(number))
        assert daemon.client.send_to_all("web", "0", "e").tabs == 101
        gone.__exit__()
        until(lambda: daemon.client.ask("clients")["tabs"] == 1)
        assert daemon.client.send_to_all("web", "0", "end").tabs == 1
        assert len(stays.until("end")) == 1


def test_what_cannot_be_read_harms_only_those_who_ask_for_it(make: Make) -> None:
    """A row that somebody wrote by hand, or a newer version: whoever watches other jobs notices nothing."""
    daemon = make("pushing", consumers_max=3)
    odd, well = (daemon.client.submit("pushing.long", {"gate": gate}) for gate in ("odd", "well"))
    daemon.wait_here("odd")
    daemon.wait_here("well")
    with daemon.raw() as script, daemon.raw() as other:
        assert script.call(1, "subscribe", job=odd.id, after=10**30)["code"] == "protocol"
        other.call(1, "subscribe", job=well.id)
        assert other.receive()["data"]["data"] == "one"
        with contextlib.closing(sqlite3.connect(daemon.store)) as file, file:
            file.execute(
                "INSERT INTO events (job, attempt, at, kind, data) SELECT seq, 1, 0, 'from the future', x'30' "
                "FROM jobs WHERE id = ?",
                (odd.id,),
            )
        for number in range(5):
            script.call(number + 2, "subscribe", job=odd.id)
            end = script.receive()
            assert (end["event"], end["data"]["error"]) == ("end", "error")
            assert "cannot be read" in end["data"]["message"]
        with pytest.raises(StokerError, match="cannot be read"):
            list(odd.stream())
        assert script.call(9, "ping")["data"] == "pong"
        daemon.open_gate("odd")
        daemon.open_gate("well")
        assert other.receive()["data"]["data"] == "two"
        assert well.result(20) == "done"
        assert odd.result(20) == "done", "its end can be read"


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pair(fleet: Fleet, **settings: Any) -> tuple[Daemon, Daemon]:
    a, b = (fleet.node(name, "pushing", begin=False, **{"look": 30, **settings}) for name in "ab")
    started(a, b)
    return a, b


def test_nodes_push_to_the_tabs_of_each_other(fleet: Fleet) -> None:
    """Both push at one time: on each node every tab is told all of it, once, in the one order that all see."""
    a, b = _pair(fleet)
    with Bridge(a) as at_a, Bridge(b) as at_b, Bridge(b) as other:
        at_a.attach("u7", "s1", "a")
        at_b.attach("u7", "s2", "b")
        other.attach("u8", "s1", "c")
        assert a.client.send_to_all("web", "u7", "n", "first").tabs == 1, "of this node"
        assert at_b.next()["data"] == "first"
        assert at_a.next()["data"] == "first"
        with Writer(a, "a") as one, Writer(b, "b") as two:
            until(lambda: one.count >= 100 and two.count >= 100, 60)
        b.client.call("pushing.tell", {"user": "u7", "data": "from a job"})
        for client in (a.client, b.client):
            client.send_to_all("web", "0", "end")
        told = [
            [(message["offset"], message["data"]) for message in bridge.until("end") + bridge.until("end")]
            for bridge in (at_a, at_b)
        ]
        assert told[0] == told[1]
        assert told[0] == sorted(told[0])
        data = [data for _, data in told[0]]
        for name, count in (("a", one.count), ("b", two.count)):
            assert [one for one in data if one.startswith(name)] == [f"{name}{n}" for n in range(count)]
        assert data[-1] == "from a job"
        assert len(data) == one.count + two.count + 1
        assert other.until("end") + other.until("end") == []


def test_a_node_that_was_deaf_hears_what_it_missed(fleet: Fleet) -> None:
    """The line that listens is cut, together with what was told meanwhile: whoever listens again looks."""
    a, b = _pair(fleet)
    with Bridge(b) as bridge:
        bridge.attach(*TAB)
        for cut in range(3):
            for pid in fleet.backends("stoker/listener"):
                fleet.sql("SELECT pg_terminate_backend(%s)", pid)
            for number in range(5):
                a.client.send_to_all("web", "u7", "n", [cut, number])
        assert [bridge.next()["data"] for _ in range(15)] == [[cut, n] for cut in range(3) for n in range(5)]


def test_the_writing_session_is_cut_and_nothing_is_doubled(fleet: Fleet) -> None:
    """The server's process dies under pushes: each is stored once, though nobody knew how its commit had ended."""
    (a,) = fleet.nodes_of("a", apps=("pushing",))
    reader = Reader(a)
    with Writer(a) as writer:
        for _ in range(10):
            done = writer.count
            until(lambda least=done: writer.count >= least + 20, 30)  # type: ignore[misc]
            for pid in fleet.backends("stoker/writer"):
                fleet.sql("SELECT pg_terminate_backend(%s)", pid)
    reader.read_until(lambda seen: len(seen) >= writer.count)
    assert reader.seen == [str(number) for number in range(writer.count)]
    assert fleet.sql("SELECT count(*), count(DISTINCT seq), max(seq) FROM stoker.messages") == [(writer.count,) * 3]


def test_a_node_that_comes_back_has_what_was_pushed_meanwhile(fleet: Fleet) -> None:
    """Node b is killed and comes back; its tab reads on from where it was."""
    a, b = _pair(fleet, lease=5)
    reader = Reader(b)
    a.client.send_to_all("web", "u7", "n", "before")
    reader.read_until(lambda seen: len(seen) == 1)
    b.kill()
    a.client.send_to_all("web", "u7", "n", "meanwhile")
    b.start()
    a.client.send_to_all("web", "u7", "n", "after")
    reader.read_until(lambda seen: len(seen) == 3)
    assert reader.seen == ["before", "meanwhile", "after"]


def test_a_list_is_told_that_another_node_changed_something(fleet: Fleet) -> None:
    """Pulses do not cross nodes; that there is something to look at does."""
    a, b = _pair(fleet)
    with Bridge(b) as bridge:
        bridge.ask("subscribe", {"user": "root", "all": True}, topic="jobs")
        b.client.ask("cordon", node="b")
        a.client.submit("pushing.for_scripts").wait(20)
        told = bridge.next()
        assert (told["topic"], told["event"], told["data"]) == ("jobs", "look", None)
