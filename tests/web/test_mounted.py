"""The bridge within applications of one's own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.daemon import Daemon, until
from tests.web.site import Site, Tab

ROOT = Path(__file__).parents[2]
Serve = Callable[[str], httpx.Client]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("story") as started:
        yield started


class Served:
    """An application under uvicorn, as one would run it."""

    def __init__(self, daemon: Daemon, target: str) -> None:
        self._log = daemon.folder / f"{target.rpartition(':')[0]}.log"
        self._listener = socket.create_server(("127.0.0.1", 0))
        environ = {**daemon.environ, "SHOP_ROOT": str(daemon.folder), "PYTHONPATH": str(ROOT)}
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", target, "--fd", str(self._listener.fileno())],
                cwd=daemon.folder, env=environ, stderr=log, stdout=log, pass_fds=[self._listener.fileno()],
            )  # fmt: skip
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._listener.close()

    def log(self) -> str:
        return self._log.read_text()

    def browser(self, path: str = "", **cookies: str) -> httpx.Client:
        return httpx.Client(base_url=self.base + path, cookies=cookies, trust_env=False, verify=False, timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)


@pytest.fixture
def serve(daemon: Daemon) -> Iterator[Callable[[str], Served]]:
    made: list[Served] = []

    def start(target: str) -> Served:
        made.append(Served(daemon, target))
        until(lambda: re.search("Application startup complete|running on", made[-1].log()), what="the application")
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_in_fastapi(daemon: Daemon, serve: Callable[[str], Served]) -> None:
    served = serve("tests.web.apps.shop_fastapi:app")
    page = {"Origin": served.base}
    with served.browser("/stoker", login="ann") as ann, served.browser("/stoker") as nobody, served.browser() as plain:
        assert plain.get("/hello").json() == "hello"
        assert nobody.get("/jobs").status_code == 401
        assert ann.post("/call/story.whoami", json={}, headers=page).json()["user"] == "ann"
        assert ann.post("/call/story.whoami", json={}, headers={"Origin": "http://evil.example"}).status_code == 403
        tab = Tab(ann, "t").open()
        daemon.client.notify_now("ann", "hello")
        tab.wait(lambda: tab.named("notification"))
        assert ann.get("/js/common.js").headers["content-type"].startswith("text/javascript")
        assert ann.get("/openapi.json").json()["servers"] == [{"url": "/stoker"}]
        # a server with open streams can be stopped
        os.kill(served.process.pid, signal.SIGTERM)
        tab.wait(tab.closed.is_set)
        assert tab.of("bye")[0].data["reason"] == "restart"
        assert served.process.wait(20) in (0, -signal.SIGTERM)


def test_the_first_thing_a_page_asks_for_may_be_a_stream(daemon: Daemon, serve: Callable[[str], Served]) -> None:
    """An `EventSource` gives up for good on any other answer than 200; the bridge connects with its first request."""
    id = daemon.client.submit("story.say", {"words": ["a"]}, user="ann").id
    with (
        serve("tests.web.apps.shop_fastapi:app").browser("/stoker", login="ann") as ann,
        ann.stream("GET", f"/jobs/{id}/stream") as response,
    ):
        assert response.status_code == 200
        assert next(line for line in response.iter_lines() if line.startswith("data")) == 'data: "a"'


def test_beside_django(daemon: Daemon, serve: Callable[[str], Served]) -> None:
    served = serve("tests.web.apps.shop_django:app")
    page = {"Origin": served.base}
    with served.browser() as bea:
        assert bea.get("/live/jobs").status_code == 401
        assert bea.get("/login?user=bea").text == "welcome"
        stored = bea.post("/live/jobs", json={"command": "story.say", "input": {"words": ["a", "b"]}}, headers=page)
        assert stored.status_code == 201
        id = stored.json()["id"]
        with bea.stream("GET", f"/live/jobs/{id}/stream") as response:
            assert [line for line in response.iter_lines() if line.startswith("data")][:2] == ['data: "a"', 'data: "b"']
        assert bea.get(f"/live/jobs/{id}").json()["user"] == "bea"


FLASK = """
from flask import Flask, session
from starlette.requests import HTTPConnection

