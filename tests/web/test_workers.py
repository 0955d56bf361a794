"""The topic `workers`: each transition of a worker that stays, as it happens (H14)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon import until
from tests.raw import RawClient
from tests.web.site import Site, Tab

LONG = {"STOKER_STATS_EVERY": "1h"}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    shared = Site("telemetry", settings={"kill_grace": 0.3})
    shared.daemon.more_environ |= LONG  # no sample has a part in this
    try:
        yield shared.start()
    finally:
        shared.close()


@pytest.fixture
def raw(site: Site) -> Iterator[RawClient]:
    until(lambda: {pool["live"] for pool in pools(site) if pool["workers"]} == {1}, what="every worker is ready")
    with site.daemon.raw() as raw:
        assert raw.call(1, "subscribe", topic="workers")["data"] == {"topic": "workers"}
        yield raw


def pools(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.daemon.client.ask("pools", list[dict[str, Any]])
    return found


def pid(site: Site, product: str) -> int:
    (pool,) = [pool for pool in pools(site) if pool["product"] == product]
    return int(pool["processes"][0]["pid"])


def told(raw: RawClient, count: int) -> list[dict[str, Any]]:
    """The next transitions."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = raw.receive()
        if message.get("topic") == "workers":
            assert message["event"] == "worker"
            found.append(message["data"])
    return found


def test_a_worker_that_is_killed_has_a_successor(site: Site, raw: RawClient) -> None:
    killed = pid(site, "quiet")
    os.kill(killed, signal.SIGKILL)
    died, starting, ready = told(raw, 3)
    assert died == {"pid": killed, "product": "quiet", "isolation": "process", "state": "died", "how": died["how"]}
    assert "SIGKILL" in died["how"]
    assert [one["state"] for one in (starting, ready)] == ["starting", "ready"]
    assert {one["pid"] for one in (starting, ready)} == {pid(site, "quiet")}
    assert starting["how"] is None


def test_a_worker_that_goes_says_so(site: Site, raw: RawClient) -> None:
    """One more, and one fewer."""
    site.daemon.client.ask("pool_set", product="loops", options={"max_workers": 2, "workers": 2})
    more = told(raw, 2)
    assert [one["state"] for one in more] == ["starting", "ready"]
    site.daemon.client.ask("pool_set", product="loops", options={"workers": 1, "max_workers": 1})
    fewer = told(raw, 2)
    assert [one["state"] for one in fewer] == ["leaving", "died"]
    assert len({one["pid"] for one in fewer}) == 1


def test_a_busy_worker_leaves_before_it_goes(site: Site, raw: RawClient) -> None:
    """It is told of at once, not when its job ends."""
    job = site.daemon.client.submit("threads.held", gate="busy")
    site.daemon.wait_here("busy")
    old = pid(site, "threads")
    site.daemon.client.ask("pool_set", product="threads", options={"enabled": False})
    assert [(one["pid"], one["state"]) for one in told(raw, 1)] == [(old, "leaving")]
    assert job.record().status == "running"
    site.daemon.open_gate("busy")
    assert [(one["pid"], one["state"]) for one in told(raw, 1)] == [(old, "died")]
    site.daemon.client.ask("pool_set", product="threads", options={"enabled": True})
    assert [one["state"] for one in told(raw, 2)] == ["starting", "ready"]


def test_browsers_of_those_who_may_see_everything(site: Site, raw: RawClient) -> None:
    tab = Tab(site.client("root", level="viewer"), "t", "workers").open()
    other = Tab(site.client("u7"), "o", "workers")
    other.wait(lambda: other.of("end"))
    assert other.of("end")[0].data == {"topic": "workers", "reason": "not_allowed"}
    killed = pid(site, "images")
    os.kill(killed, signal.SIGKILL)
    tab.wait(lambda: tab.named("worker") or tab.named("look"))
    assert tab.messages[0]["topic"] == "workers"
    assert [one["state"] for one in told(raw, 3)] == ["died", "starting", "ready"]
    assert other.messages == []
