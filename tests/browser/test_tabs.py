"""One connection for all tabs of a browser, whichever way they share it, and nothing lost when one of them dies."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.site import FOLLOW, Site, crash, holds, said
from tests.daemon import until

MANY = 12
COUNT = 400


def events(page: Page, name: str) -> list[Any]:
    """The data of what was pushed to a tab under one name."""
    found: list[Any] = page.evaluate(
        "(name) => heard.filter(([event]) => event === name).map(([, data]) => data)", name
    )
    return found


def test_twelve_tabs_are_one_connection(site: Site) -> None:
    """V108. A tab that crashes or is closed leaves the others live; with the last one the connection goes."""
    context = site.profile()
    tabs = [site.tab(context) for _ in range(MANY)]
    assert site.proxy.streams == 1
    assert site.figures["web"] == 1
    until(lambda: site.figures["tabs"] == MANY + 1, what="all tabs, and the worker, in the router's tree")

    site.push("first", {"a": [1, "ü\n<b>"]})
    for tab in tabs:
        holds(tab, lambda tab: events(tab, "first") == [{"a": [1, "ü\n<b>"]}], "the event in each tab")

    crash(tabs.pop(0))
    tabs.pop().close()
    crash(tabs.pop(len(tabs) // 2))
    until(lambda: site.figures["tabs"] == MANY - 3 + 1, what="those that died are gone")
    site.push("second", "still here")
    for tab in tabs:
        holds(tab, lambda tab: events(tab, "second") == ["still here"], "the event in the others")
        assert len(events(tab, "first")) == 1
    assert site.proxy.streams == 1

    for tab in tabs:
        tab.close()
    until(lambda: site.proxy.streams == 0, what="no connection without tabs")
    until(lambda: site.figures["tabs"] == 0, what="no tab in the tree")


def test_the_seventh_event_source_stalls(site: Site) -> None:
    """V107: why tabs share a connection. A browser opens six to one host, and not a seventh."""
    context = site.profile()
    tabs = [site.blank(context) for _ in range(8)]
    job = site.submit("count", upto=2, gate="stall")
    site.daemon.wait_here("stall")
    for tab in tabs[:7]:
        tab.evaluate(
            """(job) => {
              globalThis.source = new EventSource(`/jobs/${job}/stream`);
              globalThis.opened = false;
              source.onopen = () => (globalThis.opened = true);
            }""",
            job,
        )
    for tab in tabs[:6]:
        holds(tab, lambda tab: tab.evaluate("opened"), "six are open")
    assert (
        tabs[7].evaluate("fetch('/commands', {signal: AbortSignal.timeout(1500)}).then(() => 'came', (e) => e.name)")
        == "TimeoutError"
    )
    assert tabs[6].evaluate("opened") is False
    tabs[0].evaluate("source.close()")
    until(lambda: tabs[6].evaluate("opened"), what="the seventh opens when one has gone")
    site.daemon.open_gate("stall")


@pytest.mark.parametrize("push", ["worker", "leader"])
def test_a_tab_that_holds_the_line_crashes(site: Site, push: str) -> None:
    """Another takes over; every tab has each piece once."""
    context = site.profile(without="" if push == "worker" else "SharedWorker")
    tabs = [site.tab(context) for _ in range(4)]
    gate = f"crash-{push}"
    job = site.submit("count", upto=COUNT, pause=0.002, gate=gate)
    for tab in tabs:
        tab.evaluate(FOLLOW, job)
    site.daemon.wait_here(gate)
    until(lambda: all(len(said(tab)["cursors"]) >= COUNT // 2 for tab in tabs), what="the first half everywhere")
    site.daemon.open_gate(gate)
    until(lambda: len(said(tabs[-1])["cursors"]) > COUNT // 2, what="more is coming")
    crash(tabs.pop(0))
    whole = "".join(f"{number} " for number in range(COUNT))
    for tab in tabs:
        holds(tab, lambda tab: said(tab)["end"], "the end in each tab")
        assert said(tab)["text"] == whole
        assert len(set(said(tab)["cursors"])) == COUNT
    assert site.proxy.streams == 1


@pytest.mark.parametrize("without", ["", "SharedWorker"])
def test_nothing_pushed_meanwhile_is_missed(site: Site, without: str) -> None:
    """What comes between the end of one line and the beginning of the next is told by the next."""
    context = site.profile(without=without)
    tabs = [site.tab(context) for _ in range(3)]
    for number in range(20):
        site.push("x", number)
        if number == 10:
            crash(tabs.pop(0))
    for tab in tabs:
        holds(tab, lambda tab: len(events(tab, "x")) == 20, "all events in the others")
        assert events(tab, "x") == list(range(20))
    assert site.proxy.streams == 1


def test_without_anything_to_share_each_tab_has_its_own(site: Site) -> None:
    """V109."""
    context = site.profile(without="SharedWorker BroadcastChannel")
    tabs = [site.tab(context) for _ in range(3)]
    assert site.proxy.streams == 3
    assert site.figures["tabs"] == 3
    site.push("hello", 5)
    for tab in tabs:
        holds(tab, lambda tab: events(tab, "hello") == [5], "the event in each tab")


def test_events_reach_the_right_tabs(site: Site) -> None:
    """V74, V75, V77, V78 seen from the tabs, although all of a browser share a line."""
    here, there, other = site.profile("u7/home"), site.profile("u7/work"), site.profile("u8")
    tabs = {"a": site.tab(here), "b": site.tab(here), "c": site.tab(there), "d": site.tab(other)}
    until(lambda: site.figures["tabs"] == 4 + 3, what="all tabs in the tree")
    one = tabs["a"].evaluate("client.instance")
    site.push("x", "tab", session="home", instance=one)
    site.push("x", "session", session="home")
    site.push("x", "user")
    site.push("x", "all", user="0")
    expected = {
        "a": ["tab", "session", "user", "all"],
        "b": ["session", "user", "all"],
        "c": ["user", "all"],
        "d": ["all"],
    }
    for name, tab in tabs.items():
        holds(tab, lambda tab: "all" in events(tab, "x"), "the last event")
        assert events(tab, "x") == expected[name], name


def test_a_late_tab_reads_from_the_start_while_another_is_ahead(site: Site) -> None:
    context = site.profile()
    early, late = site.tab(context), site.tab(context)
    job = site.submit("count", upto=COUNT, pause=0.001, gate="late")
    early.evaluate(FOLLOW, job)
    site.daemon.wait_here("late")
    until(lambda: len(said(early)["cursors"]) == COUNT // 2, what="the first half")
    site.daemon.open_gate("late")
    late.evaluate(FOLLOW, job)
    whole = "".join(f"{number} " for number in range(COUNT))
    for tab in (early, late):
        holds(tab, lambda tab: said(tab)["end"], "the end")
        assert said(tab)["text"] == whole
    assert site.proxy.streams == 1