from stoker.web import Identity

app = Flask(__name__)
app.secret_key = "k" * 50


@app.get("/login/<user>")
def login(user: str) -> str:
    session["user"] = user
    return "welcome"


def who(request: HTTPConnection) -> Identity | None:
    signer = app.session_interface.get_signing_serializer(app)
    try:
        return Identity(signer.loads(request.cookies.get("session", ""))["user"])
    except Exception:
        return None
"""


def test_beside_flask_the_child_reads_its_sessions(tmp_path: Path) -> None:
    site = Site("story", auth="shop:who", origins="http://shop.example")
    try:
        site.daemon.file("shop.py").write_text(FLASK)
        site.start()
        (tmp_path / "shop.py").write_text(FLASK)
        made = subprocess.run(
            [sys.executable, "-c", "import shop; c = shop.app.test_client(); c.get('/login/cid'); "
             "print(c.get_cookie('session').value)"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        cookie = made.stdout.strip()
        assert cookie, made.stderr
        page = {"Origin": "http://shop.example", "Cookie": f"session={cookie}"}
        assert site.client(None, headers=page).post("/call/story.whoami", json={}).json()["user"] == "cid"
        page["Cookie"] = f"session={cookie[:-2]}"
        assert site.client(None, headers=page).get("/jobs").status_code == 401
    finally:
        site.close()


def test_beside_flask_as_documented() -> None:
    """The code of docs/live.md under a WSGI server, and the child of `stoker up --web`; the login of one counts in the
    other."""
    page = (ROOT / "docs/live.md").read_text("utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "from flask import" in block]
    site = Site("story", origins="http://shop.example")
    try:
        site.start()
        site.daemon.file("shop.py").write_text(code)
        with _flask(site) as address, httpx.Client(trust_env=False, verify=False, timeout=20) as ann:
            assert ann.get(f"{site.base}/jobs").status_code == 401
            assert ann.post(f"{address}/login", data={"user": "ann"}).text == "welcome"
            # a browser sends a host's cookies to all of its ports
            asked = ann.post(f"{site.base}/call/story.whoami", json={}, headers={"Origin": "http://shop.example"})
            assert asked.json()["user"] == "ann"
            ann.base_url = httpx.URL(site.base)
            tab = Tab(ann, "t").open()
            site.daemon.client.notify_now("ann", "hello")
            tab.wait(lambda: tab.named("notification"))
            shown = ann.cookies["stoker"]
            assert ann.post(f"{address}/logout").text == "bye"
            tab.wait(lambda: tab.of("bye"), 10)
            assert tab.of("bye")[0].data == {"reason": "revoked"}
            assert "stoker" not in ann.cookies
            assert ann.get(f"{site.base}/jobs").status_code == 401
            assert ann.get(f"{site.base}/jobs", headers={"Cookie": f"stoker={shown}"}).status_code == 401
            assert ann.post(f"{address}/login", data={"user": "ann"}).text == "welcome"
            assert ann.get(f"{site.base}/jobs").status_code == 200
    finally:
        site.close()


@contextlib.contextmanager
def _flask(site: Site) -> Iterator[str]:
    """The application ``shop`` of a site under Werkzeug's server; where it is."""
    path = site.daemon.folder / "flask.log"
    with open(path, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "shop", "run", "--port", "0"],
            cwd=site.daemon.folder, env=site.daemon.environ, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        (address,) = until(lambda: re.findall(r"Running on (http://\S+)", path.read_text()), 30, "Flask runs")
        yield address
    finally:
        process.kill()
        process.wait(20)


def test_on_a_unix_socket_behind_a_proxy() -> None:
    site = Site("story", listen="web.sock")
    try:
        site.start()
        path = site.daemon.folder / "web.sock"
        assert path.stat().st_mode & 0o777 == 0o600
        transport = httpx.HTTPTransport(uds=str(path))
        headers = {"Authorization": f"Bearer {site.token()}"}
        with httpx.Client(transport=transport, base_url="http://localhost", headers=headers) as proxy:
            assert proxy.post("/call/story.double", json={"number": 2}).json() == 4
        assert site.daemon.stop() == 0
        assert not path.exists()
    finally:
        site.close()
