"""Plain requests: jobs, commands and methods, each user seeing their own and nothing else."""

from __future__ import annotations

import msgspec
import pytest

from tests.daemon import until
from tests.web.site import Site


def test_a_request_reaches_a_handler_that_sees_the_user(site: Site) -> None:  # V28
    answer = site.client("u7").post("/call/story.whoami", json={})
    assert answer.status_code == 200
    assert answer.json()["user"] == "u7"


def test_without_credentials_nothing_comes_to_the_daemon(site: Site) -> None:  # V29
    before = site.daemon.client.ask("clients", dict)
    nobody = site.client(None)
    answers = [nobody.get("/jobs"), nobody.post("/jobs", json={"command": "story.echo"}),
               nobody.get("/events", params={"instance": "t", "topics": "audience"})]  # fmt: skip
    assert [answer.status_code for answer in answers] == [401] * 3
    assert answers[0].json()["error"] == "unauthorized"
    assert site.daemon.client.ask("clients", dict) == before


def test_the_life_of_a_job(site: Site) -> None:
    me = site.client()
    stored = me.post("/jobs", json={"command": "story.wait", "input": {"gate": "life"}, "tags": ["x"]})
    assert stored.status_code == 201
    id = stored.json()["id"]
    site.daemon.wait_here("life")
    assert me.get(f"/jobs/{id}").json()["status"] == "running"
    assert me.get(f"/jobs/{id}/wait", params={"seconds": 0.05}).json()["status"] == "running"
    assert me.post(f"/jobs/{id}/retry").status_code == 409
    assert me.post(f"/jobs/{id}/cancel", json={"reason": "enough"}).status_code == 200
    ended = me.get(f"/jobs/{id}/wait", params={"seconds": 20}).json()
    assert (ended["status"], ended["error"]) == ("cancelled", "Cancelled: enough")
    site.daemon.open_gate("life")
    assert me.post(f"/jobs/{id}/retry").json()["status"] in ("new", "running")
    assert me.get(f"/jobs/{id}/wait", params={"seconds": 20}).json()["status"] == "completed"
    assert me.get("/jobs", params={"tag": "x"}).json()[0]["id"] == id


def test_a_list_is_read_page_by_page_and_has_ones_own_jobs_only(site: Site) -> None:
    me, other, operator = site.client("pages"), site.client("somebody"), site.client("root", level="operator")
    ids = [me.post("/jobs", json={"command": "story.echo", "input": {"value": n}}).json()["id"] for n in range(5)]
    theirs = other.post("/jobs", json={"command": "story.echo", "input": {"value": 0}}).json()["id"]
    found, url = [], "/jobs?limit=2"
    while url:
        page = me.get(url)
        found += [job["id"] for job in page.json()]
        url = f"/{page.links['next']['url']}" if "next" in page.links else ""
    assert found == ids[::-1]
    assert me.get("/jobs", params={"user": "somebody"}).status_code == 403
    assert {theirs, ids[0]} <= {job["id"] for job in operator.get("/jobs", params={"limit": 100}).json()}


