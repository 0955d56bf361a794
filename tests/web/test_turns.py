"""Streams that are ended in order: those that have lasted long enough, those of a server that stops, those of polls."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from stoker.settings import Web
from tests.daemon import until
from tests.web.conftest import MakeSite
from tests.web.site import Site, Tab, parsed, submit

LIFE = 1.0
CROWD = 400
"""Streams that are told to go in 0.8 s, at 500 in a second."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One whose streams may last, for the tests that do it no harm."""
    shared = Site("story", life=0, tick="0.2s")
    try:
        yield shared.start()
    finally:
        shared.close()


def _stays(site: Site, instance: str, topic: str) -> tuple[list[Tab], list[Any]]:
    """Somebody who comes again whenever they are asked to, until the topic ends: their streams, and what they heard."""
    tabs: list[Tab] = []
    while not (tabs and tabs[-1].of("end")):
        if tabs:
            (bye,) = tabs[-1].of("bye")
            assert bye.data["reason"] == "turn"
            assert 50 <= bye.data["retry"] <= 500
        last = {"last": tabs[-1].last} if tabs else {}
        tabs.append(Tab(site.client(), instance, f"{topic},audience", **last))
        tabs[-1].wait(lambda: tabs[-1].closed.is_set() or tabs[-1].of("end"))
    return tabs, [message for tab in tabs for message in tab.messages]


def test_a_stream_takes_turns_and_loses_nothing(make_site: MakeSite) -> None:
    site = make_site(life=LIFE, tick="0.2s")
    words = [f"w{number}" for number in range(200)]
    id = submit(site, "say_slowly", words=words, gate="turns")
    heard: list[tuple[list[Tab], list[Any]]] = []
    stayed = [threading.Thread(target=lambda n=n: heard.append(_stays(site, f"t{n}", f"job:{id}"))) for n in range(2)]
    for thread in stayed:
        thread.start()
    for number in range(40):
        site.daemon.client.notify_now("u7", str(number))
        time.sleep(0.05)  # so that turns fall between them, and into them
    until(lambda: site.tabs() == 2, what="both are there again")
    site.daemon.open_gate("turns")
    for thread in stayed:
        thread.join(60)
    assert len(heard) == 2
    for tabs, messages in heard:
        assert len(tabs) >= 2
        assert [one["data"] for one in messages if one["event"] == "chunk"] == words
        notes = [int(one["data"]["message"]) for one in messages if one["event"] == "notification"]
        assert notes == list(range(notes[0], 40))
    _socket_takes_turns(site)


def test_a_stream_that_may_last_does(site: Site) -> None:
    assert Web().life == 600.0
    tab = Tab(site.client(), "t").open()
    tab.wait(lambda: len(tab.of(":")) >= 10, what="ten signs of life")
    assert not tab.of("bye")


def _socket_takes_turns(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.token()}"}
    url = f"ws://127.0.0.1:{site.port}/ws?instance=t&topics=audience"
    with connect(url, additional_headers=headers, proxy=None) as line:
        assert json.loads(line.recv(20))["type"] == "hello"
        while (said := json.loads(line.recv(20)))["type"] != "bye":
            assert said["type"] == "ping"
        assert said["reason"] == "turn"
        assert 50 <= said["retry"] <= 500
        with pytest.raises(ConnectionClosed) as closed:
            line.recv(20)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "turn")


def test_a_crowd_is_sent_away_one_after_the_other(make_site: MakeSite) -> None:
    site = make_site()
    token, port = site.token("crowd"), getattr(site, "native", site.port)
    raws = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(CROWD)]
    byes: list[tuple[float, Any]] = []
    try:
        for number, raw in enumerate(raws):
            raw.sendall(f"GET /events?instance=c{number}&topics=audience HTTP/1.1\r\nHost: localhost\r\n"
                        f"Authorization: Bearer {token}\r\n\r\n".encode())  # fmt: skip
        until(lambda: site.tabs() == CROWD, 60, "all are there")
        child = site.child
        os.kill(child, signal.SIGTERM)
        for raw in raws:
            data = b""
            while more := raw.recv(65536):
                data += more
            byes.append((time.monotonic(), _bye(data)))
        until(lambda: site.daemon.pids("web") not in ([], [child]), what="the next bridge")
    finally:
        for raw in raws:
            raw.close()
    assert {bye["reason"] for _, bye in byes} == {"restart"}
    assert len({bye["retry"] for _, bye in byes}) > CROWD / 4
    assert all(1000 <= bye["retry"] <= 4000 for _, bye in byes)
    took = byes[-1][0] - byes[0][0]
    print(f"{CROWD} were sent away in {took:.1f} s")
    assert took >= 0.4


def _bye(data: bytes) -> Any:
    """The last word of a stream, and the time that the standard's own clients come again after."""
    text = data.partition(b"\r\n\r\n")[2].decode()
    (bye,) = [event.data for event in parsed(iter(text.replace("\r", "").split("\n"))) if event.kind == "bye"]
    assert f"retry: {bye['retry']}\n" in text
    return bye


def test_one_who_polls_is_there_as_long_as_they_ask_again(site: Site) -> None:
    me, before = site.client("rhythm"), site.tabs()
    query: dict[str, Any] = {"instance": "p", "topics": "audience", "wait": 0}
    for number in range(10):
        answer = me.get("/poll", params=query).json()
        assert answer["user"] == "rhythm"
        assert 0 < answer["expires"] <= 600
        query["after"] = answer["cursor"]
        assert site.tabs() == before + 1, number
    began = time.monotonic()
    until(lambda: site.tabs() == before, 12, "who asked again at once is missed soon")
    assert time.monotonic() - began > 2


def test_one_who_polled_is_sent_away_with_the_others(make_site: MakeSite) -> None:
    site = make_site()
    for number in range(3):
        site.client().get("/poll", params={"instance": f"p{number}", "topics": "audience", "wait": 0})
    assert site.tabs() == 3
    began = time.monotonic()
    child = site.child
    os.kill(child, signal.SIGTERM)
    until(lambda: child not in site.daemon.pids("web"), what="its end")
    assert time.monotonic() - began < 5
