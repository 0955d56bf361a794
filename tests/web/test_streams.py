"""Streams: who gets what, when, and what happens when somebody leaves or comes again."""

from __future__ import annotations

import itertools
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import httpx_sse
import pytest
import sseclient

from stoker.settings import Web
from tests.daemon import until
from tests.web.conftest import MakeSite
from tests.web.site import Site, Tab, submit


@pytest.mark.parametrize("parser", ["httpx-sse", "sseclient"])
def test_standard_clients_read_it(site: Site, parser: str) -> None:  # V31
    id = submit(site, "say", words=["one", "two"])
    with site.client().stream("GET", "/events", params={"instance": "p", "topics": f"job:{id}"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        source = httpx_sse.EventSource(response).iter_sse() if parser == "httpx-sse" else _sseclient(response)
        kinds = []
        for event in source:
            kinds.append(event.event)
            if event.event == "end":
                break
    assert kinds == ["hello", "message", "message", "end"]


def _sseclient(response: httpx.Response) -> Iterator[Any]:
    found: Iterator[Any] = sseclient.SSEClient(response.iter_bytes()).events()
    return found


def test_a_word_is_seen_before_the_next_is_made(site: Site) -> None:  # V32
    id = submit(site, "say_slowly", words=["first", "second", "third"], gate="words")
    tab = Tab(site.client(), "t", f"job:{id}").open()
    tab.wait(lambda: tab.named("chunk") == ["first"])
    site.daemon.open_gate("words")
    tab.wait(lambda: tab.of("end"))
    assert tab.named("chunk") == ["first", "second", "third"]
    assert tab.of("end")[0].data == {"topic": f"job:{id}", "status": "completed"}
    offsets = [message["offset"] for message in tab.messages]
    assert offsets == sorted(set(offsets))


def test_a_late_reader_gets_all_of_it_and_one_who_comes_again_the_rest(site: Site) -> None:
    id = submit(site, "say", words=[f"w{n}" for n in range(450)])
    site.client().get(f"/jobs/{id}/wait")
    early = Tab(site.client(), "t", f"job:{id}")
    early.wait(lambda: early.of("end"))
    assert early.named("chunk") == [f"w{n}" for n in range(450)]
    cursor = early.of("message")[199].id
    again = Tab(site.client(), "t", f"job:{id}", last=cursor)
    again.wait(lambda: again.of("end"))
    assert again.named("chunk") == [f"w{n}" for n in range(200, 450)]


def test_a_cursor_that_nobody_was_given_harms_nobody(site: Site) -> None:
    id = submit(site, "say_slowly", words=["a", "b", "c"], gate="cursor")
    topic = f"job:{id}"
    odd = Tab(site.client(), "odd", topic, last=f"{topic}@9007199254740991").open()
    good = Tab(site.client(), "good", topic).open()
    good.wait(lambda: good.named("chunk") == ["a"])
    site.daemon.open_gate("cursor")
    for tab in (good, odd):
        tab.wait(lambda tab=tab: tab.of("end"))  # type: ignore[misc]
        assert tab.named("chunk") == ["a", "b", "c"]
    assert odd.of("reset")[0].data == {"topic": topic, "reason": "gone"}


def test_a_job_that_runs_again_is_followed_again(site: Site) -> None:
    id = submit(site, "say", words=["a"])
    first = Tab(site.client(), "t", f"job:{id}").open()
    first.wait(lambda: first.of("end"))
    assert site.client().post(f"/jobs/{id}/retry").is_success
    again = Tab(site.client(), "t", f"job:{id}", last=first.of("message")[-1].id)
    again.wait(lambda: again.of("end"))
    assert again.named("chunk") == ["a"]


def test_a_bare_event_source_follows_one_job_and_stops(site: Site) -> None:
    id = submit(site, "say", words=["a", "b"])
    me = site.client()
    with me.stream("GET", f"/jobs/{id}/stream") as response:
        events = list(httpx_sse.EventSource(response).iter_sse())
    assert [(event.event, event.data) for event in events[:-1]] == [("chunk", '"a"'), ("chunk", '"b"')]
    assert events[-1].event == "end"
    last = {"Last-Event-ID": events[-2].id}
    assert me.get(f"/jobs/{id}/stream", headers=last).status_code == 204
    with me.stream("GET", f"/jobs/{id}/stream", headers={"Last-Event-ID": events[0].id}) as response:
        assert [event.event for event in httpx_sse.EventSource(response).iter_sse()] == ["chunk", "end"]


def test_what_cannot_be_had_ends_alone(site: Site) -> None:
    theirs, mine = submit(site, "echo", user="other", value=1), submit(site, "say", words=["x"])
    tab = Tab(site.client(), "t", f"job:{theirs},job:nowhere,sys-stats,job:{mine}")
    tab.wait(lambda: len(tab.of("end")) == 4)
    ends = {event.data["topic"]: event.data.get("reason") or event.data["status"] for event in tab.of("end")}
    assert ends == {
        f"job:{theirs}": "unknown_job", "job:nowhere": "unknown_job", "sys-stats": "not_allowed",
        f"job:{mine}": "completed",
    }  # fmt: skip
    assert tab.named("chunk") == ["x"]


def test_events_reach_exactly_the_tabs_they_are_for(site: Site) -> None:  # V55, V56, V48
    tabs = {
        (user, session, instance): Tab(site.client(user, session), instance)
        for user in ("a", "b", "c") for session in ("1", "2") for instance in ("x", "y")
    }  # fmt: skip
    for tab in tabs.values():
        tab.open()
    client = site.daemon.client
    client.send_to_all("web", "a", "user", 1)
    client.send_to_all("web", "b", "session", 2, session="2")
    client.send_to_all("web", "c", "tab", 3, session="1", instance="y")
    client.send_to_all("script", "0", "scripts", 4)
    client.notify_now("b", "look", title="T", level="warning")
    client.send_to_all("web", 0, "all", 5)
    for tab in tabs.values():
        tab.wait(lambda tab=tab: tab.named("all"))  # type: ignore[misc]
    for (user, session, instance), tab in tabs.items():
        expected = [
            *(["user"] if user == "a" else []),
            *(["session"] if (user, session) == ("b", "2") else []),
            *(["tab"] if (user, session, instance) == ("c", "1", "y") else []),
            *(["notification"] if user == "b" else []),
            "all",
        ]
        assert [message["event"] for message in tab.messages] == expected, (user, session, instance)
    (note,) = tabs["b", "1", "x"].named("notification")
    assert (note["message"], note["title"], note["level"]) == ("look", "T", "warning")


def test_tabs_behind_one_stream(site: Site) -> None:
    before = site.tabs()
    me = site.client("many")
    tab = Tab(me, "worker", tabs="t1,t2").open()
    until(lambda: site.tabs() == before + 3)
    answer = me.post(f"/events/{tab.hello()['stream']}", json={"attach": ["t3"], "detach": ["t1"]})
    assert answer.json()["tabs"] == ["t2", "t3", "worker"]
    until(lambda: site.tabs() == before + 3)
    client = site.daemon.client
    assert client.send_to_all("web", "many", "no", 1, session="s1", instance="t1").tabs == 0
    client.send_to_all("web", "many", "yes", 2, session="s1", instance="t3")
    tab.wait(lambda: tab.named("yes"))
    assert tab.named("no") == []


def test_what_a_stream_carries_is_changed_while_it_is_open(site: Site) -> None:
    me = site.client()
    tab = Tab(me, "t").open()
    id = submit(site, "say", words=["a", "b"])
    path = f"/events/{tab.hello()['stream']}"
    assert me.post(path, json={"subscribe": [{"topic": f"job:{id}"}]}).json()["topics"] == ["audience", f"job:{id}"]
    tab.wait(lambda: tab.of("end"))
    assert tab.named("chunk") == ["a", "b"]
    assert me.post(path, json={"unsubscribe": ["audience"]}).json()["topics"] == []
    assert site.client("else").post(path, json={"subscribe": []}).status_code == 404
    assert me.post("/events/none", json={"subscribe": []}).status_code == 404
    assert me.post(path, json={"subscribe": [{"topic": "nonsense"}]}).status_code == 422


def test_an_event_is_there_at_once(site: Site) -> None:  # V33
    tab = Tab(site.client("quick"), "t").open()
    took = []
    for number in range(30):
        began = time.monotonic()
        site.daemon.client.notify_now("quick", str(number))
        tab.wait(lambda number=number: len(tab.named("notification")) > number)  # type: ignore[misc]
        took.append(time.monotonic() - began)
    print(f"push to receipt: median {1000 * statistics.median(took):.1f} ms, worst {1000 * max(took):.1f} ms")
    assert statistics.median(took) < 0.5


def test_one_who_was_away_gets_what_was_pushed_meanwhile(site: Site) -> None:
    first = Tab(site.client("away"), "t").open()
    site.daemon.client.notify_now("away", "1")
    first.wait(lambda: len(first.named("notification")) == 1)
    cursor = first.last
    for number in ("2", "3"):
        site.daemon.client.notify_now("away", number)
    again = Tab(site.client("away"), "t", last=cursor)
    again.wait(lambda: len(again.named("notification")) == 2)
    assert [note["message"] for note in again.named("notification")] == ["2", "3"]
    other = Tab(site.client("away"), "t", last="audience@someother.1")
    other.wait(lambda: other.of("reset"))
    assert other.of("reset")[0].data == {"topic": "audience", "reason": "epoch"}


def test_long_poll_gives_the_same(site: Site) -> None:
    me = site.client("poller")
    query: dict[str, Any] = {"instance": "p", "topics": "audience", "wait": 0.1}
    begun = me.get("/poll", params=query).json()
    assert begun["events"] == []
    site.daemon.client.notify_now("poller", "1")
    found = me.get("/poll", params={**query, "after": begun["cursor"], "wait": 20}).json()
    assert [event["data"]["message"] for event in found["events"]] == ["1"]
    later = threading.Timer(0.3, lambda: site.daemon.client.notify_now("poller", "2"))
    later.start()
    found = me.get("/poll", params={**query, "after": found["cursor"], "wait": 20}).json()
    assert [event["data"]["message"] for event in found["events"]] == ["2"]
    later.join()
    id = submit(site, "say", user="poller", words=["a", "b"])
    me.get(f"/jobs/{id}/wait")
    kinds, cursor = [], ""
    while "end" not in kinds:
        page = me.get("/poll", params={"instance": "p", "topics": f"job:{id}", "wait": 20, "after": cursor}).json()
        kinds += [event.get("type", event.get("event")) for event in page["events"]]
        cursor = page["cursor"] or cursor
    assert kinds == ["chunk", "chunk", "end"]
    assert begun["user"] == "poller"
    before = site.tabs()
    with pytest.raises(httpx.ReadTimeout):
        site.client("leaver").get("/poll", params={**query, "instance": "leaver", "wait": 60}, timeout=0.5)
    until(lambda: site.tabs() <= before, what="a poll whose browser is gone is out of the tree")
    assert me.get("/poll", params={**query, "wait": "x"}).status_code == 422


def test_a_quiet_stream_shows_life_and_costs_little(make_site: MakeSite) -> None:  # V111, V112, V114
    site = make_site(tick="1s")
    with site.raw() as raw:
        raw.sendall(f"GET /events?instance=q&topics=audience HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: Bearer {site.token()}\r\n\r\n".encode())  # fmt: skip
        raw.settimeout(10)
        data = b""
        while b"event: hello" not in data or not data.endswith(b"\n\n\r\n"):
            data += raw.recv(4096)
        times, sizes = [time.monotonic()], []
        for _ in range(3):
            sizes.append(len(raw.recv(4096)))
            times.append(time.monotonic())
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(0.5 < gap < 2.5 for gap in gaps[1:]), gaps
    assert max(sizes) * 6 < 100


def test_the_default_tick_is_ten_seconds(site: Site) -> None:  # V112
    assert Web().tick == 10.0
    assert Tab(site.client(), "t").open().hello()["tick"] == 2.0


def test_a_vanished_browser_is_out_of_the_tree(site: Site) -> None:  # V113
    before = site.tabs()
    raws = [site.raw() for _ in range(5)]
    for number, raw in enumerate(raws):
        raw.sendall(f"GET /events?instance=v{number}&topics=audience HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: Bearer {site.token('vanishing')}\r\n\r\n".encode())  # fmt: skip
    until(lambda: site.tabs() == before + 5)
    for raw in raws:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raw.close()
    until(lambda: site.tabs() == before, what="the tabs are gone")


def test_the_limit_of_jobs_is_not_one_of_streams(make_site: MakeSite) -> None:  # V110, V30
    site = make_site(settings={"consumers_max": 10}, max_streams=200)
    token = site.token("crowd")
    raws = [site.raw() for _ in range(200)]
    try:
        for number, raw in enumerate(raws):
            raw.sendall(f"GET /events?instance=c{number}&topics=audience HTTP/1.1\r\nHost: localhost\r\n"
                        f"Authorization: Bearer {token}\r\n\r\n".encode())  # fmt: skip
        until(lambda: site.tabs() == 200, 60, "200 tabs")
        refused = site.client("one more").get("/events", params={"instance": "t", "topics": "audience"})
        assert (refused.status_code, refused.json()["error"]) == (503, "full")
        assert "retry-after" in refused.headers
        until(lambda: site.daemon.client.ask("clients", dict[str, Any])["streams"] == {"open": 200, "max": 200})
        assert site.daemon.client.stats()["streams"] == {"open": 200, "max": 200}
        assert 'stoker_streams{kind="open"} 200' in site.daemon.client.ask("metrics", str)
        assert site.daemon.client.send_to_all("web", 0, "everybody", {"n": 1}).tabs == 200
        for raw in raws:
            raw.settimeout(20)
            data = b""
            while b'"event":"everybody"' not in data:
                more = raw.recv(65536)
                assert more, data
                data += more
    finally:
        for raw in raws:
            raw.close()
    until(lambda: site.tabs() == 0, 10)
    until(lambda: site.daemon.client.stats()["streams"] == {"open": 0, "max": 200})
    site.daemon.client.ask("restart")
    until(lambda: site.daemon.client.try_connect() and site.daemon.client.stats()["streams"]["max"] == 200)
