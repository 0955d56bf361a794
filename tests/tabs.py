"""A bridge with nothing but a socket: what speaks for browsers, as the router sees it."""

from __future__ import annotations

import itertools
from typing import Any

from tests.daemon import Daemon
from tests.raw import RawClient


class Bridge(RawClient):
    """One connection of the role ``web``. Events that come between answers are kept in ``events``."""

    def __init__(self, daemon: Daemon, timeout: float = 20.0) -> None:
        super().__init__(str(daemon.settings.socket_path), timeout)
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []
        self.send({"type": "init", "role": "web"})
        assert self.receive()["type"] == "init"

    def __enter__(self) -> Bridge:
        return self

    def ask(self, method: str, who: dict[str, Any] | str | None = None, **params: Any) -> dict[str, Any]:
        """The whole answer; ``who`` may be the user alone."""
        number = next(self._numbers)
        asked: dict[str, Any] = {"type": "call", "id": number, "method": method, "params": params}
        if who is not None:
            asked["who"] = {"user": who} if isinstance(who, str) else who
        self.send(asked)
        while (message := self.receive()).get("id") != number:
            self.events.append(message)
        return message

    def code(self, method: str, who: dict[str, Any] | str | None = None, **params: Any) -> str:
        """The code of the error that a call is answered with; "" for none."""
        return str(self.ask(method, who, **params).get("code", ""))

    def attach(self, *tab: str) -> dict[str, Any]:
        user, session, instance = tab
        return dict(self.ask("attach", user=user, session=session, instance=instance)["data"])

    def detach(self, *tab: str) -> bool:
        user, session, instance = tab
        return bool(self.ask("detach", user=user, session=session, instance=instance)["data"])

    def next(self) -> dict[str, Any]:
        """The next event."""
        if self.events:
            return self.events.pop(0)
        message = self.receive()
        assert message["type"] == "event", message
        return message

    def until(self, event: str) -> list[dict[str, Any]]:
        """The events before one of this name, which is taken, too."""
        found = []
        while (message := self.next())["event"] != event:
            found.append(message)
        return found
