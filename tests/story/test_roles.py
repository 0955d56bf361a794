"""Roles of one daemon: it holds all of them, and whatever asks for one, or wants to hear of it, runs."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.daemon import Daemon, until
from tests.story.conftest import Make
from tests.terminal import answer, typed


def table(*names: str, more: str = "") -> str:
    listed = ", ".join(f'"{name}"' for name in names)
    return f"[roles]\nnames = [{listed}]\n{more}"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def daemon(make: Make, notes: Path) -> Daemon:
    made = make("duties", begin=False, node="alpha", environ={"DUTIES": str(notes)})
    made.file("stoker.toml").write_text(table("mail", "sync"))
    return made.start()


def told(notes: Path, file: str = "told") -> list[str]:
    path = notes / file
    return path.read_text().splitlines() if path.exists() else []


def terms(daemon: Daemon) -> dict[str, tuple[str, int]]:
    return {role["name"]: (role["state"], role["term"]) for role in answer(daemon, "roles", "--json")["roles"]}


def test_one_node_holds_all_and_says_so(daemon: Daemon) -> None:
    found = answer(daemon, "roles", "--json")
    assert (found["names"], found["mine"], found["policy"]) == (["mail", "sync"], ["mail", "sync"], "cover")
    assert [(one["name"], one["state"], one["node"], one["term"]) for one in found["roles"]] == [
        ("mail", "held", "alpha", 1), ("sync", "held", "alpha", 1),
    ]  # fmt: skip
    (node,) = found["nodes"]
    assert (node["name"], node["roles"], node["alive"]) == ("alpha", ["mail", "sync"], True)
    shown = typed(daemon, "roles").stdout
    assert "mail" in shown
    assert "alpha" in shown
    assert typed(daemon, "roles", "release", "mail", code=7).stderr == (
        "stoker: mail stays where it is: no other node is there to take it; see `stoker roles`\n"
    )
    assert "there are mail, sync" in typed(daemon, "roles", "move", "none", "beta", code=7).stderr


def test_a_term_is_counted_for_ever_and_handed_to_what_runs_in_the_role(daemon: Daemon) -> None:
    assert daemon.client.call("duties.term") == 1
    assert daemon.client.call("duties.who") == ["mail", True, True]
    daemon.stop()
    daemon.start()
    assert daemon.client.call("duties.term") == 2
    typed(daemon, "restart")
    assert daemon.client.call("duties.sync") == 3
    daemon.kill()
    daemon.start()
    assert terms(daemon) == {"mail": ("held", 4), "sync": ("held", 4)}


def test_hooks_hear_of_every_term_once(daemon: Daemon, notes: Path) -> None:
    until(lambda: len(told(notes)) == 2)
    until(lambda: told(notes, "mine") == [f"1 1 alpha {daemon.folder}"])
    typed(daemon, "restart")
    expected = sorted(
        f"{event} {role} {term} alpha"
        for role in ("mail", "sync")
        for event, term in (("role_acquired", 1), ("role_lost", 1), ("role_acquired", 2))
    )
    until(lambda: sorted(told(notes)) == expected, what="each once")

    def ended() -> bool:
        jobs = daemon.client.ask("jobs", tag="role:mail", limit=100)
        return len(jobs) == 5 and {job["status"] for job in jobs} == {"completed"}

    until(ended, what="a job for each hook and term, and no more")
    assert sorted(told(notes)) == expected


def test_the_list_of_roles_is_reloaded(daemon: Daemon, notes: Path) -> None:
    """T29: there is one list; changing it changes everything."""
    daemon.file("stoker.toml").write_text(table("sync", "toga"))
    typed(daemon, "reload")
    until(lambda: terms(daemon) == {"sync": ("held", 1), "toga": ("held", 1), "mail": ("free", 1)})
    assert list(terms(daemon)) == ["sync", "toga", "mail"], "in the order of the list"
    until(lambda: "role_lost mail 1 alpha" in told(notes))
    daemon.file("stoker.toml").write_text(table("mail", "mail"))
    assert "'mail' is there twice" in typed(daemon, "reload", code=2).stderr
    daemon.file("stoker.toml").write_text(table("m/il"))
    assert "cannot be the name of a role" in typed(daemon, "check", code=2).stderr


def test_a_cordoned_node_holds_nothing_and_what_asks_for_a_role_says_why_it_waits(daemon: Daemon) -> None:
    answer(daemon, "nodes", "cordon", "alpha", "--json")
    until(lambda: terms(daemon) == {"mail": ("free", 1), "sync": ("free", 1)})
    job = daemon.client.submit("duties.term")
    assert job.record().why == "needs the role mail, which nobody holds; see `stoker roles`"
    answer(daemon, "nodes", "uncordon", "alpha", "--json")
    assert job.result(20) == 2


def test_without_a_list_one_node_is_everything(make: Make) -> None:
    daemon = make("duties", environ={"DUTIES": "/nowhere"})
    assert typed(daemon, "roles").stdout.startswith("no roles; name them in stoker.toml")
    assert daemon.client.call("duties.term") is None
    assert daemon.client.call("duties.who") == [None, False, False]


def test_a_hook_that_wants_what_there_is_not_is_told_at_start(make: Make) -> None:
    daemon = make("wrong", begin=False)
    daemon.file("wrong.py").write_text(
        "from stoker import Product\nops = Product('ops')\n"
        "@ops.on_node_dead\ndef dead(role: str) -> None: ...\n"
    )  # fmt: skip
    assert "nothing called role" in typed(daemon, "check", code=4, STOKER_APP="wrong").stdout


# ── what hooks are for ───────────────────────────────────────────────────────────────────────────────────────────────


class Cloud(http.server.BaseHTTPRequestHandler):
    """The endpoint of a cloud, as far as it is asked here."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012 (of the one server of a test)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.asked.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def cloud() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    asked: list[tuple[str, str]] = []
    handler = type("Asked", (Cloud,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


class Mailbox:
    """What a mail server takes."""

    def __init__(self) -> None:
        self.mails: list[str] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        self.mails.append(str(envelope.content.decode() if isinstance(envelope.content, bytes) else envelope.content))
        return "250 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Controller, Mailbox]]:
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield controller, box
    controller.stop()


OPS = """
import smtplib
import urllib.request
from email.message import EmailMessage

from stoker import Product

ops = Product("ops")
ADDRESSES = {"mail": "eipalloc-1", "sync": "eipalloc-2"}


def ask(path: str, body: str) -> None:
    urllib.request.urlopen(urllib.request.Request(CLOUD + path, body.encode()), timeout=5).close()


@ops.on_role_acquired
def tag(role: str, node: str) -> None:
    ask("/tag", f"{node} Worker={role.upper()}-WORKER")


@ops.on_role_acquired
def address(role: str, node: str) -> None:
    ask("/address", f"{node} {ADDRESSES[role]}")


@ops.on_role_acquired
def tell(role: str, node: str) -> None:
    mail = EmailMessage()
    mail["Subject"] = f"{role} runs on {node}"
    mail["From"], mail["To"] = "stoker@example.org", "ops@example.org"
    with smtplib.SMTP("127.0.0.1", MAIL) as server:
        server.send_message(mail)
"""


def test_a_new_holder_is_tagged_gets_its_address_and_operators_hear_of_it(
    make: Make, cloud: tuple[str, list[tuple[str, str]]], mailbox: tuple[Controller, Mailbox]
) -> None:
    """T36, T37, T38, T47: once for each term, and the address of a role is the same over replacement."""
    url, asked = cloud
    controller, box = mailbox
    daemon = make("ops", begin=False, node="i-0abc")
    daemon.file("ops.py").write_text(f"CLOUD, MAIL = {url!r}, {controller.port}\n{OPS}")
    daemon.file("stoker.toml").write_text(table("mail", "sync"))
    daemon.start()
    expected = [
        ("/address", "i-0abc eipalloc-1"), ("/address", "i-0abc eipalloc-2"),
        ("/tag", "i-0abc Worker=MAIL-WORKER"), ("/tag", "i-0abc Worker=SYNC-WORKER"),
    ]  # fmt: skip
    until(lambda: sorted(asked) == expected)
    until(lambda: len(box.mails) == 2)
    assert any("Subject: mail runs on i-0abc" in mail for mail in box.mails)
    daemon.stop()
    daemon.change(node="i-0def")
    daemon.start()
    until(lambda: ("/address", "i-0def eipalloc-1") in asked)
    until(lambda: len(box.mails) == 4)


def test_a_program_may_be_a_hook(daemon: Daemon) -> None:
    script = daemon.file("moved.sh")
    script.write_text('#!/bin/sh\necho "$1 $2 $3" >> moved.txt\n')
    script.chmod(0o755)
    words = f'on_acquired = ["{script}", "{{input.role}}", "{{input.term}}", "{{input.node}}"]\n'
    daemon.file("stoker.toml").write_text(table("mail", "sync", "toga", more=words))
    typed(daemon, "reload")
    until(lambda: daemon.file("moved.txt").exists() and daemon.file("moved.txt").read_text() == "toga 1 alpha\n")
    daemon.file("stoker.toml").write_text(table("mail", more='on_lost = ["{input.role}"]\n'))
    assert "the first of the list is the program" in typed(daemon, "reload", code=4).stderr
    assert "the first of the list is the program" in typed(daemon, "check", code=4).stdout.replace("\n", " ")
