"""What a page asks for through the client, who it is let in as, and messages from tab to tab."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page

from tests.browser.conftest import Open
from tests.browser.site import OPEN, Site, holds
from tests.daemon import until


def ask(page: Page, expression: str, *arguments: Any) -> Any:
    """The value of an expression, or ``[name, code, status]`` of what it throws."""
    return page.evaluate(
        f"""async (args) => {{
          try {{ return await ({expression}); }}
          catch (error) {{ return [error.name, error.code ?? error.record?.status, error.status ?? error.message]; }}
        }}""",
        arguments,
    )


def test_jobs_from_a_page(site: Site) -> None:
    page = site.tab(site.profile())
    assert ask(page, "client.call('live.say', {text: 'ü'})") == "ü"
    assert ask(page, "client.call('live.say', {text: 'bad', fail: true})") == ["JobFailed", "failed", "ValueError: bad"]
    assert ask(page, "client.submit('live.nothing')")[:2] == ["StokerError", "unknown_command"]
    assert ask(page, "client.submit('live.say', {text: 5})") == ["StokerError", "invalid_input", 422]
    assert ask(page, "client.job('0'.repeat(32)).record()")[1:] == ["unknown_job", 404]

    words = """(async () => {
      const job = await client.submit("live.count", {upto: 5}, {tags: ["t"]});
      const words = [];
      for await (const word of job.stream()) words.push(word);
      return [words, await job.result(), (await job.record()).user, (await client.jobs({tag: "t"})).length];
    })()"""
    assert ask(page, words) == [["0 ", "1 ", "2 ", "3 ", "4 "], 5, "u7", 1]


def test_cancel_and_retry(site: Site) -> None:
    page = site.tab(site.profile())
    job = ask(page, "client.submit('live.count', {upto: 2, gate: 'stop'}).then((job) => job.id)")
    site.daemon.wait_here("stop")
    page.evaluate(
        "(job) => void (globalThis.over = client.job(job).result().catch((error) => error.record.status))", job
    )
    ask(page, "client.cancel(args[0], 'enough')", job)
    assert ask(page, "over") == "cancelled"
    site.daemon.open_gate("stop")
    assert ask(page, "client.job(args[0]).retry().then((job) => job.status)", job) in ("new", "running")
    assert ask(page, "client.job(args[0]).result()", job) == 2


def test_a_submission_survives_a_broken_line(site: Site) -> None:
    """Sent again under the same id: one job, however often."""
    page = site.tab(site.profile())
    site.proxy.cut(away=True)
    page.evaluate("() => { globalThis.sent = client.submit('live.say', {text: 'x'}, {tags: ['once']}); }")
    asked = len(site.proxy.requests)
    site.proxy.away = False
    assert ask(page, "sent.then((job) => job.result())") == "x"
    assert len(site.proxy.requests) > asked
    assert ask(page, "client.jobs({tag: 'once'}).then((jobs) => jobs.length)") == 1


def test_one_mistake_of_a_page_harms_nothing_else(site: Site) -> None:
    page = site.tab(site.profile())
    page.evaluate("() => { client.on('x', () => { throw new Error('a mistake of the page'); }); }")
    page.evaluate("() => { globalThis.later = []; client.on('x', (data) => later.push(data)); }")
    site.push("x", 1)
    site.push("x", 2)
    until(lambda: page.evaluate("later") == [1, 2], what="the other handler has both")


def test_what_can_be_no_job_costs_nobody_anything(site: Site) -> None:
    """Nor does one topic more than a stream carries."""
    page = site.tab(site.profile())
    for text in ("", "no such thing!", "a,b", "x@5", "0" * 65):
        assert ask(page, "client.subscribe(args[0], () => {})", text)[0] == "RangeError"
    job = site.submit("say", text="x")
    written = f"command:{job[:8]}-{job[8:12]}-{job[12:16]}-{job[16:20]}-{job[20:]}"
    heard = "new Promise((over) => client.subscribe(args[0], ({ event }) => event === 'end' && over(event)))"
    assert ask(page, heard, written) == "end"

    gate = site.submit("count", upto=2, gate="crowd")
    page.evaluate("(id) => { globalThis.crowd = []; client.subscribe(id, (event) => crowd.push(event.event)); }", gate)
    site.daemon.wait_here("crowd")
    too_many = "() => { for (let n = 0; n < 600; n++) client.subscribe(`none-${n}`, () => (globalThis.over = n)); }"
    page.evaluate(too_many)
    until(lambda: page.evaluate("globalThis.over") is not None, what="an answer for those that are not there")
    site.daemon.open_gate("crowd")
    until(lambda: "end" in page.evaluate("crowd"), what="the end of the job that is there")
    assert page.evaluate("client.state") == "live"


def test_nobody_and_somebody_else(site: Site) -> None:
    """Without credentials nothing is told, and the page is not left waiting; with others, nothing of ours."""
    stranger = site.blank(site.profile(""))
    opening = """async () => {
      const { EventsClient } = await import("/js/EventsClient.js");
      globalThis.client = new EventsClient();
      return client.connect().then(() => "in", (error) => error.status);
    }"""
    assert stranger.evaluate(opening) == 401
    assert site.figures["tabs"] == 0

    other = site.tab(site.profile("u8"))
    job = site.submit("say", text="secret", user="u7")
    told = """(async () => {
      const told = [];
      for (const after of [0, 1]) {
        await new Promise((resolve) => client.subscribe(args[0], (event) => {
          told.push([event.event, event.data.reason]);
          resolve();
        }, {after}));
      }
      return told;
    })()"""
    assert ask(other, told, job) == [["end", "unknown_job"], ["end", "unknown_job"]]
    assert ask(other, "client.job(args[0]).record()", job)[2] == 404


def test_signing_in_makes_a_waiting_page_live(site: Site) -> None:
    """It never gives up; and it need not be loaded again."""
    context = site.profile("")
    page = site.blank(context)
    page.evaluate(
        """async () => {
          const { EventsClient } = await import("/js/EventsClient.js");
          globalThis.client = new EventsClient();
        }"""
    )
    until(lambda: page.evaluate("client.state") == "unauthorized", what="refused")
    context.add_cookies([{"name": "who", "value": "u7", "url": site.proxy.url}])
    page.evaluate("() => { dispatchEvent(new Event('online')); }")
    until(lambda: page.evaluate("client.state") == "live", what="let in")


def test_hanging_up_and_coming_back(site: Site) -> None:
    """Closed is closed, whatever happens to the page; and what was pushed meanwhile comes afterwards."""
    page = site.tab(site.profile())
    page.evaluate("client.close()")
    until(lambda: site.figures["tabs"] == 0, what="nobody in the tree")
    page.evaluate("() => { for (const name of ['online', 'pageshow']) dispatchEvent(new Event(name)); }")
    page.evaluate("() => { document.dispatchEvent(new Event('visibilitychange')); }")
    site.push("x", "meanwhile")
    assert page.evaluate("[client.state, heard.length]") == ["closed", 0]
    page.evaluate("client.connect()")
    site.push("x", "again")
    until(lambda: page.evaluate("heard.length") == 2, what="both events")
    assert page.evaluate("heard.map(([, data]) => data)") == ["meanwhile", "again"]
    assert site.figures["tabs"] == 2


def test_signing_out_ends_it_in_all_tabs(site: Site) -> None:
    context = site.profile("u7/evening")
    tabs = [site.tab(context) for _ in range(3)]
    assert site.proxy.streams == 1
    tabs[1].evaluate("client.logout()")
    for tab in tabs:
        holds(tab, lambda tab: tab.evaluate("client.state") == "closed", "closed")
    until(lambda: site.proxy.streams == 0, 5, "no stream is left")
    until(lambda: site.figures["tabs"] == 0, what="no tab in the tree")


def test_a_session_that_is_taken_back_is_cut(site: Site) -> None:
    """By somebody else: in another browser."""
    tab = site.tab(site.profile("u7/phone"))
    elsewhere = site.blank(site.profile("u7/phone"))
    status = """fetch("/auth/logout", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" })
      .then((answer) => answer.status)"""
    tab.evaluate("() => { globalThis.states = []; client.addEventListener('state', e => states.push(e.detail.state)) }")
    assert elsewhere.evaluate(status) == 204
    # the application knows its cookie again, so it may be back before anybody has looked
    until(lambda: "offline" in tab.evaluate("states"), what="cut")


def test_a_credential_is_renewed_before_it_ends(open_site: Open) -> None:
    """The stream outlives several of them, and no event is lost."""
    site = open_site(STOKER_WEB_AUTH="", STOKER_WEB_TOKEN_LIFE="2", USER="tester", LOGNAME="tester")
    found = re.search(r"/login\?ticket=\S+", site.daemon.log())
    assert found is not None
    context = site.profile("")
    page = context.new_page()
    page.goto(f"{site.proxy.url}{found[0]}")
    page.goto(f"{site.proxy.url}/page")
    page.evaluate(OPEN)
    until(lambda: site.proxy.requests.count("POST /auth/token") >= 2, what="two renewals")
    site.push("x", user="0")
    until(lambda: page.evaluate("heard.length") == 1, what="the event")
    assert site.proxy.opened == 1


def test_a_token_instead_of_a_cookie(site: Site) -> None:
    """Tabs share a line only when they say whose it is."""
    asking = """fetch("/auth/token", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" })
      .then((answer) => answer.json()).then(({ token }) => token)"""
    token = site.blank(site.profile("u7")).evaluate(asking)
    opening = """async (options) => {
      const { EventsClient } = await import("/js/EventsClient.js");
      globalThis.client = new EventsClient(options);
      await client.connect();
    }"""
    context = site.profile("")
    for options, streams in (({"token": token, "user": "u7"}, 1), ({"token": token}, 2)):
        tabs = [site.blank(context) for _ in range(2)]
        for tab in tabs:
            tab.evaluate(opening, options)
        assert site.proxy.streams == streams
        assert ask(tabs[1], "client.submit('live.say', {text: 'x'}).then((job) => job.record())")["user"] == "u7"
        for tab in tabs:
            tab.close()
        until(lambda: site.proxy.streams == 0, what="no stream is left")


def test_tabs_talk_to_each_other(site: Site) -> None:
    """V80."""
    context = site.profile()
    tabs = [site.blank(context) for _ in range(3)]
    other = site.blank(site.profile())
    for tab in (*tabs, other):
        tab.evaluate(
            """async () => {
              const { TabClient } = await import("/js/TabClient.js");
              globalThis.tabs = new TabClient();
              globalThis.told = [];
              tabs.on("cart", (items, { from }) => told.push([items, from]));
            }"""
        )
    me, you, _ = (tab.evaluate("tabs.instance") for tab in tabs)
    tabs[0].evaluate("tabs.send('cart', {items: ['pear', 1]})")
    tabs[0].evaluate("(to) => tabs.send('cart', 'for you', {to})", you)
    told = [[{"items": ["pear", 1]}, me], ["for you", me]]
    until(lambda: tabs[1].evaluate("told") == told, what="both in the one")
    until(lambda: tabs[2].evaluate("told") == told[:1], what="the first in the other")
    assert tabs[0].evaluate("told") == other.evaluate("told") == []
