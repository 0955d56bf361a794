"""The elements for any page: what they show, to eyes and to screen readers, and that nothing in them is markup."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.site import Site, holds
from tests.daemon import until

ADD = """([tag, job]) => {
  const element = document.createElement(tag);
  element.addEventListener("end", () => (globalThis.ended = (globalThis.ended ?? 0) + 1));
  element.setAttribute("job", job);
  document.body.append(element);
}"""
HOSTILE = [
    '<img src=x onerror="globalThis.pwned = 1">',
    "</pre><script>globalThis.pwned = 1</script>",
    "<svg onload=globalThis.pwned=1>\u202e\x1b[31m&lt;b&gt;",
    "javascript:globalThis.pwned=1//' onmouseover='globalThis.pwned=1",
]


def add(page: Page, tag: str, job: str) -> None:
    page.evaluate(ADD, [f"stoker-{tag}", job])


def listen(page: Page) -> list[tuple[str, str]]:
    """What a tab's console is told from now on: kinds and texts."""
    lines: list[tuple[str, str]] = []
    page.on("console", lambda message: lines.append((message.type, message.text)))
    return lines


def ended(page: Page, count: int = 1) -> None:
    until(lambda: page.evaluate("globalThis.ended") == count, what="the elements have seen the end")


def test_progress(site: Site) -> None:
    page = site.tab(site.profile())
    job = site.submit("count", upto=10, gate="progress")
    add(page, "progress", job)
    site.daemon.wait_here("progress")
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "50", timeout=20_000)
    expect(bar).to_have_attribute("aria-label", "at 4")
    element = page.locator("stoker-progress")
    expect(element).to_have_attribute("status", "running")
    expect(element.locator("[part=percent]")).to_have_text("50 %")
    widths = "(e) => [e, e.querySelector('[part=bar]')].map((part) => part.getBoundingClientRect().width)"
    until(lambda: round((lambda w: w[1] / w[0])(bar.evaluate(widths)), 2) == 0.5, what="half a bar")
    site.daemon.open_gate("progress")
    ended(page)
    expect(bar).to_have_attribute("aria-valuenow", "100")
    expect(element).to_have_attribute("status", "completed")


def test_a_failure_and_a_job_that_is_not_ours(site: Site) -> None:
    page = site.tab(site.profile())
    add(page, "progress", site.submit("say", text="no such luck", fail=True))
    add(page, "progress", site.submit("say", text="secret", user="u8"))
    add(page, "stream", site.submit("say", text="secret", user="u8"))
    add(page, "progress", "no id at all!")
    ended(page, 4)
    first, second, third = page.locator("stoker-progress").all()
    expect(first).to_have_attribute("status", "failed")
    assert "no such luck" in first.locator("[part=message]").inner_text()
    for element in (second, third):
        expect(element).to_have_attribute("status", "unknown")
        assert element.locator("[part=message]").inner_text() == "there is no such job"
    assert "secret" not in page.evaluate("[...document.body.children].map((e) => e.shadowRoot.textContent).join()")


def test_stream_is_read_along_paused_and_taken_up_again(site: Site) -> None:
    page = site.tab(site.profile())
    job = site.submit("count", upto=2000, gate="stream")
    add(page, "stream", job)
    site.daemon.wait_here("stream")
    log = page.get_by_role("log")
    expect(log).to_have_attribute("aria-live", "polite")
    button = page.get_by_role("button", name="Follow")
    until(lambda: log.inner_text().endswith(" 999 "), what="the first half")
    bottom = "(e) => e.scrollHeight - e.scrollTop - e.clientHeight"
    assert log.evaluate("(e) => e.scrollHeight > e.clientHeight")
    until(lambda: log.evaluate(bottom) < 2, what="the newest line in view")
    expect(button).to_have_attribute("aria-pressed", "true")

    log.evaluate("(e) => (e.scrollTop = 0)")
    expect(button).to_have_attribute("aria-pressed", "false")
    site.daemon.open_gate("stream")
    ended(page)
    assert log.evaluate("(e) => e.scrollTop") == 0
    button.click()
    until(lambda: log.evaluate(bottom) < 2, what="the newest line in view again")
    assert page.locator("stoker-stream").evaluate("(e) => e.text") == "".join(f"{number} " for number in range(2000))
    assert page.locator("stoker-stream [part=state]").inner_text() == "completed"


