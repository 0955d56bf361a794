"""Schedules that are watched, as an operator sees it: alerts at real servers on loopback, the calendar, heartbeats."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller

from stoker.entry import exits
from tests.daemon import Daemon, until
from tests.fleet import Fleet
from tests.terminal import answer, typed

EVERY = "* * * * * *"
KEY = "signed-with-this"


class Sink:
    """A webhook, a Sentry and a mail server. ``refuse`` is how many requests are answered with 503 first."""

    def __init__(self, refuse: int = 0) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.mails: list[Any] = []
        self.refuse = refuse
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if sink.refuse:
                    sink.refuse -= 1
                    self.send_response(503)
                else:
                    sink.requests.append((self.path, dict(self.headers.items()), body))
                    self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._smtp = Controller(self, "127.0.0.1", port)
        self._smtp.start()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        return "250 OK"

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def environ(self) -> dict[str, str]:
        """The settings of a daemon that tells us."""
        smtp = self._smtp.port
        told = {
            "all": "true", "margin": "2", "webhook": f"http://{self.http}/hook", "webhook_key": "${env:HOOK_KEY}",
            "hosts": "127.0.0.1", "mail_to": "ops@example.org", "smtp": f"smtp://127.0.0.1:{smtp}",
            "sentry": "${env:SENTRY}",
        }  # fmt: skip
        known = {f"STOKER_MONITORS_{name.upper()}": value for name, value in told.items()}
        return {**known, "HOOK_KEY": KEY, "SENTRY": f"http://public@{self.http}/7", "STOKER_SCHEDULES_ENV": "demo"}

    def alerts(self) -> list[dict[str, Any]]:
        """What the webhook was told, with its signature checked."""
        found = []
        for path, headers, body in list(self.requests):
            if path == "/hook":
                at, _, signature = headers["X-Stoker-Signature"].removeprefix("t=").partition(",v1=")
                wanted = hmac.digest(KEY.encode(), at.encode() + b"." + body, hashlib.sha256).hex()
                assert signature == wanted
                found.append(json.loads(body))
        return found

    def sentry(self, kind: str) -> list[dict[str, Any]]:
        found = []
        for path, headers, body in list(self.requests):
            if path == "/api/7/envelope/":
                assert "sentry_key=public" in headers["X-Sentry-Auth"]
                _, item, payload = body.splitlines()[:3]
                if json.loads(item)["type"] == kind:
                    found.append(json.loads(payload))
        return found

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._smtp.stop()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with contextlib.closing(Sink()) as found:
        yield found


def put(daemon: Daemon, *entries: dict[str, Any]) -> None:
    for folder in ("schedules", "crons"):
        (daemon.folder / folder).mkdir(mode=0o755, exist_ok=True)
    path = daemon.folder / "schedules" / "cron.demo.json"
    path.write_text(json.dumps([{"active": 1, **entry} for entry in entries]))
    path.chmod(0o644)
    (daemon.folder / "crons" / "work.py").write_text("import os, sys\nsys.exit(1 if os.path.exists('sick') else 0)\n")


@pytest.fixture
def watched(sink: Sink) -> Iterator[Daemon]:
    daemon = Daemon(environ={**sink.environ, "TZ": "UTC"})
    put(
        daemon,
        {"name": "work", "schedule": EVERY, "cron": "work.py"},
        {"name": "backup", "schedule": "0 0 1 1 *", "heartbeat": "elsewhere", "monitor": {"slug": "the-backup"}},
    )
    with contextlib.closing(daemon):
        yield daemon.start()


def test_a_failure_is_told_once_everywhere_and_so_is_its_end(watched: Daemon, sink: Sink) -> None:
    until(lambda: [one for one in sink.sentry("check_in") if one["status"] == "ok"], what="a run was checked in")
    watched.file("sick").touch()
    until(lambda: sink.alerts() and sink.mails and sink.sentry("event"), what="the alert everywhere")
    (one,) = answer(watched, "schedule", "monitors", "work", "--json", code=1)
    assert (one["health"], one["watched"]) == ("failing", True)
    until(lambda: sum(slot["status"] == "failed" for slot in answer(
        watched, "schedule", "history", "work", "--json", "-n", "9")) >= 3, what="three failures")  # fmt: skip
    watched.file("sick").unlink()
    until(lambda: len(sink.alerts()) > 1 and len(sink.mails) > 1 and len(sink.sentry("event")) > 1, what="its end")
    first, second = sink.alerts()
    assert (first["health"], first["before"], first["schedule"]) == ("failing", "ok", "work")
    assert "exit code 1" in first["why"]
    assert (second["health"], second["title"]) == ("ok", "work is well again")
    assert [mail.rcpt_tos for mail in sink.mails] == [["ops@example.org"]] * 2
    assert b"Subject: [stoker] work is failing" in sink.mails[0].content
    assert [(one["level"], one["environment"]) for one in sink.sentry("event")] == [("error", "demo"), ("info", "demo")]
    typed(watched, "schedule", "monitors", "work")


def test_runs_are_checked_in_and_out_under_one_id(watched: Daemon, sink: Sink) -> None:
    until(lambda: len([one for one in sink.sentry("check_in") if one["status"] == "ok"]) >= 2, what="two runs")
    by_id: dict[str, list[str]] = {}
    for one in sink.sentry("check_in"):
        assert one["monitor_slug"] == "work"
        by_id.setdefault(one["check_in_id"], []).append(one["status"])
    whole = [told for told in by_id.values() if len(told) == 2]
    assert whole
    assert all(told == ["in_progress", "ok"] for told in whole)


def test_the_calendar_says_what_became_of_each_slot(watched: Daemon) -> None:
    until(lambda: len(answer(watched, "schedule", "history", "work", "--json")) >= 2, what="two slots")
    found = answer(watched, "schedule", "calendar", "work", "--json", "--limit", "10")
    assert [one["mark"] for one in found][:1] == ["ok"]
    assert {one["mark"] for one in found} <= {"ok", "running", "not_due"}
    moments = [one["slot"] for one in found]
    assert moments == sorted(set(moments))
    typed(watched, "schedule", "calendar", "--from", "yesterday", code=exits.USAGE)
    for words in (("--from", "2026-01-02", "--to", "2026-01-01"), ("nothing",)):
        typed(watched, "schedule", "calendar", *words, code=exits.REFUSED)


def test_a_foreign_cron_says_that_it_ran(watched: Daemon, sink: Sink) -> None:
    assert "stoker heartbeat" in typed(watched, "schedule", "run", "backup", code=exits.REFUSED).stderr
    done = watched.client.ask("wait", dict[str, Any], job=answer(watched, "heartbeat", "backup", "--json")["id"])
    assert done["status"] == "completed"
    bad = answer(watched, "heartbeat", "backup", "--status", "error", "--message", "disk full", "--json")
    done = watched.client.ask("wait", dict[str, Any], job=bad["id"])
    assert done["status"] == "failed"
    assert "disk full" in str(done)
    for words in (("work",), ("nothing",), ("backup", "--status", "maybe")):
        typed(watched, "heartbeat", *words, code=exits.REFUSED)


def test_a_foreign_cron_says_so_from_elsewhere(watched: Daemon) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    watched.stop()
    watched.more_environ["STOKER_WEB_LISTEN"] = address
    watched.start()
    token = typed(watched, "heartbeat", "backup", "--token").stdout.strip()
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}) as http:

        def answered() -> httpx.Response | None:
            with contextlib.suppress(httpx.TransportError):
                return http.post("/heartbeat/backup?status=ok")
            return None

        first = until(answered, what="the bridge is up")
        assert first is not None
        assert first.status_code == 200, first.text
        done = watched.client.ask("wait", dict[str, Any], job=first.json()["id"])
        assert done["status"] == "completed"
        assert http.post("/heartbeat/work").status_code == 401
        assert http.post("/heartbeat/backup", headers={"Authorization": "Bearer hb1."}).status_code == 401
        assert http.get("/").status_code == 401
        assert http.post("/heartbeat/backup?status=perhaps").status_code in (400, 422)


def test_a_webhook_that_does_not_answer_is_asked_again(sink: Sink) -> None:
    sink.refuse = 1
    daemon = Daemon(environ={**sink.environ, "STOKER_MONITORS_SENTRY": "", "STOKER_MONITORS_MAIL_TO": "", "TZ": "UTC"})
    put(daemon, {"name": "work", "schedule": EVERY, "cron": "work.py"})
    daemon.file("sick").touch()
    with contextlib.closing(daemon):
        daemon.start()
        until(lambda: sink.alerts(), 40, "the second try")
        assert sink.refuse == 0


def test_what_a_dead_node_should_have_run_is_missed_by_the_others(fleet: Fleet, sink: Sink) -> None:
    given = {"STOKER_ROLES_NAMES": "sync", "STOKER_ROLES_REAP_AFTER": "60", "STOKER_ROLES_CLAIM_AFTER": "60"}
    nodes = [
        fleet.node(name, begin=False, environ={**sink.environ, **given, "STOKER_MONITORS_SENTRY": "", "TZ": "UTC"})
        for name in "abc"
    ]
    for node in nodes:
        put(node, {"name": "work", "schedule": EVERY, "cron": "work.py", "role": "sync"})
    first, *others = nodes
    first.start()
    until(lambda: answer(first, "schedule", "history", "work", "--json"), what="it runs on the first")
    for node in others:
        node.start()
    first.kill()
    (told, *_) = until(lambda: sink.alerts(), 30, "somebody misses it")
    assert (told["health"], told["schedule"]) == ("missed", "work")
    until(lambda: all("alert: work is missed" in node.log() for node in others), 30, "both have seen it")
    until(lambda: sink.mails, what="the mail")
    until(
        lambda: any(row.output is not None and b"status" in bytes(row.output) for row in fleet.rows().values()),
        what="the job of the webhook",
    )
    assert len(sink.alerts()) == 1
    assert len(sink.mails) == 1
