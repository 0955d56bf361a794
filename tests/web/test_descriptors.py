"""D29: a process that has run out of descriptors waits for some, works on for whoever is there, and is back at once."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import until
from tests.web.site import ANYWHERE, Site, Tab

SPARE = 12
"""Descriptors that a process may have beyond those it has."""
FLOOD = 80
LOOK = 0.6
BUSY_MOST = 0.30
BACK_WITHIN = 2.0


@pytest.fixture(scope="module")
def streams() -> Iterator[Site]:
    """A site with a native listener for all that follow."""
    shared = Site("story", native=ANYWHERE)
    try:
        yield shared.start()
    finally:
        shared.close()


@pytest.mark.parametrize("below", [False, True], ids=["some-left", "fewer-than-it-has"])
@pytest.mark.parametrize("where", ["router", "bridge", "native"])
def test_out_of_descriptors(streams: Site, where: str, below: bool) -> None:
    site = streams
    pid = site.daemon.router if where == "router" else site.child
    address = _address(site, where)
    tab, me = Tab(site.client(), "t").open(), site.client()
    assert me.post("/call/story.echo", json={"value": 1}).json() == 1
    with _scarce(pid, below=below), contextlib.ExitStack() as flood:
        for _ in range(FLOOD):
            flood.enter_context(_connect(address))
        if not below:
            until(lambda: _full(pid), what="only the reserve is left")
        began, worked = time.monotonic(), _worked(pid)
        site.daemon.client.notify_now("u7", "hello")
        tab.wait(lambda: tab.named("notification"))
        if not below:
            assert me.post("/call/story.echo", json={"value": 2}).json() == 2
        until(lambda: time.monotonic() - began > LOOK, what="some time to look at")
        busy = (_worked(pid) - worked) / (time.monotonic() - began)
        if not below:
            flood.close()
            back = _back(address)
    if below:
        back = _back(address)
    print(f"{where}: {100 * busy:.0f} % of a core while there was none, back after {1000 * back:.0f} ms")
    assert busy <= BUSY_MOST
    assert back <= BACK_WITHIN
    assert not tab.closed.is_set()
    assert me.post("/call/story.echo", json={"value": 3}).json() == 3


def _address(site: Site, where: str) -> str | int:
    if where == "router":
        return str(site.daemon.settings.socket_path)
    return int(re.findall(r"streams are served.*?:(\d+)'", site.daemon.log())[-1]) if where == "native" else site.port


@contextlib.contextmanager
def _scarce(pid: int, *, below: bool) -> Iterator[None]:
    """Let a process have only a few descriptors more, or no new one at all."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = 4 if below else max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + SPARE
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def _connect(address: str | int) -> socket.socket:
    """Into the backlog, whether anybody looks there or not."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(5)
    sock.connect(address if isinstance(address, str) else ("127.0.0.1", address))
    return sock


def _back(address: str | int) -> float:
    """Seconds until somebody new is answered."""
    began = time.monotonic()
    with _connect(address) as sock:
        hello = b'{"type": "init", "role": "script"}\n'
        sock.sendall(hello if isinstance(address, str) else b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(100)
    return time.monotonic() - began


def _full(pid: int) -> bool:
    limit, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return limit - len(os.listdir(f"/proc/{pid}/fd")) <= limit // 8


def _worked(pid: int) -> float:
    """Seconds that a process has worked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
