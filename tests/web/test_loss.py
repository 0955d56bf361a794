"""Streams whose past is not kept long enough: they say so."""

from __future__ import annotations

import os
import signal

import httpx_sse

from stoker.wire.records import EventRecord
from tests.daemon import until
from tests.web.conftest import MakeSite
from tests.web.site import Site, Tab, submit

KEPT = 1.0


def _forget(site: Site, id: str) -> None:
    """A router that begins throws away what is too old."""

    def gone() -> bool:
        os.kill(site.daemon.router, signal.SIGKILL)
        until(lambda: site.daemon.client.try_connect(), what="the next router")
        return not site.daemon.client.ask("events", list[EventRecord], job=id)

    until(gone, 40, "what the job said is not kept any more")


def _ended(site: Site, id: str) -> None:
    until(lambda: site.client().get(f"/jobs/{id}").json()["status"] == "completed", what="the job's end")


def test_a_reader_who_was_away_for_too_long_is_told(make_site: MakeSite) -> None:
    site = make_site(settings={"keep_events": KEPT})
    id = submit(site, "say_slowly", words=["a", "b", "c"], gate="away")
    topic = f"job:{id}"
    tab = Tab(site.client(), "t", topic).open()
    tab.wait(lambda: tab.named("chunk") == ["a"])
    site.daemon.open_gate("away")
    tab.wait(lambda: tab.of("end"))
    cursor = tab.of("message")[0].id
    _forget(site, id)

    again = Tab(site.client(), "t", topic, last=cursor)
    again.wait(lambda: again.of("end"))
    assert [event.data for event in again.of("reset")] == [{"topic": topic, "reason": "gone"}]
    assert again.of("reset")[0].id == f"{topic}@0"
    assert again.named("chunk") == []
    assert again.of("end")[0].data == {"topic": topic, "status": "completed"}

    kinds = []
    while "end" not in kinds:
        polled = site.client().get("/poll", params={"instance": "p", "topics": topic, "after": cursor}).json()
        kinds += [event["type"] for event in polled["events"]]
        cursor = polled["cursor"]
    assert kinds == ["reset", "end"]

    # whoever knows nothing of topics is told once, and then that there is no more
    plain = {"Last-Event-ID": str(tab.messages[0]["offset"])}
    with site.client().stream("GET", f"/jobs/{id}/stream", headers=plain) as response:
        events = list(httpx_sse.EventSource(response).iter_sse())
    assert [(event.event, event.id) for event in events] == [("reset", "0"), ("end", "0")]
    assert site.client().get(f"/jobs/{id}/stream", headers={"Last-Event-ID": "0"}).status_code == 204


def test_a_bridge_that_was_away_for_too_long_tells_its_readers(make_site: MakeSite) -> None:
    site = make_site(settings={"keep_events": KEPT})
    id = submit(site, "say_slowly", words=["a", "b", "c"], gate="bridge")
    topic = f"job:{id}"
    tabs = [Tab(site.client(), f"t{n}", topic).open() for n in range(2)]
    for tab in tabs:
        tab.wait(lambda tab=tab: tab.named("chunk") == ["a"])  # type: ignore[misc]
    child = site.child
    os.kill(child, signal.SIGSTOP)
    try:
        os.kill(site.daemon.router, signal.SIGKILL)
        until(lambda: site.daemon.client.try_connect(), what="the next router")
        site.daemon.open_gate("bridge")
        until(lambda: site.daemon.client.ask("job", dict, job=id)["status"] == "completed", 30, "the job's end")
        _forget(site, id)
    finally:
        os.kill(child, signal.SIGCONT)
    for tab in tabs:
        tab.wait(lambda tab=tab: tab.of("end"))  # type: ignore[misc]
        assert [event.data for event in tab.of("reset")] == [{"topic": topic, "reason": "gone"}]
        assert tab.named("chunk") == ["a"]
    assert site.child == child


def test_what_is_kept_is_told_without_a_word_of_loss(make_site: MakeSite) -> None:
    site = make_site(settings={"keep_events": KEPT})
    id = submit(site, "say_slowly", words=["a", "b", "c"], gate="kept")
    topic = f"job:{id}"
    tab = Tab(site.client(), "t", topic).open()
    tab.wait(lambda: tab.named("chunk") == ["a"])
    for _ in range(2):
        # what a job has said is kept while it runs, however long that is, and by whatever router
        os.kill(site.daemon.router, signal.SIGKILL)
        until(lambda: site.daemon.client.try_connect(), what="the next router")
    site.daemon.open_gate("kept")
    tab.wait(lambda: tab.of("end"))
    assert tab.of("reset") == []
    again = Tab(site.client(), "t", topic, last=tab.of("message")[0].id)
    again.wait(lambda: again.of("end"))
    assert again.of("reset") == []
    assert again.messages == tab.messages[1:]
