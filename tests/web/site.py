"""A daemon that serves browsers, and browsers of all kinds for it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import msgspec

from stoker.model.access import Access
from stoker.web import Identity, tokens
from tests.daemon import Daemon, until

LIFE = 600.0
ANYWHERE = "http://127.0.0.1:0"


class Site:
    """A daemon with its bridge. ``web`` are settings of the table ``[web]``."""

    def __init__(self, *apps: str, settings: dict[str, Any] | None = None, **web: Any) -> None:
        chosen = {"listen": ANYWHERE, "tick": "2s", **web}
        environ = {f"STOKER_WEB_{name.upper()}": str(value) for name, value in chosen.items()}
        self.daemon = Daemon(*(apps or ("story",)), environ=environ, **(settings or {}))
        self._clients: list[httpx.Client] = []

    def start(self) -> Site:
        self.daemon.start()
        until(self._answers, what="the bridge answers")
        return self

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.daemon.close()

    def _answers(self) -> bool:
        found = re.search(r"browsers are served.*'(http://[^']+|/[^']+)'", self.daemon.log())
        return found is not None

    @property
    def base(self) -> str:
        found = re.findall(r"browsers are served.*?(http://[^']+)'", self.daemon.log())
        return str(found[-1])

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    @property
    def child(self) -> int:
        return until(lambda: self.daemon.pids("web"), what="a bridge")[0]

    def token(self, user: str = "u7", session: str = "s1", *, level: Access = "user", life: float = LIFE) -> str:
        return tokens.signer(self.daemon.settings).sign(Identity(user, session, level), life)

    def client(
        self, user: str | None = "u7", session: str = "s1", *, level: Access = "user", **options: Any
    ) -> httpx.Client:
        """Somebody with a token; nobody, for None."""
        headers = {} if user is None else {"Authorization": f"Bearer {self.token(user, session, level=level)}"}
        headers |= options.pop("headers", {})
        client = httpx.Client(base_url=self.base, headers=headers, timeout=30, trust_env=False, verify=False, **options)
        self._clients.append(client)
        return client

    def tabs(self) -> int:
        """Tabs in the router's tree."""
        found: dict[str, Any] = self.daemon.client.ask("clients", dict[str, Any])
        return int(found["tabs"])

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


class Event(NamedTuple):
    """One event as a browser gets it."""

    kind: str
    id: str
    text: str

    @property
    def data(self) -> Any:
        return msgspec.json.decode(self.text)


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Server-Sent Events by the standard's rules, as far as they are used here; comments as events of kind ``:``."""
    kind, id = "message", ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield Event(kind, id, "\n".join(data))
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                yield Event(":", id, value)
            case "event":
                kind = value
            case "id":
                id = value
            case "data":
                data.append(value)


class Tab:
    """A browser tab that listens: a thread with a stream. What came is in ``events``."""

    def __init__(self, client: httpx.Client, instance: str, topics: str = "audience", **query: Any) -> None:
        self.events: list[Event] = []
        self.closed = threading.Event()
        self.status = 0
        self.error: Exception | None = None
        self._client = client
        headers = {"Last-Event-ID": query.pop("last")} if "last" in query else {}
        params = {"instance": instance, "topics": topics, **query}
        self._opened = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(params, headers), daemon=True)
        self._thread.start()

    def _listen(self, params: dict[str, Any], headers: dict[str, str]) -> None:
        try:
            with self._client.stream("GET", "events", params=params, headers=headers) as response:
                self.status = response.status_code
                self._opened.set()
                if response.status_code != 200:
                    return
                for event in parsed(response.iter_lines()):
                    self.events.append(event)
                    if self._leave.is_set():
                        return
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            self.error = error
        finally:
            self._opened.set()
            self.closed.set()

    def open(self) -> Tab:
        """Wait for its hello."""
        self.wait(lambda: self.of("hello"), what="hello")
        return self

    def wait(self, condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
        return until(condition, seconds, f"{what or 'the condition'}; events: {self.events[-5:]}, error: {self.error}")

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    @property
    def messages(self) -> list[Any]:
        return [event.data for event in self.of("message")]

    @property
    def last(self) -> str:
        """The cursor that a browser sends when it comes again."""
        return next((event.id for event in reversed(self.events) if event.id), "")

    def named(self, event: str) -> list[Any]:
        """The data of the events of a name."""
        return [one["data"] for one in self.messages if one["event"] == event]

    def hello(self) -> Any:
        return self.of("hello")[0].data


def submit(site: Site, command: str, user: str = "u7", **input: object) -> str:
    """Submit a job of the product `story` as a user; its id."""
    answer = site.client(user).post("/jobs", json={"command": f"story.{command}", "input": input})
    return str(answer.json()["id"])
