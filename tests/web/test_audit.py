"""Who did what is kept, whichever way it was done; what was not done, and what is nobody's deed, is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stoker.wire.records import moment
from tests import schedules
from tests.daemon import Daemon, until
from tests.web.site import Site, submit

NASTY = "<script>alert(1)</script>\x1b[2J\x1b]0;owned\x07"
SHOWN = r"\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One with a schedule."""
    shared = Site("story", settings={"node": "alpha"}, auth="")
    entry = {"name": "nightly", "schedule": "0 3 1 1 *", "job": "story.double", "input": {"number": 1}}
    schedules.put(shared.daemon, json.dumps([entry]))
    shared.daemon.file("stoker.toml").write_text('[schedules]\nenv = "demo"\n')
    try:
        yield shared.start()
    finally:
        shared.close()


def cli(site: Site, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stoker", *words], cwd=site.daemon.folder, env=site.daemon.environ, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def told(site: Site, **which: Any) -> list[dict[str, Any]]:
    """The rows, oldest first."""
    found: list[dict[str, Any]] = site.daemon.client.ask("audit", list[dict[str, Any]], **which)
    return found[::-1]


def deeds(site: Site, user: str) -> list[tuple[str, str, str | None, str | None, str | None]]:
    keys = ("method", "object", "before", "after", "reason")
    return [tuple(one[key] for key in keys) for one in told(site, user=user)]


def test_what_operators_do_to_jobs(site: Site) -> None:
    job = submit(site, "wait", "owner", gate="g1")
    me = site.client("opal", level="operator")
    until_running(site, job)
    assert me.post(f"/jobs/{job}/cancel", json={"reason": "wrong file"}).status_code == 200
    site.client("owner").get(f"/jobs/{job}/wait")
    assert me.post(f"/jobs/{job}/retry").status_code == 200
    site.daemon.open_gate("g1")
    body = {"command": "story.double", "input": {"number": 1}}
    other = me.post("/jobs", json={**body, "user": "owner"}).json()["id"]
    assert me.post("/jobs", json=body).status_code == 201  # one's own
    assert deeds(site, "opal") == [
        ("cancel", job, "running", "told to stop", "wrong file"),
        ("retry", job, "cancelled", "new", None),
        ("submit", "story.double", None, f"{other} for owner", None),
    ]
    by = {(one["role"], one["level"], one["node"]) for one in told(site, user="opal")}
    assert by == {("web", "operator", "alpha")}
    assert told(site, user="owner") == []


def until_running(site: Site, job: str) -> None:
    until(lambda: site.client("owner").get(f"/jobs/{job}").json()["status"] == "running", what="it runs")


def test_what_operators_and_admins_do_to_the_rest(site: Site) -> None:
    me = site.client("ada", level="admin")
    asked: list[tuple[str, dict[str, Any]]] = [
        ("pause", {"name": "story.echo"}),
        ("resume", {"name": "story.echo"}),
        ("schedule_pause", {"name": "nightly"}),
        ("schedule_resume", {"name": "nightly"}),
        ("schedule_run", {"name": "nightly"}),
        ("cordon", {"node": "alpha"}),
        ("cordon", {"node": "alpha", "cordoned": False}),
        ("pool_set", {"product": "story", "options": {"weight": 3}}),
        ("notify_now", {"user": "u7", "message": "private"}),
        ("send_to_all", {"event": "news", "user": "u7", "session": "s1"}),
        ("send_to_all", {"event": "flash", "user": "u7", "pulse": True}),
        ("revoke", {"user": "u7", "session": "s9"}),
        ("reload", {}),
    ]
    answers = {name: me.post(f"/methods/{name}", json=params) for name, params in asked}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 200)
    run = answers["schedule_run"].json()["id"]
    assert [one[:4] for one in deeds(site, "ada")] == [
        ("pause", "story.echo", "running", "paused"),
        ("resume", "story.echo", "paused", "running"),
        ("schedule_pause", "nightly", "running", "paused"),
        ("schedule_resume", "nightly", "paused", "running"),
        ("schedule_run", "nightly", None, run),
        ("cordon", "alpha", "open", "cordoned"),
        ("cordon", "alpha", "cordoned", "open"),
        ("pool_set", "story", '{"weight":1}', '{"weight":3}'),
        ("notify_now", "u7", None, "info"),
        ("send_to_all", "u7/s1", None, "news"),
        ("revoke", "u7/s9", None, None),
        ("reload", "alpha", None, None),
    ]


