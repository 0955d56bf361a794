"""Streams when something dies, stops, or does not read."""

from __future__ import annotations

import os
import signal
import socket
import time

from tests.daemon import until
from tests.web.conftest import MakeSite
from tests.web.site import Site, Tab, submit


def test_killing_the_router_loses_and_doubles_nothing(make_site: MakeSite) -> None:
    site = make_site()
    tab = Tab(site.client(), "t").open()
    site.daemon.client.notify_now("u7", "before")
    tab.wait(lambda: len(tab.named("notification")) == 1)
    done = submit(site, "say", words=["a", "b", "c"])
    follow = Tab(site.client(), "f", f"job:{done},audience").open()
    follow.wait(lambda: follow.of("end"))
    os.kill(site.daemon.router, signal.SIGKILL)
    until(lambda: site.daemon.client.try_connect(), what="the next router")
    for number in range(5):
        site.daemon.client.notify_now("u7", str(number))
    for one in (tab, follow):
        one.wait(lambda one=one: "4" in [note["message"] for note in one.named("notification")])  # type: ignore[misc]
    assert [note["message"] for note in tab.named("notification")] == ["before", "0", "1", "2", "3", "4"]
    assert not tab.closed.is_set()
    id = submit(site, "say", words=["x"])
    assert (
        site.client().post(f"/events/{tab.hello()['stream']}", json={"subscribe": [{"topic": f"job:{id}"}]}).is_success
    )
    tab.wait(lambda: tab.named("chunk") == ["x"])


def test_killing_the_bridge_loses_and_doubles_nothing(make_site: MakeSite) -> None:
    site = make_site()
    id = submit(site, "say_slowly", words=[f"w{n}" for n in range(300)], gate="kill")
    topics = f"audience,job:{id}"
    first = Tab(site.client(), "t", topics).open()
    first.wait(lambda: first.named("chunk"))
    before = site.child
    os.kill(before, signal.SIGKILL)
    first.wait(first.closed.is_set)
    site.daemon.client.notify_now("u7", "meanwhile")
    site.daemon.open_gate("kill")
    again = Tab(site.client(), "t", topics, last=first.last)
    again.wait(lambda: again.of("end") and again.named("notification"))
    assert site.child != before
    assert first.named("chunk") + again.named("chunk") == [f"w{n}" for n in range(300)]


def test_a_server_that_stops_says_good_bye(make_site: MakeSite) -> None:
    site = make_site()
    tabs = [Tab(site.client(), f"t{n}").open() for n in range(3)]
    child, began = site.child, time.monotonic()
    os.kill(child, signal.SIGTERM)
    for tab in tabs:
        tab.wait(tab.closed.is_set)
        assert tab.of("bye")[0].data["reason"] == "restart"
    until(lambda: site.daemon.pids("web") not in ([], [child]), what="the next bridge")
    assert time.monotonic() - began < 15
    Tab(site.client(), "t").open()
    assert site.daemon.stop() == 0
    assert site.daemon.pids("web") == []


def test_one_who_does_not_read_bothers_nobody(make_site: MakeSite) -> None:  # D31, scaled down
    site = make_site(tick="1s")
    descriptors = f"/proc/{site.child}/fd"
    before = len(os.listdir(descriptors))
    slow = [site.raw() for _ in range(12)]
    try:
        for number, raw in enumerate(slow):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.sendall(_opening(site, "ws" if number % 2 else "events", f"slow{number}"))
        good = [Tab(site.client("crowd"), f"good{n}").open() for n in range(3)]
        until(lambda: site.tabs() == 15)
        size = _rss(site.child)
        data, count = "x" * 20_000, 400
        for number in range(count):
            site.daemon.client.send_to_all("web", "crowd", "load", {"n": number, "data": data})
        for tab in good:
            tab.wait(lambda tab=tab: len(tab.named("load")) == count, 60)  # type: ignore[misc]
            assert [one["n"] for one in tab.named("load")] == list(range(count))
        until(lambda: site.tabs() == 3, 30, "those who do not read are let go")
        until(lambda: len(os.listdir(descriptors)) <= before + 3 + 2, 30, "and their connections are closed")
        grown = _rss(site.child) - size
        print(f"8 MB to 12 who do not read: the bridge grew by {grown >> 20} MB")
        assert grown < 60 << 20
    finally:
        for raw in slow:
            raw.close()


def _opening(site: Site, path: str, instance: str) -> bytes:
    """The head of a request for a stream, by hand."""
    lines = [
        f"GET /{path}?instance={instance}&topics=audience HTTP/1.1", "Host: localhost",
        f"Authorization: Bearer {site.token('crowd')}",
    ]  # fmt: skip
    if path == "ws":
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_restart_changes_the_bridge_too(make_site: MakeSite) -> None:
    site = make_site()
    tab, before = Tab(site.client(), "t").open(), (site.child, site.daemon.router)
    site.daemon.client.ask("restart")
    tab.wait(tab.closed.is_set)
    assert tab.of("bye")[0].data["reason"] == "restart"
    until(lambda: set(site.daemon.pids("web")) - {before[0]} and set(site.daemon.pids("router")) - {before[1]})
    until(lambda: site.daemon.client.try_connect(), what="the next router")
    again = Tab(site.client(), "t", last=tab.last).open()
    site.daemon.client.notify_now("u7", "hello")
    again.wait(lambda: again.named("notification"))


def _rss(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
