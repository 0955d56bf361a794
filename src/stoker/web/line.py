"""What our own server tells of a connection beyond ASGI."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    from stoker.web.stream import Stream

CONNECTION = "stoker.connection"


class Line(Protocol):
    """The connection of a request."""

    def when_lost(self, call: Callable[[], None]) -> None:
        """Call this as soon as the other side is gone."""

    def abort(self) -> None:
        """End it now, whatever was not read yet. Closing would wait for that, and who does not read waits for ever."""


@runtime_checkable
class Carrier(Line, Protocol):
    """A connection that writes a stream by itself, without a task for it."""

    def carry(self, stream: Stream, *, plain: bool) -> None:
        """Take it over, when the head of the answer was sent; the connection closes it, too. ``plain``: of one job, for
        an EventSource that knows nothing of topics."""


def line(scope: Any) -> Line | None:
    """The connection of this scope; None under another server."""
    return cast("Line | None", (scope.get("state") or {}).get(CONNECTION))