def test_what_was_refused_or_failed_was_not_done(site: Site) -> None:
    before = len(told(site))
    viewer, admin = site.client("vera", level="viewer"), site.client("adam", level="admin")
    assert viewer.post("/methods/pause", json={"name": "*"}).status_code == 403
    assert admin.post("/methods/pause", json={"name": "nothing"}).status_code == 422
    assert admin.post("/methods/schedule_pause", json={"name": "nothing"}).status_code == 422
    assert admin.post("/methods/pool_set", json={"product": "nothing", "options": {}}).status_code == 422
    assert admin.post("/jobs/01a200a58c5b7089b835a1998a3b8dbb/cancel").status_code == 404
    assert len(told(site)) == before


def test_scripts_are_known_by_their_uid(site: Site) -> None:
    cli(site, "pause", "story.fail")
    cli(site, "resume", "story.fail")
    rows = told(site)[-2:]
    assert [(one["method"], one["role"], one["user"], one["uid"]) for one in rows] == [
        ("pause", "script", None, os.geteuid()),
        ("resume", "script", None, os.geteuid()),
    ]
    assert abs(moment(rows[0]["at"]) - moment(rows[1]["at"])) < 60


def test_whoever_asks_and_runs_away_did_it(site: Site) -> None:
    for round in range(5):
        with site.daemon.raw() as script:
            for number in range(100):
                params = {"user": "hasty", "session": f"{round}.{number}"}
                script.send({"type": "call", "id": number, "method": "revoke", "params": params})
            script.receive()
    with site.daemon.raw("web") as web:

        def both() -> tuple[set[str], set[str]]:
            listed = web.call(1, "revocations")["data"]["revoked"]
            rows = [one["object"] for one in told(site, name="revoke", limit=1000)]
            return ({f"hasty/{one['session']}" for one in listed if one["user"] == "hasty"},
                    {row for row in rows if row.startswith("hasty/")})  # fmt: skip

        assert len(both()[0]) >= 5
        until(lambda: both()[0] == both()[1], what="what was done is what was kept")


def test_the_list_is_for_admins_and_cannot_be_changed(site: Site) -> None:
    assert site.client("o", level="operator").post("/methods/audit", json={}).status_code == 403
    admin = site.client("ada", level="admin")
    rows = admin.post("/methods/audit", json={"user": "ada", "limit": 2}).json()
    assert [one["method"] for one in rows] == ["reload", "revoke"]
    older = admin.post("/methods/audit", json={"user": "ada", "before": rows[-1]["seq"], "limit": 1}).json()
    assert [one["method"] for one in older] == ["send_to_all"]
    assert admin.post("/methods/audit", json={"since": "yesterday"}).status_code == 422
    methods = site.daemon.client.ask("methods", dict[str, list[str]])
    assert [name for name in methods["script"] if "audit" in name] == ["audit"]


def test_the_command_line_shows_it_and_nothing_of_it_is_obeyed(site: Site) -> None:
    job = submit(site, "double", "owner", number=1)
    me = site.client(NASTY, level="operator")
    assert me.post(f"/jobs/{job}/cancel", json={"reason": NASTY}).status_code == 200
    text = cli(site, "audit", "--user", NASTY)
    assert not {"\x1b", "\x07"} & set(text)
    assert text.count(SHOWN) == 2
    assert "(operator)" in text
    assert job in text
    (row,) = json.loads(cli(site, "audit", "--user", NASTY, "--json"))
    assert (row["user"], row["reason"], row["object"]) == (NASTY, NASTY, job)
    assert [one["method"] for one in json.loads(cli(site, "audit", "--since", "1h", "--method", "pause", "--json"))]
    assert json.loads(cli(site, "audit", "--since", "2031-01-01", "--json")) == []
    assert len(json.loads(cli(site, "audit", "-n", "1", "--json"))) == 1
    assert "neither 2h nor" in cli(site, "audit", "--since", "soon", code=2)


def test_what_is_old_is_kept_no_longer() -> None:
    with Daemon("story", keep_audit="1s") as daemon:
        daemon.client.ask("pause", name="*")
        (row,) = daemon.client.ask("audit", list[dict[str, Any]])
        assert (row["object"], row["after"]) == ("*", "paused")
        until(lambda: time.time() > moment(row["at"]) + 1, what="it is old")
        daemon.stop()
        daemon.start()
        until(lambda: daemon.client.ask("audit", list[dict[str, Any]]) == [], what="it is gone")


def test_stop_is_kept_though_nobody_is_left_to_tell(site: Site) -> None:
    before = site.daemon.router
    assert site.client("ada", level="admin").post("/methods/restart", json={}).status_code == 200
    until(lambda: site.daemon.pids("router") not in ([], [before]), what="a new router")
    assert [one["object"] for one in told(site, name="restart")] == ["alpha"]
