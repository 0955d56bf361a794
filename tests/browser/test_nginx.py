"""A real proxy that buffers, between a browser and the bridge: acceptance 7 of live-and-dashboard."""

from __future__ import annotations

import time

from tests.browser.conftest import Open
from tests.browser.site import FOLLOW, OPEN, holds, said
from tests.daemon import until
from tests.nginx import Nginx

BUFFERS = """
location / {{
    proxy_pass http://127.0.0.1:{port};
    proxy_set_header Host $http_host;
    proxy_buffering on;
    proxy_ignore_headers X-Accel-Buffering;
}}
"""


def test_nginx_that_buffers_is_found_out(open_site: Open) -> None:
    site = open_site()
    with Nginx(BUFFERS.format(port=site.proxy.port)) as nginx:
        tab = site.blank(site.profile(url=nginx.url), url=nginx.url)
        began = time.monotonic()
        tab.evaluate(OPEN)
        took = time.monotonic() - began
        print(f"polling after {took:.1f} s")
        assert tab.evaluate("client.state") == "polling"
        assert took < 5.0
        site.push("polled")
        until(lambda: tab.evaluate("heard.map(([name]) => name)") == ["polled"], what="the event by a poll")
        job = site.submit("count", upto=30)
        tab.evaluate(FOLLOW, job)
        holds(tab, lambda tab: said(tab)["end"], "the end of a job")
        assert said(tab)["text"] == "".join(f"{number} " for number in range(30))
        site.leave()
