"""Who is let in, from where, and for how long. Every route there is takes part, thought of or not."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from stoker.settings import load
from stoker.web import bridge
from tests.daemon import UP, Daemon, until
from tests.web.conftest import MakeSite
from tests.web.site import Site, Tab

OPEN = {("GET", "/js/{name}"): 200, ("HEAD", "/js/{name}"): 200, ("HEAD", "/login"): 200,
        ("GET", "/favicon.ico"): 204, ("HEAD", "/favicon.ico"): 204}  # fmt: skip
"""Routes that ask nobody who they are, and what they answer: the scripts of the pages, and a look at the door."""
VALUES = {"id": "nowhere", "command": "story.double", "name": "ping", "stream": "none", "path": ""}


def routes() -> Iterator[tuple[str, str]]:
    """Every route of the application, and each method it takes."""
    for route in _application():
        match route:
            case Route():
                yield from ((method, route.path) for method in sorted(route.methods or ()))
            case WebSocketRoute():
                yield "WS", route.path
            case Mount():
                yield from ((method, f"{route.path}/") for method in ("GET", "POST"))
            case _:
                raise AssertionError(f"a route of an unknown kind: {route}")


def _application() -> list[BaseRoute]:
    settings = load({"root": "/", "web.secret": "s" * 32}, environ={})
    return bridge(settings=settings).routes


def path(template: str) -> str:
    name = "common.js" if template.startswith("/js/") else "ping"
    return template.format(**{**VALUES, "name": name})


def ask(site: Site, method: str, template: str, headers: dict[str, str], cookies: dict[str, str] | None = None) -> int:
    """The status of a request; of a WebSocket 101 when it opens."""
    query = "?instance=t&topics=audience&seconds=0&wait=0&EIO=4&transport=polling"
    if cookies:
        headers = {**headers, "Cookie": f"stoker={cookies['stoker']}"}
    if method == "WS":
        return open_socket(site, headers)
    body = b"{}" if method == "POST" else None
    kind = {"Content-Type": "application/json"} if method == "POST" else {}
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    try:
        connection.request(method, path(template) + query, body, {**kind, **headers})
        return connection.getresponse().status
    finally:
        connection.close()


def open_socket(site: Site, headers: dict[str, str], query: str = "instance=t") -> int:
    url = f"ws://127.0.0.1:{site.port}/ws?{query}"
    origin = headers.pop("Origin", None)
    try:
        with connect(url, additional_headers=headers, origin=origin, proxy=None):  # type: ignore[arg-type]
            return 101
    except InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize(("method", "template"), sorted(routes()))
def test_every_route_refuses_strangers(site: Site, method: str, template: str) -> None:  # D33, D34
    good = f"Bearer {site.token()}"
    over = site.token(life=-1)
    forged = site.token("u8")[:-4] + "AAAA"
    refused = {
        "nobody": {},
        "an expired token": {"Authorization": f"Bearer {over}"},
        "a forged token": {"Authorization": f"Bearer {forged}"},
        "half a token": {"Authorization": "Bearer st1."},
        "another scheme": {"Authorization": f"Basic {site.token()}"},
    }
    for what, headers in refused.items():
        assert ask(site, method, template, dict(headers)) == OPEN.get((method, template), 401), what
    elsewhere = {
        "a foreign origin": {"Origin": "http://evil.example"},
        "no origin at all": {"Origin": "null"},
        "another port": {"Origin": "http://127.0.0.1:1"},
        "a foreign page": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        "a page of a neighbour": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        "a name that was bound to us": {"Host": "evil.example"},
        "a name that looks like ours": {"Host": "localhost.evil.example"},
    }
    for what, headers in elsewhere.items():
        if method == "WS" and "Host" in headers:
            continue  # below
        assert ask(site, method, template, {"Authorization": good, **headers}) == 403, what
    if method in ("POST", "DELETE"):
        for value in (site.token(), over):
            # a cookie that comes from who knows where
            status = ask(site, method, template, {}, {"stoker": value})
            assert status in (401, 403), "a cookie without an origin"


@pytest.mark.parametrize(("method", "template"), sorted(routes()))
def test_every_route_knows_its_users(site: Site, method: str, template: str) -> None:
    """With a good token none says 401 or 403 (but where its method is none for browsers), and nothing breaks."""
    status = ask(site, method, template, {"Authorization": f"Bearer {site.token()}", "Origin": site.base})
    assert status < 500
    # a login takes a ticket, a heartbeat the token of its schedule
    assert status not in (401, 403) or template in ("/login", "/heartbeat/{name}")


def test_a_socket_under_a_foreign_name(site: Site) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /ws?instance=t HTTP/1.1", "Host: evil.example", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Authorization: Bearer {site.token()}",
    ]  # fmt: skip
    with site.raw() as raw:
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 403 " in raw.recv(4096)


def test_a_page_may_be_opened_from_anywhere_but_reads_nothing(site: Site) -> None:
    me = site.client()
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert me.get("/", headers=link).status_code == 200
    framed = {**link, "Sec-Fetch-Dest": "iframe"}
    assert me.get("/", headers=framed).status_code == 403
    form = {**link, "Content-Type": "application/json"}
    assert me.post("/jobs", headers=form, content=b"{}").status_code == 403


def test_origins_that_are_named_may_use_it(make_site: MakeSite) -> None:
    site = make_site(origins="https://app.example.org")
    me = site.client(headers={"Origin": "https://app.example.org", "Host": "app.example.org"})
    answer = me.post("/call/story.double", json={"number": 2})
    assert (answer.status_code, answer.json()) == (200, 4)
    assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
    before = site.client(None).options("/jobs", headers={"Origin": "https://app.example.org"})
    assert before.status_code == 204
    assert "POST" in before.headers["access-control-allow-methods"]
    assert site.client(headers={"Origin": "https://app.example.org.evil.example"}).get("/jobs").status_code == 403
    assert site.client(None).options("/jobs", headers={"Origin": "https://evil.example"}).status_code == 403


def test_the_printed_address_signs_in_once(site: Site) -> None:
    url = next(word for word in site.daemon.log().split() if "/login?ticket=" in word)
    with httpx.Client(base_url=site.base, trust_env=False, verify=False) as browser:
        assert browser.head(url).status_code == 200  # a preview of the link costs nothing
        answer = browser.get(url)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/")), cookie
        page = browser.get(answer.headers["location"])
        assert "Signed in" in page.text
        assert browser.get("/jobs", params={"limit": 1}).status_code == 200
        # its page asks for a fresh cookie, and never sees it
        renewed = browser.post("/auth/token", headers={"Origin": site.base})
        assert renewed.json()["token"] is None
        assert "stoker=" in renewed.headers["set-cookie"]
        assert browser.post("/auth/logout", headers={"Origin": site.base}).status_code == 204
    with httpx.Client(base_url=site.base, trust_env=False, verify=False) as thief:
        refused = thief.get(url)
        assert (refused.status_code, refused.json()["error"]) == (401, "unauthorized")


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_person_is_told_in_words(site: Site) -> None:
    """Who opens an address in a browser sees a sentence; a program gets its JSON."""
    with httpx.Client(base_url=site.base, trust_env=False, verify=False, headers=BROWSER) as browser:
        used = browser.get("/login", params={"ticket": "st1.wrong"})
        assert (used.status_code, used.headers["content-type"]) == (401, "text/html; charset=utf-8")
        assert "<p>This link is good once" in used.text
        assert "{" not in used.text
        assert "Content-Security-Policy" in used.headers
        nobody, nowhere = browser.get("/"), browser.get("/<b>nowhere")
        assert (nobody.status_code, nowhere.status_code) == (401, 404)
        assert "<p>Say who you are" in nobody.text
        foreign = browser.get("/", headers={"Host": "evil.example"})
        assert (foreign.status_code, "<p>Nobody is served under the name" in foreign.text) == (403, True)
        assert browser.post("/jobs", json={}).json()["error"] == "unauthorized"
        assert browser.get("/favicon.ico").status_code == 204
    assert site.client(None).get("/nowhere").json()["error"] == "not_found"


def test_a_ticket_is_good_once_and_for_streams_only(site: Site) -> None:
    me, nobody = site.client(), site.client(None)
    ticket = me.post("/auth/ticket").json()["ticket"]
    assert nobody.get("/jobs", params={"ticket": ticket}).status_code == 401
    assert open_socket(site, {}, f"instance=t&ticket={ticket}") == 101
    assert open_socket(site, {}, f"instance=t&ticket={ticket}") == 401
    second = me.post("/auth/ticket").json()
    assert second["expires"] <= 60
    Tab(nobody, "t", ticket=second["ticket"]).open()
    again = Tab(nobody, "t", ticket=second["ticket"])
    again.wait(again.closed.is_set)
    assert again.status == 401
    assert nobody.get("/jobs", headers={"Authorization": f"Bearer {second['ticket']}"}).status_code == 401


def test_a_session_that_is_taken_back_is_cut(site: Site) -> None:
    me = site.client("leaver", "s")
    other = Tab(site.client("leaver", "elsewhere"), "o").open()
    tab, began = Tab(me, "t").open(), time.monotonic()
    assert me.post("/auth/logout").status_code == 204
    tab.wait(tab.closed.is_set, 5.0)
    assert tab.of("bye")[0].data == {"reason": "revoked"}
    assert time.monotonic() - began < 5
    assert me.get("/jobs").status_code == 401
    assert not other.closed.is_set()
    # taken back by an operator, in another process
    done = _cli(site, "token", "--user", "leaver", "--revoke")
    assert "taken back" in done
    other.wait(other.closed.is_set, 7.0)
    assert other.of("bye")[0].data == {"reason": "revoked"}
    assert site.client("leaver", "fresh").get("/jobs").status_code == 200


def test_a_stream_ends_with_its_token_unless_that_is_renewed(site: Site) -> None:
    short = {"Authorization": f"Bearer {site.token('short', life=2.5)}"}
    kept = {"Authorization": f"Bearer {site.token('kept', life=2.5)}"}
    ends = Tab(site.client(None, headers=short), "t").open()
    stays = Tab(site.client(None, headers=kept), "t").open()
    assert 0 < stays.hello()["expires"] <= 2.5
    fresh = site.client(None, headers=kept).post("/auth/token").json()
    assert fresh["token"].startswith("st1.")
    ends.wait(ends.closed.is_set, 10)
    assert ends.of("bye")[0].data == {"reason": "expired"}
    assert not stays.closed.is_set()


def test_a_token_cannot_be_made_up(site: Site) -> None:
    head, body, signature = site.token("u7").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims["level"] = "admin"
    better = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    for token in (f"{head}.{better}.{signature}", f"{head}.{body}.", f"{head}..", f"{head}.{body}", head, "st1.é.é",
                  f"{head}.{body}.{signature}=", "st1." + "A" * 10_000):  # fmt: skip
        headers = {"Authorization": f"Bearer {token}".encode("latin-1", "replace")}
        assert site.client(None).get("/jobs", headers=headers).status_code == 401, token  # type: ignore[arg-type]


def test_the_key_is_ours_alone(site: Site) -> None:
    key = site.daemon.folder / ".stoker" / "web.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) >= 32
    assert key.read_text() not in site.daemon.log()
    assert site.token() not in site.daemon.log()


def _cli(site: Site, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stoker", *words], cwd=site.daemon.folder, env=site.daemon.environ, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_command_line_makes_tokens(site: Site) -> None:
    token = _cli(site, "token", "--user", "u7").strip()
    nobody = site.client(None)
    assert nobody.get("/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    more = ("--session", "s", "--life", "1h", "--level", "viewer", "--json")
    told = json.loads(_cli(site, "token", "--user", "u7", *more))
    assert (told["user"], told["session"], told["level"]) == ("u7", "s", "viewer")
    assert 3500 < told["expires"] - time.time() <= 3600
    assert nobody.get("/jobs?user=other", headers={"Authorization": f"Bearer {told['token']}"}).status_code == 200
    assert "everybody" in _cli(site, "token", "--user", "0", code=2)
    for wrong in (["--user", ""], ["--user", "u7", "--session", ""], ["--user", "", "--revoke"]):
        assert re.fullmatch(r"stoker: --user, --session: \w+ has 1 to 256 .*\n", _cli(site, "token", *wrong, code=2))
    assert "30 days" in _cli(site, "token", "--user", "u7", "--life", "31d", code=2)


@pytest.mark.parametrize(
    ("web", "words"),
    [
        ({"STOKER_WEB_LISTEN": "http://0.0.0.0:0"}, "web.auth"),
        ({"STOKER_WEB_LISTEN": "http://[::]:0"}, "web.auth"),
        ({"STOKER_WEB_LISTEN": "http://127.0.0.1:0", "STOKER_WEB_SECRET": "short"}, "32 characters"),
        ({"STOKER_WEB_LISTEN": "https://127.0.0.1:0"}, "neither"),
        ({"STOKER_WEB_LISTEN": "http://127.0.0.1"}, "not http://host:port"),
    ],
)
def test_what_is_not_safe_does_not_start(web: dict[str, str], words: str) -> None:  # E2.1
    daemon = Daemon("story", environ=web)
    try:
        done = subprocess.run([*UP, "story"], cwd=daemon.folder, env=daemon.environ, capture_output=True, text=True,
                              timeout=60)  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    finally:
        daemon.close()


def test_the_application_says_who_a_browser_is(make_site: MakeSite) -> None:
    site = make_site(begin=False, auth="logins:who", tick="0.5s")
    site.daemon.file("logins.py").write_text(
        "import os\n\nfrom stoker.web import Identity\n\n\n"
        "def who(request):\n"
        "    name = None if os.path.exists('out') else request.cookies.get('login')\n"
        "    return Identity(name, 'of ' + name) if name else None\n"
    )
    site.start()
    assert "ticket=" not in site.daemon.log()
    with httpx.Client(base_url=site.base, trust_env=False, verify=False, cookies={"login": "ann"}) as ann:
        assert ann.get("/jobs").status_code == 200
        page = {"Origin": site.base}
        assert ann.post("/call/story.whoami", json={}, headers=page).json()["user"] == "ann"
        assert ann.post("/call/story.whoami", json={}).status_code == 403
        token: dict[str, Any] = ann.post("/auth/token", headers=page).json()
        bearer = {"Authorization": f"Bearer {token['token']}"}
        assert site.client(None, headers=bearer).post("/call/story.whoami", json={}).json()["user"] == "ann"
        # a stream lives as long as the application knows its user
        tab = Tab(ann, "t").open()
        site.daemon.file("out").touch()
        tab.wait(tab.closed.is_set)
        assert tab.of("bye")[0].data == {"reason": "revoked"}
    assert site.client(None).get("/jobs").status_code == 401
    assert site.client(None, headers={"Authorization": "Bearer theirs"}).get("/jobs").status_code == 401


def test_floods_of_nonsense(site: Site) -> None:  # D38, D32
    def answer(data: bytes) -> bytes:
        with site.raw() as raw:
            raw.sendall(data)
            raw.settimeout(15)
            return raw.recv(4096)

    head = f"Host: localhost\r\nAuthorization: Bearer {site.token()}\r\n".encode()
    big = b"GET /jobs HTTP/1.1\r\n" + head + b"X-Big: " + b"a" * (1 << 20)
    assert b" 400 " in _answered(site, big) or _answered(site, big) == b""
    both = b"POST /jobs HTTP/1.1\r\n" + head + b"Content-Type: application/json\r\nContent-Length: 2\r\n" \
           b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"  # fmt: skip
    two = b"POST /jobs HTTP/1.1\r\n" + head + b"Content-Type: application/json\r\nContent-Length: 2\r\n" \
          b"Content-Length: 3\r\n\r\n{}"  # fmt: skip
    assert b" 400 " in answer(two)
    assert b" 500 " not in answer(both)
    hosts = b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n"
    assert b" 400 " in answer(hosts)
    fds = len(os.listdir(f"/proc/{site.child}/fd"))
    raws = [site.raw() for _ in range(100)]
    for raw in raws:
        raw.sendall(b"GET /events?instance=r&topics=audience HTTP/1.1\r\n" + head)
    for raw in raws:
        raw.close()
    until(lambda: len(os.listdir(f"/proc/{site.child}/fd")) <= fds + 2, 15, "what was opened is closed")
    many = ",".join(f"job:{n}" for n in range(10_000))
    refused = site.client().get("/poll", params={"instance": "t", "topics": many[:40_000]})
    assert refused.status_code == 422
    assert site.client().get("/jobs", params={"limit": 1}).status_code == 200


def _answered(site: Site, data: bytes) -> bytes:
    with site.raw() as raw, contextlib.suppress(OSError):
        raw.sendall(data)
        return raw.recv(4096)
    return b""


def test_a_head_that_never_ends_is_not_waited_for_long(site: Site) -> None:  # D32
    with site.raw() as raw:
        raw.sendall(b"GET /jobs HTTP/1.1\r\nHost: loc")
        raw.settimeout(15)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(100) == b""
        assert time.monotonic() - began < 13
