"""Whatever breaks between a browser and the daemon, each tab ends with everything, once."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.site import FOLLOW, OPEN, Site, holds, said
from tests.daemon import until

PIECES, SIZE = 2500, 4096
WHOLE = """([pieces, size]) => {
  const whole = Array.from({ length: pieces }, (_, n) => String(n).padStart(8, "0").padEnd(size, ".")).join("");
  return said.text === whole && said.cursors.length === pieces && new Set(said.cursors).size === pieces;
}"""
"""Whether a tab has each piece once, in order, and nothing else."""
WAYS = ["", "?push=leader", "?push=tab"]


def state(page: Page) -> str:
    found: str = page.evaluate("client.state")
    return found


def heard(page: Page) -> list[Any]:
    """The names of the events that were pushed to a tab."""
    found: list[Any] = page.evaluate("heard.map(([event]) => event)")
    return found


def pieces(page: Page) -> int:
    """How many pieces of its job a tab has."""
    found: int = page.evaluate("said.cursors.length")
    return found


def kill_bridge(site: Site) -> None:
    (old,) = site.daemon.pids("web")
    os.kill(old, signal.SIGKILL)
    until(lambda: [pid for pid in site.daemon.pids("web") if pid != old], what="another bridge")


def test_the_bridge_is_killed_during_ten_megabytes(open_site: Open) -> None:
    site = open_site(STOKER_MAX_OUTPUT="20MB")
    tabs = [site.tab(site.profile(), way) for way in WAYS]
    job = site.submit("pour", pieces=PIECES, size=SIZE, gate="pour")
    for tab in tabs:
        tab.evaluate(FOLLOW, job)
    site.daemon.wait_here("pour")
    until(lambda: all(pieces(tab) > 0 for tab in tabs), what="the first pieces")
    kill_bridge(site)
    site.daemon.open_gate("pour")
    until(lambda: any(pieces(tab) > PIECES // 5 for tab in tabs), what="more pieces")
    kill_bridge(site)
    for tab in tabs:
        holds(tab, lambda tab: tab.evaluate("said.end"), "the end in each tab", 60)
        assert tab.evaluate(WHOLE, [PIECES, SIZE])


@pytest.mark.parametrize("way", WAYS)
def test_what_was_pushed_during_an_outage_comes_after_it(site: Site, way: str) -> None:
    tab = site.tab(site.profile(), way)
    site.push("before")
    until(lambda: heard(tab) == ["before"], what="the first event")
    site.proxy.cut(away=True)
    until(lambda: state(tab) == "offline", what="the tab notices")
    for number in range(3):
        site.push(f"during {number}")
    site.proxy.away = False
    tab.evaluate("dispatchEvent(new Event('online'))")
    until(lambda: state(tab) == "live", what="the tab is live again")
    site.push("after")
    until(lambda: "after" in heard(tab), what="the last event")
    assert heard(tab) == ["before", "during 0", "during 1", "during 2", "after"]


def test_a_job_that_has_ended_is_read_to_its_end_and_then_left_alone(site: Site) -> None:
    job = site.submit("count", upto=50)
    site.daemon.client.job(job).result()
    tab = site.tab(site.profile())
    opened = site.proxy.opened
    tab.evaluate(
        """(job) => {
          const stream = document.createElement("stoker-stream");
          stream.addEventListener("end", () => (globalThis.ended = true));
          stream.setAttribute("job", job);
          document.body.append(stream);
        }""",
        job,
    )
    until(lambda: tab.evaluate("globalThis.ended"), what="the end")
    assert tab.evaluate("document.querySelector('stoker-stream').text") == "".join(f"{number} " for number in range(50))
    asked = len(site.proxy.requests)
    site.push("later")
    until(lambda: heard(tab) == ["later"], what="the stream goes on for other topics")
    assert site.proxy.opened == opened
    assert len(site.proxy.requests) == asked


def test_what_is_not_kept_any_more_is_told(open_site: Open) -> None:
    """A tab that was away for longer than events are kept knows that it missed some."""
    site = open_site(STOKER_WEB_KEEP="1")
    tab = site.tab(site.profile())
    site.push("seen")
    until(lambda: heard(tab) == ["seen"], what="the first event")
    site.proxy.cut(away=True)
    until(lambda: state(tab) == "offline", what="the tab notices")
    for number in range(3):
        site.push(f"missed {number}")
    old_enough = time.monotonic() + 1.1
    until(lambda: time.monotonic() > old_enough, what="the events are older than they are kept")
    os.kill(site.daemon.router, signal.SIGKILL)  # a router that starts clears up

    def forgotten() -> bool:
        return site.daemon.client.try_connect() and bool(
            site.daemon.client.ask("messages", dict, after=1, limit=10)["reset"]
        )

    until(forgotten, what="they are forgotten")
    site.proxy.away = False
    tab.evaluate("dispatchEvent(new Event('online'))")
    until(lambda: "reset" in heard(tab), what="the page is told")
    site.push("after")
    until(lambda: heard(tab)[-1] == "after", what="events go on")
    assert heard(tab) == ["seen", "reset", "after"]


def test_a_job_whose_output_is_not_kept_any_more_is_told(open_site: Open) -> None:
    """Away for longer than what a job says is kept: a notice stands where it is missing, and how it ended is known."""
    site = open_site(STOKER_KEEP_EVENTS="1")
    job = site.submit("count", upto=10, gate="kept")
    tab = site.tab(site.profile())
    tab.evaluate(
        """(job) => {
          for (const tag of ["stoker-stream", "stoker-progress"]) {
            const element = document.createElement(tag);
            element.setAttribute("job", job);
            document.body.append(element);
          }
          globalThis.streamed = [];
          (async () => {
            for await (const piece of client.job(job).stream()) streamed.push(piece);
          })().catch((error) => (globalThis.broken = error.code));
        }""",
        job,
    )
    until(lambda: tab.evaluate("streamed.length") == 5, what="the first half")
    site.proxy.cut(away=True)
    until(lambda: state(tab) == "offline", what="the tab notices")
    site.daemon.open_gate("kept")

    def forgotten() -> bool:
        os.kill(site.daemon.router, signal.SIGKILL)  # a router that starts clears up
        until(lambda: site.daemon.client.try_connect(), what="the next router")
        return not site.daemon.client.ask("events", list, job=job)

    until(lambda: site.daemon.client.ask("job", dict, job=job)["status"] == "completed", what="the job's end")
    until(forgotten, 40, what="what it said is forgotten")
    site.proxy.away = False
    tab.evaluate("dispatchEvent(new Event('online'))")
    expect(tab.locator("stoker-stream [part=notice]")).to_have_text("Earlier output is not kept any more.")
    expect(tab.locator("stoker-stream")).to_have_attribute("status", "completed")
    expect(tab.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    assert tab.evaluate("globalThis.broken") == "gone"


def test_taking_turns_is_not_seen(open_site: Open) -> None:
    """The server asks each stream to come again from time to time; a page has all events, and is live all the time."""
    site = open_site(STOKER_WEB_LIFE="1", STOKER_WEB_TICK="0.2")
    tab = site.tab(site.profile())
    tab.evaluate(
        """() => {
          globalThis.states = [client.state];
          client.addEventListener("state", ({ detail }) => states.push(detail.state));
        }"""
    )
    job = site.submit("count", upto=200, pause=0.015)
    tab.evaluate(FOLLOW, job)
    holds(tab, lambda tab: said(tab)["end"], "the end")
    streams = [request for request in site.proxy.requests if request.startswith("GET /events?")]
    assert len(streams) >= 3, "one after the other"
    heard_all = said(tab)
    assert heard_all["text"] == "".join(f"{number} " for number in range(200))
    assert (heard_all["end"]["status"], heard_all["resets"]) == ("completed", 0)
    site.push("still")
    until(lambda: heard(tab) == ["still"], what="what is pushed")
    assert tab.evaluate("states") == ["live"]


def test_a_proxy_that_buffers_is_found_out(open_site: Open) -> None:
    """Within five seconds the client polls; when the proxy is better, it streams again."""
    site = open_site()
    site.proxy.buffering = True
    tab = site.blank(site.profile(), "?push=tab")
    tab.clock.install()
    began = tab.evaluate("performance.now()")
    tab.clock.resume()
    tab.evaluate(OPEN)
    assert state(tab) == "polling"
    assert tab.evaluate("performance.now()") - began < 5_000
    site.push("polled")
    until(lambda: heard(tab) == ["polled"], what="the event by a poll")
    job = site.submit("count", upto=30)
    tab.evaluate(FOLLOW, job)
    until(lambda: said(tab)["end"], what="the end of a job")
    assert said(tab)["text"] == "".join(f"{number} " for number in range(30))
    site.proxy.buffering = False
    tab.clock.fast_forward(61_000)
    site.push("a poll ends")
    until(lambda: state(tab) == "live", what="a stream again")
    site.push("streamed")
    until(lambda: "streamed" in heard(tab), what="the event by the stream")
    assert heard(tab) == ["polled", "a poll ends", "streamed"]


def test_a_silent_line_is_dead(site: Site) -> None:
    """No sign of life for some ticks: the line is made anew, whatever TCP says."""
    tab = site.tab(site.profile())
    opened = site.proxy.opened
    site.proxy.buffering = True
    site.push("lost on the way")
    until(lambda: state(tab) != "live", what="the tab notices")
    site.proxy.buffering = False
    until(lambda: heard(tab) == ["lost on the way"], what="the event")
    assert site.proxy.opened > opened


def test_a_hidden_leader_hands_over(site: Site) -> None:
    context = site.profile(without="SharedWorker")
    leader = site.blank(context)
    leader.clock.install()
    leader.clock.resume()
    leader.evaluate(OPEN)
    other = site.tab(context)
    lines: list[str] = []
    other.on("console", lambda message: lines.append(message.text))
    leader.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    leader.clock.fast_forward(31_000)
    holds(other, lambda _: any("leading" in line for line in lines), "the visible tab leads")
    until(lambda: state(leader) == state(other) == "live", what="both are live")
    site.push("x")
    for tab in (leader, other):
        holds(tab, lambda tab: heard(tab) == ["x"], "the event in both")
    assert site.proxy.streams == 1


@pytest.mark.parametrize("without", ["", "SharedWorker"])
def test_on_plain_http(site: Site, without: str) -> None:
    """No secure context: no locks, no randomUUID; everything else is as it is elsewhere."""
    url = f"http://stoker.test:{site.proxy.port}"
    context = site.profile(url=url, without=without)
    tabs = [site.tab(context, url=url) for _ in range(3)]
    assert tabs[0].evaluate("[isSecureContext, typeof navigator.locks]") == [False, "undefined"]
    assert site.proxy.streams == 1
    job = tabs[1].evaluate("client.submit('live.count', {upto: 20}).then((job) => job.id)")
    assert re.fullmatch("[0-9a-f]{12}7[0-9a-f]{19}", job)
    for tab in tabs:
        tab.evaluate(FOLLOW, job)
    for tab in tabs:
        holds(tab, lambda tab: said(tab)["end"], "the end")
    tabs[0].close()
    site.push("x")
    for tab in tabs[1:]:
        holds(tab, lambda tab: heard(tab) == ["x"], "the event in those that are left")


def test_a_tab_without_a_lock_says_that_it_lives(open_site: Open) -> None:
    """Minutes later it still gets events."""
    site = open_site()
    url = f"http://stoker.test:{site.proxy.port}"
    tabs = [site.blank(site.profile(url=url, without="SharedWorker"), way, url=url) for way in ("", "?push=tab")]
    for tab in tabs:
        tab.clock.install()
        tab.clock.resume()
        tab.evaluate(OPEN)
        tab.clock.run_for(200_000)
        tab.clock.resume()
    site.push("x")
    for tab in tabs:
        holds(tab, lambda tab: heard(tab) == ["x"], "the event")
