"""Several machines on one store: good once is once on all of them together, and taken back is taken back everywhere."""

from __future__ import annotations

import functools
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.daemon import until
from tests.fleet import Fleet, fleet
from tests.web.site import Site, Tab

__all__ = ["fleet"]

LOGINS = """\
from stoker.web import Identity


def who(request):
    name = request.cookies.get("login")
    return Identity(name, "of " + name) if name else None
"""
AHEAD = 120
Node = Callable[..., Site]


@pytest.fixture
def node(fleet: Fleet) -> Iterator[Node]:
    """Start machines on one store, with one secret."""
    made: list[Site] = []
    secret = secrets.token_hex(32)

    def start(name: str, **web: object) -> Site:
        made.append(Site("story", settings={"store": fleet.url(), "node": name}, **web))
        made[-1].daemon.file("logins.py").write_text(LOGINS)
        key = made[-1].daemon.folder / ".stoker" / "web.key"
        key.parent.mkdir(mode=0o700, exist_ok=True)
        key.write_text(secret)
        key.chmod(0o600)
        return made[-1].start()

    yield start
    for each in made:
        each.close()


def stream_status(ticket: str, site: Site) -> int:
    with httpx.Client(base_url=site.base, trust_env=False, verify=False, timeout=30) as nobody:
        query = {"instance": "t", "topics": "audience", "ticket": ticket}
        with nobody.stream("GET", "/events", params=query) as answer:
            return answer.status_code


def test_tickets_and_revocations_hold_on_every_node(node: Node) -> None:
    here, there = node("a"), node("b")
    me = here.client("ann")
    # one ticket, shown to both machines by many at one time
    for _ in range(2):
        ticket = me.post("/auth/ticket").json()["ticket"]
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(functools.partial(stream_status, ticket), [here, there] * 4))
        assert sorted(statuses) == [200, *[401] * 7]

    # a logout on one cuts the streams on the other
    tab, other = Tab(there.client("ann"), "t").open(), Tab(there.client("bob"), "o").open()
    began = time.monotonic()
    assert me.post("/auth/logout").status_code == 204
    assert me.get("/jobs").status_code == 401
    tab.wait(tab.closed.is_set, 5.0)
    assert time.monotonic() - began < 5
    assert tab.of("bye")[0].data == {"reason": "revoked"}
    assert there.client("ann").get("/jobs").status_code == 200  # a new proof
    old = there.client(None, headers=dict(me.headers))
    assert old.get("/jobs").status_code == 401
    assert not other.closed.is_set()

    # an admin takes back what somebody else has, everywhere; others cannot
    assert here.client("ann", "s2").post("/methods/revoke", json={"user": "bob"}).status_code == 403
    assert here.client("root", level="admin").post("/methods/revoke", json={"user": "bob"}).status_code == 200
    other.wait(other.closed.is_set, 5.0)
    assert other.of("bye")[0].data == {"reason": "revoked"}


def test_while_the_daemon_is_away_nothing_is_good_again(node: Node) -> None:
    site = node("a")
    me, gone = site.client("ann"), site.client("bob")
    ticket = me.post("/auth/ticket").json()["ticket"]
    assert gone.post("/auth/logout").status_code == 204
    (router,) = site.daemon.pids("router")
    os.kill(router, signal.SIGSTOP)
    try:
        # what was taken back stays so, a good token is known; nobody can say of a ticket that it is unused
        assert gone.post("/auth/ticket").status_code == 401
        second = me.post("/auth/ticket")
        assert second.status_code == 200
        with pytest.raises(httpx.TimeoutException):
            site.client(None).get("/poll", params={"instance": "t", "ticket": ticket, "wait": 0}, timeout=1)
    finally:
        os.kill(router, signal.SIGCONT)
    # killed, and up again: what was known before is known
    os.kill(router, signal.SIGKILL)
    until(lambda: site.daemon.pids("router") not in ([], [router]), what="a new router")
    assert gone.post("/auth/ticket").status_code == 401
    assert stream_status(second.json()["ticket"], site) == 200
    assert stream_status(second.json()["ticket"], site) == 401


def test_a_bridge_that_never_heard_what_was_taken_back_lets_nobody_in(node: Node) -> None:
    site = node("a")
    me, gone = site.client("ann"), site.client("bob")
    assert gone.post("/auth/logout").status_code == 204
    (router,) = site.daemon.pids("router")
    os.kill(router, signal.SIGSTOP)
    try:
        before = site.child
        os.kill(before, signal.SIGKILL)
        until(lambda: site.daemon.pids("web") not in ([], [before]), what="a new bridge")
        refused = until(lambda: _answer(me), 40, "an answer")
        assert refused is not None
        assert (refused.status_code, refused.json()["error"]) == (503, "unavailable")
        assert "Retry-After" in refused.headers
    finally:
        os.kill(router, signal.SIGCONT)
    until(lambda: me.post("/auth/ticket").status_code == 200, what="it has heard")
    assert gone.post("/auth/ticket").status_code == 401


def _answer(me: httpx.Client) -> httpx.Response | None:
    """What a bridge says, if it is there."""
    try:
        return me.post("/auth/ticket")
    except httpx.TransportError:
        return None


def test_the_clock_of_the_store_decides(node: Node, fleet: Fleet) -> None:
    site = node("a", auth="logins:who")
    before = site.base
    site.daemon.stop()
    fleet.sql(
        "CREATE OR REPLACE FUNCTION stoker.now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS "
        f"$$SELECT pg_catalog.clock_timestamp() + interval '{AHEAD} s'$$"
    )
    site.daemon.start()
    until(lambda: site.base != before, what="a bridge")
    page = {"Origin": site.base}
    with httpx.Client(base_url=site.base, trust_env=False, verify=False, cookies={"login": "ann"}) as ann:
        proof = ann.post("/auth/token", headers=page).json()
        bearer = {"Authorization": f"Bearer {proof['token']}"}
        assert site.client(None, headers=bearer).get("/jobs").status_code == 200
        tab = Tab(site.client(None, headers=bearer), "t").open()
        assert 0 < tab.hello()["expires"] <= proof["expires"] + 1
        assert site.client(None, headers=bearer).post("/auth/logout").status_code == 204
        assert site.client(None, headers=bearer).get("/jobs").status_code == 401
        tab.wait(tab.closed.is_set, 5.0)
        # a proof that is made now is newer than that, though the clock of this machine is behind
        again = ann.post("/auth/token", headers=page).json()
        assert site.client(None, headers={"Authorization": f"Bearer {again['token']}"}).get("/jobs").status_code == 200


def test_it_is_taken_back_while_no_daemon_runs(node: Node) -> None:
    site, there = node("a"), node("b")
    tab = Tab(there.client("ann"), "t").open()
    site.daemon.stop()
    words = [sys.executable, "-m", "stoker", "token", "--user", "ann", "--revoke"]
    done = subprocess.run(words, cwd=site.daemon.folder, env=site.daemon.environ, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    tab.wait(tab.closed.is_set, 7.0)
    assert tab.of("bye")[0].data == {"reason": "revoked"}
    told = there.daemon.client.ask("audit", list[dict[str, object]], name="revoke")
    assert [(one["object"], one["uid"], one["node"]) for one in told] == [("ann", os.geteuid(), "a")]
