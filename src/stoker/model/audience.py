"""Who events are for: the roles of processes and clients, the addresses of browser tabs, and what is pushed to them.

    user ──► session ──► instance         "u7" ──► a login ──► a tab

An address names a subtree: all tabs of a user, those of one session, or one tab. User ``0`` is everybody.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from stoker.model import ids
from stoker.model.errors import PayloadTooLarge, RequestError
from stoker.model.quantities import show_size

EVERYBODY = "0"
"""The user that stands for all of them; nobody is called so."""
NAME_MAX = 256
"""Characters of a user, a session, an instance, or the name of an event at most."""
DATA_MAX = 64 << 10
"""Bytes of the data of one pushed event at most."""
NOTIFICATION = "notification"
"""The event that :func:`notification` makes."""


class Roles(StrEnum):
    """What a process or a client is. Events can be pushed to ``web``, browsers, and to ``script``."""

    router = "router"
    zygote = "zygote"
    consumer = "consumer"
    resident = "resident"
    job = "job"
    script = "script"
    web = "web"


REACHED = (Roles.web, Roles.script)
"""Roles that events can be pushed to."""


class Level(StrEnum):
    """How much a notification matters."""

    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


class Tab(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One browser tab: the full address."""

    user: str
    session: str
    instance: str

    def check(self) -> None:
        """Raises :class:`RequestError` for what is no address of a tab."""
        for what, name in (("user", self.user), ("session", self.session), ("instance", self.instance)):
            check_name(what, name)
        not_everybody(self.user)


class Address(msgspec.Struct, frozen=True):
    """The tabs that an event is for. None: all of them."""

    user: str = EVERYBODY
    session: str | None = None
    instance: str | None = None

    def check(self) -> None:
        """Raises :class:`RequestError` for an address that names no subtree."""
        check_name("user", self.user)
        if self.session is not None:
            check_name("session", self.session)
            if self.user == EVERYBODY:
                raise RequestError("a session belongs to a user: name both")
        if self.instance is not None:
            check_name("instance", self.instance)
            if self.session is None:
                raise RequestError("an instance belongs to a session: name both")

    def holds(self, tab: Tab) -> bool:
        """Whether the tab is one of these."""
        if self.user == EVERYBODY:
            return True
        return (
            self.user == tab.user
            and self.session in (None, tab.session)
            and self.instance in (None, tab.instance)
        )  # fmt: skip


class NewMessage(msgspec.Struct, frozen=True):
    """An event to be pushed. ``id`` is the sender's: sent again, it is the same message. ``data`` is JSON."""

    id: str
    role: str
    to: Address
    event: str
    data: bytes

    def check(self) -> None:
        """Raises a :class:`RequestError` that says what to change."""
        self.to.check()
        check_name("event", self.event)
        check_name("id", self.id)
        if self.role not in REACHED:
            raise RequestError(f"events are pushed to {' or '.join(REACHED)}, not to {self.role!r}")
        if len(self.data) > DATA_MAX:
            raise PayloadTooLarge(
                f"the data of an event have more than {show_size(DATA_MAX)}; store them somewhere and send their name"
            )


class Message(msgspec.Struct, frozen=True):
    """A pushed event as it is stored. ``offset`` is the cursor to read on from, ``at`` is by the store's clock."""

    offset: int
    at: float
    role: str
    to: Address
    event: str
    data: msgspec.Raw


def check_name(what: str, name: str) -> None:
    """Raises :class:`RequestError`."""
    if not 1 <= len(name) <= NAME_MAX or "\x00" in name:
        raise RequestError(f"{what} has 1 to {NAME_MAX} characters, none of them NUL")


def user_name(user: object) -> str:
    """A user's id as the text that it is everywhere: 7 is ``"7"``. Raises :class:`RequestError` for what is neither
    text nor a whole number."""
    if isinstance(user, str):
        return user
    if isinstance(user, int) and not isinstance(user, bool):
        return str(user)
    raise RequestError(f"a user is text or a whole number, not {type(user).__name__}")


def not_everybody(user: str) -> None:
    """Raises :class:`RequestError` for the user that stands for all of them."""
    if user == EVERYBODY:
        raise RequestError(f"the user {EVERYBODY!r} is everybody, and nobody in particular")


def push(
    role: str, user: str | int, event: str, data: Any, session: str | None, instance: str | None, pulse: bool
) -> dict[str, Any]:
    """The parameters of the method ``send_to_all``, with an id of their own, so that they may be sent twice."""
    asked: dict[str, Any] = {"role": str(role), "user": user_name(user), "event": event, "data": data}
    named = {"id": ids.new_job_id(), "session": session, "instance": instance, "pulse": pulse or None}
    return asked | {name: value for name, value in named.items() if value is not None}


def notification(user: str | int, message: str, title: str | None, level: str, data: Any) -> dict[str, Any]:
    """The parameters of the method ``notify_now``, in the same way."""
    asked: dict[str, Any] = {"user": user_name(user), "message": message, "level": str(level), "id": ids.new_job_id()}
    named = {"title": title, "data": data}
    return asked | {name: value for name, value in named.items() if value is not None}