def test_a_job_of_somebody_else_is_not_there(site: Site) -> None:
    id = site.client("owner").post("/jobs", json={"command": "story.echo", "input": {"value": 1}}).json()["id"]
    other = site.client("other")
    for answer in (
        other.get(f"/jobs/{id}"), other.get(f"/jobs/{id}/wait"), other.get(f"/jobs/{id}/events"),
        other.get(f"/jobs/{id}/stream"), other.post(f"/jobs/{id}/cancel"), other.post(f"/jobs/{id}/retry"),
        other.get(f"/commands/jobs/{id}"), other.delete(f"/commands/jobs/{id}"),
        other.post("/methods/job", json={"job": id}),
    ):  # fmt: skip
        assert (answer.status_code, answer.json()["error"]) == (404, "unknown_job")
    assert (
        other.post("/jobs", json={"command": "story.echo", "input": {"value": 1}, "user": "owner"}).status_code == 403
    )
    assert site.client("op", level="viewer").get(f"/jobs/{id}").json()["user"] == "owner"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/call/story.double", b'{"number": "x"}', 422, "invalid_input"),
        ("POST", "/call/story.double", b'{"number": 1', 400, "protocol"),
        ("POST", "/call/story.double", b"[" * 50_000, 413, "too_large"),
        ("POST", "/call/story.nowhere", b"{}", 404, "unknown_command"),
        ("POST", "/call/story", b"{}", 404, "unknown_command"),
        ("POST", "/call/story.for_scripts", b"{}", 403, "not_allowed"),
        ("POST", "/call/story.fail", b'{"message": "no"}', 422, "job_failed"),
        ("POST", "/methods/stop", b"{}", 403, "not_allowed"),
        ("POST", "/methods/attach", b"{}", 403, "not_allowed"),
        ("POST", "/methods/nothing", b"{}", 404, "unknown_method"),
        ("POST", "/jobs", b'{"command": "story.echo", "no": 1}', 400, "protocol"),
        ("GET", "/jobs/unknown", None, 404, "unknown_job"),
        ("GET", "/jobs/..%2F..", None, 404, "not_found"),
        ("GET", "/jobs?limit=1000000000", None, 422, "refused"),
        ("GET", "/jobs?limit=-1", None, 422, "refused"),
        ("POST", "/jobs/x/cancel", b"[]", 400, "protocol"),
        ("POST", "/jobs/x/cancel", b'{"request": 1, "method": "x"}', 400, "protocol"),
        ("GET", "/jobs/x/events?method=stop&request=1", None, 400, "protocol"),
        ("GET", "/jobs?who=root", None, 400, "protocol"),
        ("GET", "/nothing", None, 404, "not_found"),
        ("DELETE", "/jobs", None, 405, "method_not_allowed"),
    ],
)
def test_mistakes_are_told(site: Site, method: str, path: str, body: bytes | None, status: int, code: str) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    answer = site.client().request(method, path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert answer.json()["message"]


def test_a_body_is_json_and_bounded(site: Site) -> None:
    me = site.client()
    assert me.post("/jobs", data={"command": "story.echo"}).status_code == 415
    assert me.post("/jobs", content=b'{"command": "story.echo"}').status_code == 415
    big = b'{"command": "story.echo", "input": {"value": "%b"}}' % (b"x" * (17 << 20))
    assert me.post("/jobs", content=big, headers={"Content-Type": "application/json"}).status_code == 413
    chunked = me.post("/jobs", content=iter([big]), headers={"Content-Type": "application/json"})
    assert chunked.status_code == 413


def test_lines_and_odd_characters_in_a_body_come_through(site: Site) -> None:
    value = {"text": "a\nb\u2028\r\0\x1b[31m", "deep": [1, {"x": None}]}
    body = msgspec.json.format(msgspec.json.encode({"value": value}), indent=2)
    answer = site.client().post("/call/story.echo", content=body, headers={"Content-Type": "application/json"})
    assert answer.json() == value


def test_commands_under_the_names_of_003(site: Site) -> None:  # O54
    me = site.client("lib")
    done = me.post("/commands/jobs", json={"app": "story", "command": "double", "input": {"number": 4}}).json()
    assert done["status"] == "submitted"
    id = done["job_id"]
    assert id.startswith("command:")
    status = until(lambda: (found := me.get(f"/commands/jobs/{id}").json())["status"] == "completed" and found)
    assert (status["result"], status["error_message"]) == (8, None)
    assert [job["job_id"] for job in me.get("/commands/jobs", params={"status_filter": "completed"}).json()] == [id]
    assert me.get("/commands/jobs", params={"command_filter": "story.nap"}).json() == []
    waits = me.post("/commands/jobs", json={"app": "story", "command": "wait", "input": {"gate": "lib"}}).json()[
        "job_id"
    ]
    assert me.delete(f"/commands/jobs/{waits}").json()["cancelled"] is True
    assert me.delete(f"/commands/jobs/{id}").json()["cancelled"] is False
    registry = me.get("/commands/registry/debug").json()
    assert "double" in registry["commands_by_app"]["story"]
    assert me.get(f"/commands/jobs/{id}/events").json() == []


def test_progress_is_read_while_it_runs(site: Site) -> None:  # O56
    me = site.client()
    id = me.post("/jobs", json={"command": "story.say_slowly", "input": {"words": ["a", "b"], "gate": "poll"}}).json()[
        "id"
    ]
    seen = until(lambda: me.get(f"/jobs/{id}/events").json())
    assert seen[0]["data"]["message"] == "said a"
    assert me.get(f"/jobs/{id}").json()["status"] == "running"
    site.daemon.open_gate("poll")
    until(lambda: len(me.get(f"/jobs/{id}/events", params={"after": seen[-1]["offset"]}).json()) >= 2)


def test_a_call_need_not_be_waited_for(site: Site) -> None:
    me = site.client()
    answer = me.post("/call/story.double?wait=false", json={"number": 21})
    assert answer.status_code == 202
    assert me.get(f"/jobs/{answer.json()['id']}/wait").json()["output"] == 42


def test_every_answer_says_what_a_browser_may_do_with_it(site: Site) -> None:
    for answer in (
        site.client().get("/"),
        site.client(None).get("/jobs"),
        site.client(None).get("/js/EventsClient.js"),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    assert site.client().get("/jobs").headers["cache-control"] == "no-store"
