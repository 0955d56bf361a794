"""WebSockets and Socket.IO: the same topics and calls over one line."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.daemon import until
from tests.needs import need_tools, unavailable
from tests.web.site import Site

CLIENT = "socket.io-client@4"


@contextlib.contextmanager
def opened(site: Site, query: str = "instance=t", user: str = "u7") -> Iterator[ClientConnection]:
    """A socket that has said hello."""
    headers = {"Authorization": f"Bearer {site.token(user)}"}
    url = f"ws://127.0.0.1:{site.port}/ws?{query}"
    with connect(url, additional_headers=headers, subprotocols=["stoker"], proxy=None) as socket:  # type: ignore[list-item]
        assert json.loads(socket.recv(20))["type"] == "hello"
        yield socket


def ask(socket: ClientConnection, method: str, params: Any, **more: Any) -> Any:
    """Call, and skip what comes before the answer."""
    socket.send(json.dumps({"type": "call", "id": 1, "method": method, "params": params, **more}))
    while (answer := json.loads(socket.recv(20))).get("id") != 1:
        pass
    return answer


def until_end(socket: ClientConnection) -> list[Any]:
    found: list[Any] = []
    while not found or found[-1]["type"] != "end":
        message = json.loads(socket.recv(20))
        if message["type"] != "ping":
            found.append(message)
    return found


def test_a_socket_calls_and_listens(site: Site) -> None:
    with opened(site, "instance=t&topics=audience") as socket:
        assert socket.subprotocol == "stoker"
        assert ask(socket, "story.double", {"number": 4}) == {"type": "return", "id": 1, "data": 8}
        id = ask(socket, "submit", {"command": "story.say", "input": {"words": ["a", "b"]}})["data"]["id"]
        assert ask(socket, "subscribe", {"job": id})["data"] == {"topic": f"job:{id}"}
        events = until_end(socket)
        assert [event.get("data") for event in events] == ["a", "b", None]
        assert events[-1] == {"type": "end", "topic": f"job:{id}", "status": "completed"}
        assert events[0]["type"] == "event"
        site.daemon.client.notify_now("u7", "hello")
        message = json.loads(socket.recv(20))
        while message["type"] == "ping":
            message = json.loads(socket.recv(20))
        assert (message["event"], message["data"]["message"]) == ("notification", "hello")
        assert ask(socket, "unsubscribe", {"topic": "audience"})["data"] is True


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "protocol"),
        ('{"type": "init"}', "protocol"),
        ('{"type": "call", "method": "ping"}', "protocol"),
        ('{"type": "call", "id": 1, "method": "stop"}', "not_allowed"),
        ('{"type": "call", "id": 1, "method": "attach", "params": {}}', "not_allowed"),
        ('{"type": "call", "id": 1, "method": "subscribe", "params": {"topic": "nonsense"}}', "refused"),
        ('{"type": "call", "id": 1, "method": "subscribe", "params": {"x": 1}}', "protocol"),
        ('{"type": "call", "id": 1, "method": "story.nothing"}', "unknown_command"),
        ("[" * 50_000, "too_large"),
    ],
)
def test_mistakes_are_told_and_harm_nothing(site: Site, text: str, code: str) -> None:
    with opened(site) as socket:
        socket.send(text)
        answer = json.loads(socket.recv(20))
        assert (answer["type"], answer["code"]) == ("error", code)
        assert ask(socket, "ping", {})["data"] == "pong"


def test_one_who_comes_again_goes_on(site: Site) -> None:
    me = site.client()
    id = me.post("/jobs", json={"command": "story.say", "input": {"words": ["a", "b", "c"]}}).json()["id"]
    me.get(f"/jobs/{id}/wait")
    with opened(site, f"instance=t&topics=job:{id}") as socket:
        first = until_end(socket)
    with opened(site, f"instance=t&topics=job:{id}&after=job:{id}@{first[0]['offset']}") as socket:
        assert until_end(socket) == first[1:]


def test_a_quiet_socket_is_pinged_and_a_line_too_long_ends_it(site: Site) -> None:
    with opened(site) as socket:
        assert json.loads(socket.recv(10)) == {"type": "ping"}
        with contextlib.suppress(ConnectionClosed):
            socket.send("x" * (17 << 20))
        until(lambda: _closed(socket), what="the socket is closed")


def _closed(socket: ClientConnection) -> bool:
    try:
        socket.recv(5)
    except ConnectionClosed:
        return True
    return False


def test_a_socket_that_closes_is_out_of_the_tree(site: Site) -> None:
    before = site.tabs()
    with opened(site, "instance=gone&topics=audience", "closer"):
        until(lambda: site.tabs() == before + 1)
    until(lambda: site.tabs() == before)


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    """A folder with the standard client for Socket.IO."""
    need_tools("node", "npm", hint="the standard Socket.IO client runs in Node.js")
    folder = Path(tempfile.mkdtemp(prefix="st-node-"))
    try:
        done = subprocess.run(
            ["npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", CLIENT, "eventsource@4"],
            cwd=folder, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        if done.returncode != 0:
            raise unavailable(f"{CLIENT} cannot be had: {done.stderr[-300:]}")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_node(folder: Path, script: str, *words: str) -> Any:
    """What a script prints, as JSON."""
    (folder / "test.mjs").write_text(script)
    done = subprocess.run(["node", "test.mjs", *words], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


SOCKET_IO = """
import { io } from "socket.io-client";
const [base, token, transport] = process.argv.slice(2);
const refused = io(base, { transports: [transport], reconnection: false, forceNew: true });
await new Promise(done => refused.on("connect_error", done));
const socket = io(base, {
  transports: [transport], auth: { instance: "t1" }, extraHeaders: { Authorization: `Bearer ${token}` },
});
const events = [], ends = [];
socket.on("event", event => events.push(event));
const hello = await new Promise(done => socket.on("hello", done));
const emit = (name, data) => socket.timeout(20000).emitWithAck(name, data);
const doubled = await emit("story.double", { number: 4 });
const called = await emit("call", { method: "story.whoami", params: {} });
const mistake = await emit("story.double", { number: "x" });
const refusal = await emit("stop", {});
const stored = await emit("submit", { command: "story.say", input: { words: ["a", "b"] } });
const ended = new Promise(done => socket.on("end", done));
const subscribed = await emit("subscribe", { job: stored.data.id });
const end = await ended;
console.log(JSON.stringify({ hello, doubled, called, mistake, refusal, subscribed, end, events }));
socket.close();
process.exit(0);
"""


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_the_standard_socket_io_client_gets_acknowledgements(site: Site, node: Path, transport: str) -> None:  # H34
    found = run_node(node, SOCKET_IO, site.base, site.token("io"), transport)
    assert found["hello"]["user"] == "io"
    assert found["doubled"] == {"ok": True, "data": 8}
    assert found["called"]["data"]["user"] == "io"
    assert found["mistake"]["error"] == "invalid_input"
    assert found["refusal"]["error"] == "not_allowed"
    assert [event["data"] for event in found["events"]] == ["a", "b"]
    assert found["end"]["status"] == "completed"
    until(lambda: "io" not in site.daemon.client.ask("clients", dict)["tree"], 30)


EVENT_SOURCE = """
import { EventSource } from "eventsource";
const [url, token] = process.argv.slice(2);
const more = { Authorization: `Bearer ${token}` };
const options = { fetch: (to, init) => fetch(to, { ...init, headers: { ...init.headers, ...more } }) };
const source = new EventSource(url, options);
const chunks = [];
source.addEventListener("chunk", event => chunks.push([JSON.parse(event.data), event.lastEventId]));
const state = await new Promise(done => source.addEventListener("open", () => done(source.readyState)));
await new Promise(done => source.addEventListener("end", done));
await new Promise(done => source.addEventListener("error", done));
console.log(JSON.stringify({ state, chunks, open: source.OPEN }));
process.exit(0);
"""


def test_the_standard_event_source_follows_a_job(site: Site, node: Path) -> None:  # V31
    id = site.client().post("/jobs", json={"command": "story.say", "input": {"words": ["a", "b"]}}).json()["id"]
    found = run_node(node, EVENT_SOURCE, f"{site.base}/jobs/{id}/stream", site.token())
    assert found["state"] == found["open"] == 1
    assert [chunk for chunk, _ in found["chunks"]] == ["a", "b"]
