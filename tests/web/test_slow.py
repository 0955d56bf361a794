"""One who reads a kilobyte a second beside many who read: neither is the other's loss."""

from __future__ import annotations

import selectors
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.daemon import until
from tests.web.conftest import MakeSite
from tests.web.site import Site, parsed

READERS = 500
EVENTS, WARM, PAUSE = 50, 10, 0.04
SAID = 6000
"""How often the job streams a piece and says how far it is: more than a line to one who does not read can hold."""
SLOWLY, PIECE = 1.0, 1024
GROWN_MOST = 50 << 20


class Crowd(threading.Thread):
    """Many who read whatever comes, and how long each event took to them."""

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self._selector = selectors.DefaultSelector()
        self._rest: dict[int, bytes] = {}
        self._done = False
        self.seconds: list[float] = []
        token, port = site.token("crowd"), getattr(site, "native", site.port)
        self.raws = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(READERS)]
        for number, raw in enumerate(self.raws):
            raw.sendall(_head(token, f"c{number}", "audience"))
            raw.setblocking(False)
            self._selector.register(raw, selectors.EVENT_READ)
        self.start()

    def run(self) -> None:
        while not self._done:
            for key, _ in self._selector.select(0.2):
                assert isinstance(key.fileobj, socket.socket)
                data = self._rest.get(key.fd, b"") + key.fileobj.recv(65536)
                now = time.monotonic()
                *lines, self._rest[key.fd] = data.split(b"\n")
                for line in lines:
                    if b'"beat"' in line:
                        self.seconds.append(now - msgspec.json.decode(line.removeprefix(b"data: "))["data"])

    def beat(self, site: Site, events: int = EVENTS) -> list[float]:
        """Push some events, and wait until everybody has them; what each took, in order of size."""
        self.seconds.clear()
        for _ in range(events):
            site.daemon.client.send_to_all("web", "crowd", "beat", time.monotonic())
            time.sleep(PAUSE)
        until(lambda: len(self.seconds) == events * READERS, 60, "everybody has all of them")
        return sorted(self.seconds)

    def close(self) -> None:
        self._done = True
        self.join(10)
        for raw in self.raws:
            raw.close()
        self._selector.close()


def test_a_slow_reader_beside_many(make_site: MakeSite) -> None:  # live-and-dashboard 7.5
    site = make_site("live")
    crowd = Crowd(site)
    try:
        until(lambda: site.tabs() == READERS, 60, "all are there")
        me = site.client("slow")
        command = {"command": "live.count", "input": {"upto": SAID}}
        id = me.post("/jobs", json=command).json()["id"]
        assert me.get(f"/jobs/{id}/wait?seconds=120").json()["status"] == "completed"
        crowd.beat(site, WARM)
        alone = crowd.beat(site)
        size = _rss(site.child)
        with Slow(site, id) as slow:
            until(lambda: slow.data, what="the slow one is told something")
            crowd.beat(site, WARM)  # meanwhile the daemon has told the bridge what the job said
            beside = crowd.beat(site)
            grown = _rss(site.child) - size
            heard = len(slow.data)
            assert not slow.closed, "who takes something is not sent away"
            slow.hurry.set()
            until(lambda: slow.closed, 60, "the slow one reads the rest")
        for name, found in (("alone", alone), ("beside a slow one", beside)):
            p50, p99 = (1000 * statistics.quantiles(found, n=100)[at] for at in (49, 98))
            print(f"{READERS} readers {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        print(f"the slow one had {heard} bytes meanwhile, of {len(slow.data)}; the bridge grew by {grown >> 10} KB")
    finally:
        crowd.close()
    assert grown < GROWN_MOST
    events = slow.events(id)
    assert [event["data"] for event in events if event["event"] == "chunk"] == [f"{n} " for n in range(SAID)]
    progress = [event["data"]["percent"] for event in events if event["event"] == "progress"]
    assert progress[-1] == 100
    assert progress == sorted(progress)
    assert len(progress) < SAID / 2, "of what tells a state, the newest"


class Slow(threading.Thread):
    """Reads a kilobyte a second of what a job says, until it is told to hurry."""

    def __init__(self, site: Site, job: str) -> None:
        super().__init__(daemon=True)
        self.data = bytearray()
        self.closed = False
        self.hurry = threading.Event()
        port = getattr(site, "native", site.port)
        self._raw = socket.socket()
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._raw.settimeout(20)
        self._raw.connect(("127.0.0.1", port))
        self._raw.sendall(_head(site.token("slow"), "slow", f"job:{job}"))
        self._end = f'"topic":"job:{job}","status"'.encode()

    def run(self) -> None:
        while self._end not in self.data and (more := self._raw.recv(1 << 16 if self.hurry.is_set() else PIECE)):
            self.data += more
            self.hurry.wait(SLOWLY)
        self.closed = True

    def events(self, job: str) -> list[Any]:
        text = self.data.partition(b"\r\n\r\n")[2].decode()
        return [event.data for event in parsed(iter(text.split("\n"))) if event.kind == "message"]

    def __enter__(self) -> Slow:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hurry.set()
        self._raw.close()
        self.join(10)


def _head(token: str, instance: str, topics: str) -> bytes:
    # HTTP/1.0: the body as it is, without chunks
    lines = [f"GET /events?instance={instance}&topics={topics} HTTP/1.0", "Host: localhost",
             f"Authorization: Bearer {token}"]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
