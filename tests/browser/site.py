"""A daemon with its bridge behind a proxy, and browsers that look at it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, TimeoutError

from tests.browser.proxy import Proxy
from tests.daemon import Daemon, until

CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'"
"""What a careful page allows; the modules need no more."""
PAGE = "<!doctype html><html lang=en><meta charset=utf-8><title>a page</title><body></body></html>"
VIOLATIONS = """
globalThis.violations = [];
globalThis.addEventListener?.("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""
OPEN = """async () => {
  const { EventsClient } = await import("/js/EventsClient.js");
  await import("/js/elements.js");
  globalThis.client = EventsClient.shared();
  globalThis.heard = [];
  client.on("*", (data, event) => heard.push([event.event, data]));
  await client.connect();
}"""
FOLLOW = """(job) => {
  globalThis.said = { text: "", cursors: [], end: null, resets: 0, times: [] };
  client.subscribe(job, (event) => {
    if (event.event === "end") said.end = event.data;
    if (event.event === "reset") said.resets += 1;
    if (event.event !== "chunk") return;
    said.text += event.data;
    said.cursors.push(event.cursor);
    said.times.push(performance.now());
  });
}"""


class Site:
    """One daemon; ``environ`` says more about it, as variables of the environment."""

    def __init__(self, browser: Browser, **environ: str) -> None:
        self.browser = browser
        given = {
            "STOKER_WEB_LISTEN": "http://127.0.0.1:0", "STOKER_WEB_AUTH": "live:who", "STOKER_WEB_TICK": "1",
            "STOKER_WEB_ORIGINS": "http://stoker.test",
        }  # fmt: skip
        self.daemon = Daemon("live:live", consumers_max=3, environ={**given, **environ})
        self._contexts: list[BrowserContext] = []
        self._proxy: Proxy | None = None

    def start(self) -> Site:
        self.daemon.start()
        ports = until(lambda: re.findall(r"http://127\.0\.0\.1:(\d+)", self.daemon.log()), what="the bridge's address")
        self._proxy = Proxy(int(ports[0]), PAGE, CSP)
        return self

    @property
    def proxy(self) -> Proxy:
        assert self._proxy is not None
        return self._proxy

    def leave(self) -> None:
        """Close all browsers, and wait until the router has seen that."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        until(lambda: self.figures["tabs"] == 0, what="no tab is left")

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        if self._proxy is not None:
            self._proxy.close()
        self.daemon.close()

    def profile(self, who: str = "u7", url: str = "", without: str = "") -> BrowserContext:
        """A browser of its own for one user (``user`` or ``user/session``), that lacks some globals."""
        context = self.browser.new_context()
        self._contexts.append(context)
        if who:
            context.add_cookies([{"name": "who", "value": who, "url": url or self.proxy.url}])
        context.add_init_script(VIOLATIONS)
        for name in without.split():
            context.add_init_script(f"delete globalThis.{name}")
        return context

    def tab(self, context: BrowserContext, query: str = "", url: str = "") -> Page:
        """One more tab with a page that uses the modules, and is live."""
        page = self.blank(context, query, url)
        page.evaluate(OPEN)
        return page

    def blank(self, context: BrowserContext, query: str = "", url: str = "") -> Page:
        """One more tab with an empty page."""
        page = context.new_page()
        page.goto(f"{url or self.proxy.url}/page{query}")
        return page

    @property
    def figures(self) -> dict[str, Any]:
        """Who is connected, as the router sees it."""
        found: dict[str, Any] = self.daemon.client.ask("clients", dict)
        return found

    def push(self, event: str, data: Any = None, user: str = "u7", **to: Any) -> None:
        self.daemon.client.ask("send_to_all", dict, user=user, event=event, data=data, **to)

    def submit(self, command: str, user: str = "u7", **input: Any) -> str:
        return self.daemon.client.submit(f"live.{command}", input, user=user).id


def holds(page: Page, condition: Callable[[Page], object], what: str, seconds: float = 20.0) -> None:
    """Wait until something is true of a tab, and hear what it says meanwhile: Playwright tells that only when asked."""
    until(lambda: page.evaluate("true") and condition(page), seconds, what)


def said(page: Page) -> dict[str, Any]:
    """What a tab has heard of the job that it follows."""
    found: dict[str, Any] = page.evaluate("globalThis.said")
    return found


def crash(page: Page) -> None:
    """Let a tab's process die."""
    session = page.context.new_cdp_session(page)
    with contextlib.suppress(TimeoutError):  # nobody is left to answer
        session.send("Page.crash", timeout=100)