def test_another_job_in_the_same_element(site: Site) -> None:
    page = site.tab(site.profile())
    add(page, "stream", site.submit("say", text="first"))
    ended(page)
    page.locator("stoker-stream").evaluate("(e, job) => e.setAttribute('job', job)", site.submit("say", text="second"))
    ended(page, 2)
    assert page.get_by_role("log").inner_text() == "second"


def test_pages_choose_the_look(site: Site) -> None:
    page = site.tab(site.profile())
    add(page, "progress", site.submit("say", text="x"))
    ended(page)
    page.evaluate(
        """() => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync("stoker-progress { --stoker-succeeded: rgb(1, 2, 3) } ::part(track) { height: 33px }");
          document.adoptedStyleSheets = [sheet];
        }"""
    )
    bar, track = (page.locator(f"stoker-progress [part={part}]") for part in ("bar", "track"))
    assert bar.evaluate("(e) => getComputedStyle(e).backgroundColor") == "rgb(1, 2, 3)"
    assert track.evaluate("(e) => getComputedStyle(e).height") == "33px"


def test_what_a_job_says_is_text(site: Site) -> None:
    page = site.tab(site.profile())
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    for text in HOSTILE:
        job = site.submit("say", text=text, fail=True)
        add(page, "progress", job)
        add(page, "stream", job)
        site.push(text, {text: text})
    ended(page, 2 * len(HOSTILE))
    until(lambda: page.evaluate("heard.length") == len(HOSTILE), what="the pushed events")
    assert page.evaluate("heard") == [[text, {text: text}] for text in HOSTILE]
    assert page.evaluate("[...document.querySelectorAll('stoker-stream')].map((e) => e.text)") == HOSTILE
    found: list[Any] = page.evaluate(
        """[...document.body.children]
          .flatMap((element) => [...element.shadowRoot.querySelectorAll("*")])
          .map((element) => element.localName)"""
    )
    assert set(found) == {"div", "span", "pre", "button"}
    assert page.evaluate("[globalThis.pwned, violations]") == [None, []]
    assert complaints == []


def test_the_console_tells_what_happens(site: Site) -> None:
    """V101, V115: at its debug level, also for the worker, which has a name and whose lines are seen in one tab."""
    context = site.profile()
    tabs = [site.blank(context) for _ in range(2)]
    lines = [listen(tab) for tab in tabs]
    for tab in tabs:
        tab.evaluate(
            """async () => {
              const { EventsClient } = await import("/js/EventsClient.js");
              globalThis.client = new EventsClient();
              await client.connect();
            }"""
        )
    tabs[1].evaluate("client.call('live.say', {text: 'x'})")
    holds(tabs[1], lambda _: any("POST jobs" in text for _, text in lines[1]), "what the tab asks")
    assert {kind for told in lines for kind, _ in told} == {"debug"}
    assert all(text.startswith("stoker: ") for told in lines for _, text in told)
    assert any(re.match(r"stoker: tab \w{4}: live", text) for _, text in lines[1])
    assert any("stoker: worker: connected" in text for _, text in lines[0])
    assert not any("worker:" in text for _, text in lines[1])

    session = site.browser.new_browser_cdp_session()
    targets = session.send("Target.getTargets")["targetInfos"]
    (worker,) = [target for target in targets if target["type"] == "shared_worker"]
    assert worker["url"].endswith("/js/SharedWorker.js")
    assert worker["title"].startswith("stoker ")
