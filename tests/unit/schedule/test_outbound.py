"""Addresses outside: only the public net, however the inside is spelt; no redirects, no waiting, no flood."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from stoker.run.references import Unresolved, resolve
from stoker.wire import outbound
from stoker.wire.outbound import Outside, get, may_ask, target


@contextmanager
def server(answer: Callable[[socket.socket, bytes], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server on loopback that answers one connection; its address, and what it was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            asked.append(connection.recv(65536))
            try:
                answer(connection, asked[-1])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def reply(text: str) -> Callable[[socket.socket, bytes], None]:
    return lambda connection, _: connection.sendall(text.encode())


LOCAL = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "172.16.9.9", "0.0.0.0", "100.64.0.1", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
     "64:ff9b::7f00:1", "2002:7f00:1::1", "ff02::1"],
)  # fmt: skip
def test_the_inside_may_not_be_asked(address: str) -> None:
    assert not may_ask(ipaddress.ip_address(address), ())


def test_the_outside_may_and_what_is_allowed() -> None:
    assert may_ask(ipaddress.ip_address("93.184.216.34"), ())
    assert may_ask(ipaddress.ip_address("2606:2800:220:1:248:1893:25c8:1946"), ())
    assert may_ask(ipaddress.ip_address("10.1.2.3"), ("intranet.example", "10.0.0.0/8"))
    assert may_ask(ipaddress.ip_address("::ffff:10.1.2.3"), ("10.0.0.0/8",))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://localhost/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/"]
)  # fmt: skip
def test_loopback_is_refused_however_it_is_spelt(url: str) -> None:
    with pytest.raises(Outside, match=r"not of the public net|cannot be resolved"):
        get(url)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.com/", "http://", "http://user:pw@example.com/", "http://example.com/a b",
     "http://example.com/\r\nX: y", "http://exämple.com/", "http://example.com:99999/", "gopher://x", "http://[::1"],
)  # fmt: skip
def test_what_is_no_plain_address(url: str) -> None:
    with pytest.raises(Outside):
        target(url)


def test_an_answer_and_what_was_asked() -> None:
    with server(reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as (url, asked):
        assert get(f"{url}/x?y=1", headers={"X-Token": "t"}, allowed=LOCAL) == (200, b"ok")
    assert asked[0].startswith(b"GET /x?y=1 HTTP/1.1\r\n")
    assert b"Host: 127.0.0.1:" in asked[0]
    assert b"X-Token: t\r\n" in asked[0]


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with server(reply("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")) as (
        url,
        _,
    ):
        assert get(url, allowed=LOCAL).status == 302


def test_a_flood_is_cut() -> None:
    def flood(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with server(flood) as (url, _):
        assert len(get(url, allowed=LOCAL).body) == outbound.BODY_MAX


@pytest.mark.parametrize("first", ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
def test_who_says_nothing_more_is_left(first: str) -> None:
    done = threading.Event()

    def hang(connection: socket.socket, _: bytes) -> None:
        connection.sendall(first.encode())
        done.wait(20)

    begun = time.monotonic()
    with server(hang) as (url, _):
        with pytest.raises(Outside, match="did not answer within"):
            get(url, allowed=LOCAL, timeout=0.5)
        done.set()
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("said", ["", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\n" + "A: b\r\n" * 200 + "\r\n"])
def test_what_is_no_answer(said: str) -> None:
    with server(reply(said)) as (url, _), pytest.raises(Outside):
        get(url, allowed=LOCAL, timeout=5)


def test_a_header_cannot_bring_another() -> None:
    with server(reply("HTTP/1.1 200 OK\r\n\r\n")) as (url, _), pytest.raises(Outside):
        get(url, headers={"X": "a\r\nY: b"}, allowed=LOCAL, timeout=5)


def test_references_are_resolved_and_never_shown(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = f"{tmp_path}/secret"
    with open(secret, "w") as file:
        file.write("from the file\n")
    monkeypatch.setenv("SOME_KEY", "from the environment")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    values = {"a": "${env:SOME_KEY}!", "b": f"${{file:{secret}}}", "c": "${credential:secret}", "d": "$plain"}
    assert resolve(values) == {
        "a": "from the environment!", "b": "from the file", "c": "from the file", "d": "$plain",
    }  # fmt: skip
    for wrong in ("${env:NO_SUCH}", "${file:/no/such}", "${credential:../x}", "${vault:x}"):
        with pytest.raises(Unresolved, match=r"^\$"):
            resolve({"x": wrong})
