"""A Chromium for all tests, and sites of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.site import Site
from tests.needs import need_tools

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOST = "--host-resolver-rules=MAP stoker.test 127.0.0.1"
"""A name that is not this machine's, for pages that are no secure context."""
Open = Callable[..., Site]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One for all tests here. Not for the session: while Playwright runs, no other test can run an event loop."""
    need_tools("chromium", hint="install Chromium, or run the other tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*FLAGS, HOST])
        yield browser
        browser.close()


@pytest.fixture
def open_site(chromium: Browser) -> Iterator[Open]:
    """Start a site of one's own; it is gone after the test."""
    made: list[Site] = []

    def start(**environ: str) -> Site:
        made.append(Site(chromium, **environ))
        return made[-1].start()

    yield start
    for site in made:
        site.close()


@pytest.fixture(scope="package")
def shared(chromium: Browser) -> Iterator[Site]:
    """A site for all tests that do it no harm."""
    site = Site(chromium).start()
    yield site
    site.close()


@pytest.fixture
def site(shared: Site) -> Site:
    """The shared site, with no browser at it."""
    shared.leave()
    return shared
