"""The native listener: the streams of the application, told in another way. Its tests are those of the application."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from tests.daemon import until
from tests.web.conftest import MakeSite
from tests.web.site import Site
from tests.web.test_faults import (
    test_a_server_that_stops_says_good_bye,
    test_killing_the_bridge_loses_and_doubles_nothing,
    test_killing_the_router_loses_and_doubles_nothing,
    test_one_who_does_not_read_bothers_nobody,
)
from tests.web.test_slow import test_a_slow_reader_beside_many
from tests.web.test_streams import (
    test_a_bare_event_source_follows_one_job_and_stops,
    test_a_cursor_that_nobody_was_given_harms_nobody,
    test_a_job_that_runs_again_is_followed_again,
    test_a_late_reader_gets_all_of_it_and_one_who_comes_again_the_rest,
    test_a_vanished_browser_is_out_of_the_tree,
    test_a_word_is_seen_before_the_next_is_made,
    test_events_reach_exactly_the_tabs_they_are_for,
    test_one_who_was_away_gets_what_was_pushed_meanwhile,
    test_standard_clients_read_it,
    test_tabs_behind_one_stream,
    test_the_limit_of_jobs_is_not_one_of_streams,
    test_what_a_stream_carries_is_changed_while_it_is_open,
    test_what_cannot_be_had_ends_alone,
)
from tests.web.test_turns import (
    test_a_crowd_is_sent_away_one_after_the_other,
    test_a_stream_takes_turns_and_loses_nothing,
)

__all__ = [
    "test_a_bare_event_source_follows_one_job_and_stops",
    "test_a_crowd_is_sent_away_one_after_the_other",
    "test_a_cursor_that_nobody_was_given_harms_nobody",
    "test_a_job_that_runs_again_is_followed_again",
    "test_a_late_reader_gets_all_of_it_and_one_who_comes_again_the_rest",
    "test_a_server_that_stops_says_good_bye",
    "test_a_slow_reader_beside_many",
    "test_a_stream_takes_turns_and_loses_nothing",
    "test_a_vanished_browser_is_out_of_the_tree",
    "test_a_word_is_seen_before_the_next_is_made",
    "test_events_reach_exactly_the_tabs_they_are_for",
    "test_killing_the_bridge_loses_and_doubles_nothing",
    "test_killing_the_router_loses_and_doubles_nothing",
    "test_one_who_does_not_read_bothers_nobody",
    "test_one_who_was_away_gets_what_was_pushed_meanwhile",
    "test_standard_clients_read_it",
    "test_tabs_behind_one_stream",
    "test_the_limit_of_jobs_is_not_one_of_streams",
    "test_what_a_stream_carries_is_changed_while_it_is_open",
    "test_what_cannot_be_had_ends_alone",
]

STREAM = re.compile(r"/events|/jobs/[^/]+/stream")
CROWD = 1000


class NativeSite(Site):
    """A site whose clients go to the native listener for streams, and to the application for all else."""

    def __init__(self, *apps: str, **options: Any) -> None:
        super().__init__(*apps, native="http://127.0.0.1:0", **options)

    @property
    def native(self) -> int:
        """Its port."""
        return int(re.findall(r"streams are served.*?http://127.0.0.1:(\d+)", self.daemon.log())[-1])

    def client(self, *args: Any, **options: Any) -> httpx.Client:
        def divert(request: httpx.Request) -> None:
            if request.method == "GET" and STREAM.fullmatch(request.url.path):
                request.url = request.url.copy_with(port=self.native)

        return super().client(*args, event_hooks={"request": [divert]}, **options)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.native), timeout=20)


@pytest.fixture(scope="module")
def site() -> Iterator[NativeSite]:
    shared = NativeSite("story")
    try:
        shared.start()
        yield shared
    finally:
        shared.close()


@pytest.fixture
def make_site() -> Iterator[MakeSite]:
    made: list[Site] = []

    def start(*apps: str, **options: Any) -> Site:
        made.append(NativeSite(*apps, **options))
        return made[-1].start()

    yield start
    for each in made:
        each.close()


def status(site: NativeSite, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", site.native, timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(300).decode()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/events?instance=t", "/jobs/nowhere/stream"])
def test_strangers_are_refused(site: NativeSite, path: str) -> None:
    good = {"Authorization": f"Bearer {site.token()}"}
    over = {"Authorization": f"Bearer {site.token(life=-1)}"}
    assert status(site, "GET", path)[0] == 401
    assert status(site, "GET", path, over)[0] == 401
    assert status(site, "GET", path, {**good, "Origin": "http://evil.example"})[0] == 403
    assert status(site, "GET", path, {**good, "Host": "evil.example"})[0] == 403
    assert status(site, "GET", path, {**good, "Sec-Fetch-Site": "cross-site"})[0] == 403


def test_nothing_else_is_served(site: NativeSite) -> None:
    good = {"Authorization": f"Bearer {site.token()}"}
    for method, path in [("GET", "/"), ("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/login"), ("DELETE", "/x")]:
        found, told = status(site, method, path, good)
        assert found == 404, (method, path)
        assert "streams alone" in told
    assert status(site, "POST", "/events", good)[0] in (404, 405)


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\na b\r\n\r\n",
                                  b"x" * (80 << 10), b"\r\n\r\n\0\0\r\n\r\n"])  # fmt: skip
def test_what_is_no_request_is_told_so(site: NativeSite, head: bytes) -> None:
    with site.raw() as raw:
        raw.sendall(head)
        assert raw.recv(4096).startswith(b"HTTP/1.1 4")


def test_a_socket_carries_topics_and_nothing_else(site: NativeSite) -> None:
    url, me = f"ws://127.0.0.1:{site.native}/ws?instance=w&topics=audience", {"Authorization": f"Bearer {site.token()}"}
    id = site.client().post("/jobs", json={"command": "story.say", "input": {"words": ["a", "b"]}}).json()["id"]
    with connect(url, additional_headers=me, subprotocols=["stoker"], proxy=None) as talk:  # type: ignore[list-item]

        def said() -> Any:
            while (message := json.loads(talk.recv(timeout=20)))["type"] == "ping":
                pass
            return message

        assert talk.subprotocol == "stoker"
        assert said()["type"] == "hello"
        talk.send(json.dumps({"type": "call", "id": 1, "method": "subscribe", "params": {"job": id}}))
        assert said() == {"type": "return", "id": 1, "data": {"topic": f"job:{id}"}}
        assert [said().get("data") for _ in range(2)] == ["a", "b"]
        assert said() == {"type": "end", "topic": f"job:{id}", "status": "completed"}
        wrongs: list[dict[str, Any]] = [{"method": "submit"}, {"method": "subscribe", "params": {"topic": "x"}}]
        for number, wrong in enumerate(wrongs):
            talk.send(json.dumps({"type": "call", "id": number, **wrong}))
            assert said()["type"] == "error"
        talk.send("nonsense")
        assert said()["code"] == "protocol"
        site.daemon.client.notify_now("u7", "hello")
        assert said()["data"]["message"] == "hello"
    for headers, refusal in (({}, "401"), ({**me, "Origin": "http://evil.example"}, "403")):
        with pytest.raises(InvalidStatus, match=refusal), connect(url, additional_headers=headers, proxy=None):
            pass


def test_a_question_and_good_bye_in_one_breath(site: NativeSite) -> None:
    with site.raw() as raw:
        raw.sendall(f"GET /ws?instance=g HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token()}\r\n"
                    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode())  # fmt: skip
        data = b""
        while b'"hello"' not in data:
            data += raw.recv(4096)
        call = b'{"type":"call","id":1,"method":"subscribe","params":{"topic":"jobs"}}'
        raw.sendall(b"".join(Frame(*one).serialize(mask=True) for one in ((Opcode.TEXT, call), (Opcode.CLOSE, b""))))
        while raw.recv(4096):
            pass
    assert "Fatal error" not in site.daemon.log()


def test_a_quiet_stream_shows_life(make_site: MakeSite) -> None:  # V112
    site = make_site(tick="1s")
    with site.raw() as raw:
        raw.sendall(f"GET /events?instance=q&topics=audience HTTP/1.1\r\nHost: localhost\r\n"
                    f"Authorization: Bearer {site.token()}\r\n\r\n".encode())  # fmt: skip
        raw.settimeout(10)
        data = b""
        while b"event: hello" not in data or not data.endswith(b"\n\n"):
            data += raw.recv(4096)
        times = [time.monotonic()]
        for _ in range(3):
            assert raw.recv(4096) == b":\n\n"
            times.append(time.monotonic())
    assert all(0.5 < after - before < 2.5 for before, after in itertools.pairwise(times)), times


def test_everybody_in_a_crowd_gets_everything_once(make_site: MakeSite) -> None:
    site, count = make_site(), 20
    token = site.token("crowd")
    raws = [site.raw() for _ in range(CROWD)]
    try:
        for number, raw in enumerate(raws):
            raw.sendall(f"GET /events?instance=c{number}&topics=audience HTTP/1.1\r\nHost: localhost\r\n"
                        f"Authorization: Bearer {token}\r\n\r\n".encode())  # fmt: skip
        until(lambda: site.tabs() == CROWD, 60, f"{CROWD} tabs")
        for number in range(count):
            site.daemon.client.send_to_all("web", 0, "all", number)
        for raw in raws:
            data = b""
            while b'"offset":%d,' % count not in data:
                more = raw.recv(65536)
                assert more, data
                data += more
            offsets = [int(found) for found in re.findall(rb'"event":"all","offset":(\d+)', data)]
            assert offsets == list(range(1, count + 1))
    finally:
        for raw in raws:
            raw.close()
    until(lambda: site.tabs() == 0, 30)
