"""The settings of nginx that docs/proxies.md shows, in a real one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.nginx import Nginx
from tests.web.site import ANYWHERE, Site, Tab, submit

PAGE = Path(__file__).parents[2] / "docs/proxies.md"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """With a native listener, as the page has it."""
    shared = Site("story", native=ANYWHERE, origins="http://shop.example")
    try:
        yield shared.start()
    finally:
        shared.close()


def _documented(site: Site) -> str:
    """All blocks for nginx, with the addresses of this site."""
    blocks = re.findall(r"```nginx\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    native = re.findall(r"streams are served.*?:(\d+)'", site.daemon.log())[-1]
    text = "".join(blocks)
    assert text.count("127.0.0.1:8765") == 1
    assert text.count("127.0.0.1:8788") == 1
    return text.replace(":8765", f":{site.port}").replace(":8788", f":{native}")


def test_the_documented_nginx(site: Site) -> None:
    with Nginx(_documented(site)) as nginx:
        me = httpx.Client(
            base_url=f"{nginx.url}/stoker/", headers={"Authorization": f"Bearer {site.token()}"}, trust_env=False,
            verify=False, timeout=20,
        )  # fmt: skip
        with me:
            id = submit(site, "say_slowly", words=["a", "b"], gate="nginx")
            tab = Tab(me, "t", f"audience,job:{id}").open()
            tab.wait(lambda: tab.named("chunk") == ["a"])
            site.daemon.client.notify_now("u7", "through nginx")
            tab.wait(lambda: tab.named("notification"))
            site.daemon.open_gate("nginx")
            tab.wait(lambda: tab.of("end"))
            change = me.post(f"events/{tab.hello()['stream']}", json={"subscribe": [{"topic": "jobs"}]})
            assert change.json()["topics"] == ["audience", "jobs"]
            with me.stream("GET", f"jobs/{id}/stream") as response:
                assert [line for line in response.iter_lines() if line.startswith("event")][-1] == "event: end"
            assert me.post("call/story.echo", json={"value": 1}).json() == 1
            assert me.get("js/common.js").status_code == 200
            with me.stream("GET", "jobs") as response:
                assert response.status_code == 200
            tab.wait(lambda: tab.of(":"), what="a sign of life")
