"""What users are told of the machine that runs their jobs: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.web.site import Site

INSIDE = ("Traceback", "insides.py", "int(")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    shared = Site("insides")
    try:
        yield shared.start()
    finally:
        shared.close()


def stumbled(site: Site, me: httpx.Client) -> str:
    id = str(me.post("/jobs", json={"command": "insides.stumble"}).json()["id"])
    assert site.daemon.client.job(id).wait(20).traceback is not None
    return id


def test_a_user_gets_no_traceback_by_any_way(site: Site) -> None:
    me = site.client("ann")
    id = stumbled(site, me)
    answers = [
        me.get(f"/jobs/{id}"), me.get("/jobs"), me.get(f"/jobs/{id}/wait"), me.get(f"/jobs/{id}/events"),
        me.get(f"/jobs/{id}/stream"), me.post(f"/jobs/{id}/cancel"), me.get(f"/commands/jobs/{id}"),
        me.get(f"/commands/jobs/{id}/events"), me.post("/methods/job", json={"job": id}),
        me.post("/call/insides.stumble", json={}), me.post(f"/jobs/{id}/retry"),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200] * 9 + [422, 200]
    for answer in answers:
        assert not any(word in answer.text for word in INSIDE), answer.url
    assert answers[0].json()["error"] == "RuntimeError: it fell"
    assert "it stumbled" in answers[3].text
    assert "it stumbled" in answers[4].text


def test_who_sees_everything_sees_tracebacks(site: Site) -> None:
    id = stumbled(site, site.client("ann"))
    viewer = site.client("eve", level="viewer")
    assert "insides.py" in viewer.get(f"/jobs/{id}").json()["traceback"]
    assert any("insides.py" in str(event) for event in viewer.get(f"/jobs/{id}/events").json())


def test_a_user_is_not_told_where_a_job_runs(site: Site) -> None:
    me, viewer = site.client("ann"), site.client("eve", level="viewer")
    id = me.post("/jobs", json={"command": "insides.stumble", "input": {"gate": "where"}}).json()["id"]
    site.daemon.wait_here("where")
    mine, theirs = me.get(f"/jobs/{id}").json(), viewer.get(f"/jobs/{id}").json()
    assert (mine["status"], mine["node"], mine["pid"]) == ("running", None, None)
    assert theirs["node"]
    assert theirs["pid"]
    site.daemon.open_gate("where")
    assert me.get(f"/jobs/{id}/wait").json()["status"] == "failed"


def test_an_application_may_call_its_users_by_number(make_site: Any) -> None:  # X33
    site = make_site("insides", begin=False, auth="logins:who")
    site.daemon.file("logins.py").write_text(
        "from stoker.web import Identity\n\n\ndef who(request):\n    return Identity(int(request.headers['x-user']))\n"
    )
    site.start()
    me = site.client(None, headers={"x-user": "7", "sec-fetch-site": "same-origin"})
    assert me.post("/call/insides.whose", json={}).json() == "7"
    mine = me.post("/jobs", json={"command": "insides.whose", "user": 7})
    assert mine.status_code == 201
    assert me.post("/jobs", json={"command": "insides.whose", "user": 8}).status_code == 403
    assert me.post("/methods/jobs", json={"user": 8}).status_code == 403
    assert {job["user"] for job in me.post("/methods/jobs", json={"user": 7}).json()} == {"7"}


def test_settings_are_for_admins_and_from_a_browser_numbers_alone(site: Site) -> None:  # V102
    admin = site.client("root", level="admin")
    found = {one["name"]: one for one in admin.post("/methods/settings", json={}).json()}
    assert found["consumers_max"]["value"] == 10
    changed = admin.post("/methods/settings_set", json={"values": {"consumers_max": 4}})
    assert changed.json()[0]["value"] == 4
    for values in ({"app": ["os"]}, {"schedules.shell": True}, {"roles.on_lost": ["sh"]}, {"token": ""}):
        answer = admin.post("/methods/settings_set", json={"values": values})
        assert (answer.status_code, answer.json()["error"]) == (403, "not_allowed"), values
    assert site.client("op", level="operator").post("/methods/settings", json={}).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/jobs?limit=5000", 422, "from 1 to 1000"),
        ("GET", "/jobs?limit=1000", 200, ""),
        ("GET", "/commands/jobs?limit=5000", 422, "from 1 to 1000"),
        ("GET", "/jobs/x/events?limit=10001", 422, "from 1 to 10000"),
        ("GET", "/commands/jobs?status_filter=canceled", 200, ""),
        ("GET", "/commands/jobs?status_filter=done", 422, "status_filter: 'done' is none of new, running"),
        ("POST", "/call/insides.whose?wait=maybe", 422, "wait is true or false, not 'maybe'"),
        ("POST", "/call/insides.whose?wait=0", 202, ""),
        ("POST", "/call/insides.stumble", 422, "it fell"),
    ],
)
def test_what_is_asked_is_answered_or_refused_by_name(
    site: Site, method: str, path: str, status: int, words: str
) -> None:
    answer = site.client("ann").request(method, path)
    assert answer.status_code == status
    assert words in answer.text
