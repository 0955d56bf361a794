"""The public protocol, spoken with a raw socket and json only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stoker.client.core import SILENCE
from tests.daemon import Daemon, until
from tests.raw import RawClient


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("story", consumers_max=4) as daemon:
        yield daemon


@pytest.fixture(scope="module", autouse=True)
def long_call(daemon: Daemon) -> Iterator[RawClient]:
    """A call that takes longer than the other tests; the last test hears what it was told meanwhile."""
    with daemon.raw() as raw:
        raw.send({"type": "call", "id": "long", "method": "story.wait", "params": {"gate": "long"}})
        daemon.wait_here("long")
        yield raw


def test_init_call_return(daemon: Daemon) -> None:
    """V39-V42, V36, V68: init is answered, call is answered by return with its id and exactly the data."""
    with daemon.raw(role=None) as raw:
        raw.send({"type": "init", "role": "script"})
        welcome = raw.receive()
        assert (welcome["type"], welcome["protocol"]) == ("init", 1)
        assert welcome["boot"]
        nested = {"a": [1, 2.5, None, {"ü": "line\nbreak"}], "b": {"c": True}}
        answer = raw.call(7, "story.echo", value=nested)
        assert answer == {"type": "return", "id": 7, "data": nested}


def test_a_call_before_init_is_refused(daemon: Daemon) -> None:
    """V40: who does not say who they are gets an error, and nothing is done."""
    before = daemon.client.stats()["submitted"]
    with daemon.raw(role=None) as raw:
        answer = raw.call(1, "story.echo", value=1)
    assert answer["type"] == "error"
    assert "init" in answer["message"]
    assert daemon.client.stats()["submitted"] == before


@pytest.mark.parametrize(
    "line",
    [
        b"this is not json",
        b"[1, 2, 3]",
        b'"text"',
        b'{"type": "nonsense"}',
        b'{"type": "call", "id": 1}',
        b'{"type": "call", "id": {}, "method": "ping"}',
        b'{"type": "call", "id": 1, "method": 5}',
        b'{"no": "type"}',
        b"\xff\xfe\x00",
        b'{"type": "return", "id": 1, "data": 1}',
        b'{"type": "init", "role": "script"}',
    ],
)
def test_malformed_lines_get_an_error_and_harm_nothing(daemon: Daemon, line: bytes) -> None:
    """V39, V43: each bad line is answered by an error, and the same connection goes on."""
    with daemon.raw() as raw:
        raw.send_bytes(line + b"\n")
        answer = raw.receive()
        assert answer["type"] == "error"
        assert answer["code"] == "protocol"
        assert answer["message"]
        assert raw.call(2, "ping")["data"] == "pong"


def test_errors_carry_a_code_and_the_text(daemon: Daemon) -> None:
    """V43, V64, V67, V69, P26: what a handler, a name or an input does wrong is told in words."""
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        ("story.fail", {"message": "out of ink"}, "job_failed", "ValueError: out of ink"),
        ("story.nothing", {}, "unknown_command", "story.nothing"),
        ("other.echo", {"value": 1}, "unknown_command", "did you mean story.echo?"),
        ("nothing", {}, "unknown_method", "nothing"),
        ("story.double", {"number": "abc"}, "invalid_input", "number"),
        ("story.double", {}, "invalid_input", "number"),
        ("story.double", {"number": 1, "more": 2}, "invalid_input", "more"),
        ("job", {"job": "nosuchjob"}, "unknown_job", "nosuchjob"),
        ("job", {"job": "../../etc"}, "refused", "is not a job id"),
        ("job", {"wrong": 1}, "protocol", "wrong parameters"),
    ]
    with daemon.raw() as raw:
        for number, (method, params, code, text) in enumerate(cases):
            answer = raw.call(number, method, **params)
            assert (answer["type"], answer["code"]) == ("error", code), answer
            assert text in answer["message"]


def test_a_refused_call_forks_nothing(daemon: Daemon) -> None:
    """V67: an input of the wrong type is refused before anything is stored or forked."""
    before = daemon.client.stats()["submitted"], daemon.pids("spare")
    with daemon.raw() as raw:
        assert raw.call(1, "story.double", number="abc")["type"] == "error"
    assert (daemon.client.stats()["submitted"], daemon.pids("spare")) == before


def test_answers_come_in_any_order(daemon: Daemon) -> None:
    """V41, V42, P24: a slow call and a fast one on one connection; each answer carries its own id."""
    with daemon.raw() as raw:
        raw.send({"type": "call", "id": "slow", "method": "story.wait", "params": {"gate": "order"}})
        daemon.wait_here("order")
        assert raw.call("fast", "story.double", number=2)["data"] == 4
        daemon.open_gate("order")
        assert raw.receive()["id"] == "slow"


def test_a_call_that_does_not_wait(daemon: Daemon) -> None:
    """V37, V38: by the caller's word or by the command's own signature, the answer is the id at once."""
    with daemon.raw() as raw:
        asked = {"type": "call", "id": 1, "method": "story.wait", "params": {"gate": "v37"}, "wait": False}
        raw.send(asked)
        first = raw.receive()["data"]["id"]
        second = raw.call(2, "story.quiet", gate="v37")["data"]["id"]
        daemon.open_gate("v37")
        for id in (first, second):
            assert raw.call(3, "wait", job=id)["data"]["status"] == "completed"


def test_events_come_unasked(daemon: Daemon) -> None:
    """V44: after a subscription what a job says arrives by itself, each piece with its cursor, and then the end."""
    with daemon.raw() as raw:
        id = raw.call(1, "submit", command="story.say", input={"words": ["a", "b", "c"]})["data"]["id"]
        raw.call(2, "subscribe", job=id)
        events: list[dict[str, Any]] = []
        while not events or events[-1]["event"] != "end":
            events.append(raw.receive())
    assert {event["type"] for event in events} == {"event"}
    assert {event["topic"] for event in events} == {f"job:{id}"}
    chunks = [event for event in events if event["event"] == "chunk"]
    assert [chunk["data"]["data"] for chunk in chunks] == ["a", "b", "c"]
    offsets = [event["offset"] for event in events[:-1]]
    assert offsets == sorted(set(offsets))
    with daemon.raw() as again:
        again.call(1, "subscribe", job=id, after=chunks[0]["offset"])
        rest = [again.receive()["event"] for _ in range(3)]
    assert rest == ["chunk", "chunk", "end"]


def test_who_may_call_what(daemon: Daemon) -> None:
    """V11, V48, V49: a web client is refused what is for scripts, and the other way round; the lists say which."""
    with daemon.raw("web") as web, daemon.raw("script") as script:
        assert web.call(1, "story.for_web")["data"] == "web"
        assert script.call(1, "story.for_scripts")["data"] == "script"
        for raw, method in ((web, "story.for_scripts"), (script, "story.for_web"), (web, "stats"), (web, "stop")):
            answer = raw.call(2, method)
            assert (answer["type"], answer["code"]) == ("error", "not_allowed")
        lists = web.call(3, "methods")["data"]
        assert "submit_many" in lists["script"]
        assert "submit_many" not in lists["web"]
        assert "spend" not in lists["script"]
        assert "submit" in lists["web"]
        callers = {one["name"]: one["callers"] for one in web.call(4, "commands")["data"]}
        assert callers["story.for_web"] == ["web"]


def test_an_unknown_role_is_shown_the_door(daemon: Daemon) -> None:
    """V11: only the known roles are let in."""
    with daemon.raw(role=None) as raw:
        raw.send({"type": "init", "role": "admin"})
        answer = raw.receive()
        assert answer["type"] == "error"
        assert "admin" in answer["message"]
        with pytest.raises(EOFError):
            raw.receive()


def test_clients_are_counted_by_type(daemon: Daemon) -> None:
    """V12: three web and two script connections are seen, and seen to go."""
    before = daemon.client.stats()["clients"]
    with daemon.raw("web"), daemon.raw("web"), daemon.raw("script"):
        with daemon.raw("web"), daemon.raw("script"):
            now = daemon.client.stats()["clients"]
            assert now == {"web": before["web"] + 3, "script": before["script"] + 2}
        until(lambda: daemon.client.stats()["clients"] == {"web": before["web"] + 2, "script": before["script"] + 1})
    until(lambda: daemon.client.stats()["clients"] == before)


def test_two_lines_in_one_packet_and_one_line_in_many(daemon: Daemon) -> None:
    """V39: it is a stream of lines, however the bytes are cut."""
    one = json.dumps({"type": "call", "id": 1, "method": "ping"}).encode() + b"\n"
    two = json.dumps({"type": "call", "id": 2, "method": "ping"}).encode() + b"\n"
    with daemon.raw() as raw:
        raw.send_bytes(one + b"\n" + two)
        assert {raw.receive()["id"], raw.receive()["id"]} == {1, 2}
        for byte in one:
            raw.send_bytes(bytes([byte]))
        assert raw.receive()["id"] == 1


def test_the_daemon_answers_for_itself_while_all_slots_are_busy(daemon: Daemon) -> None:
    """V57, V60: stats in under 100 ms with every slot taken, from the router, with no new process."""
    jobs = [daemon.client.submit("story.wait", {"gate": "v60"}) for _ in range(6)]
    daemon.wait_here("v60", 3)
    before = {one.pid for one in daemon.processes()}
    took = []
    for _ in range(10):
        begun = time.monotonic()
        stats = daemon.client.stats()
        took.append(time.monotonic() - begun)
    assert min(took) < 0.1
    assert stats["pid"] == daemon.router
    assert {one.pid for one in daemon.processes()} == before
    later = until(lambda: daemon.client.stats()["uptime"] - stats["uptime"] > 0.2)
    assert later
    daemon.open_gate("v60")
    for job in jobs:
        job.wait(20)


def test_a_worker_method_runs_without_a_fork(daemon: Daemon) -> None:
    """V73: a command of the inline kind is run by the zygote itself."""
    zygote = daemon.zygote
    with daemon.raw() as raw:
        assert [raw.call(number, "story.inside")["data"] for number in range(5)] == [zygote] * 5


def test_a_long_call_is_kept_alive(daemon: Daemon, long_call: RawClient) -> None:
    """V35: the time-out means silence, 30 s by default; a daemon at work says `ping` well within that."""
    assert SILENCE == 30.0
    line = long_call.receive_line()
    assert line == {"type": "ping"}
    daemon.open_gate("long")
    assert long_call.receive()["id"] == "long"
