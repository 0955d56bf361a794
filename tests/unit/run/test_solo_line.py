"""How a run that has its process to itself hears what the router announces by a signal."""

from __future__ import annotations

import signal
import socket
from typing import Any

import pytest

from stoker.model.interrupt import CancelRequested
from stoker.run.consumer import POKE, SoloLine
from stoker.wire.channel import Channel
from stoker.wire.frames import FROM_RUNNER, TO_RUNNER, Interrupt
from tests.unit.run.bench import assign


class Crossed(Channel):
    """Something more comes, and is announced, in the moment after everything was read."""

    def __init__(self, sock: socket.socket, router: Channel) -> None:
        super().__init__(sock, TO_RUNNER)
        self._router = router
        self._crossed = False

    def waiting(self) -> list[Any]:
        found = super().waiting()
        if not self._crossed:
            self._crossed = True
            self._router.send(Interrupt(1, "cancel", "enough"))
            signal.raise_signal(POKE)
        return found


def test_what_is_announced_while_another_announcement_is_looked_at_is_heard() -> None:
    ours, theirs = socket.socketpair()
    before = signal.getsignal(POKE)
    with ours, theirs:
        router = Channel(ours, FROM_RUNNER)
        line = SoloLine(Crossed(theirs, router))
        router.send(assign(run=1))
        line.take()
        line.enter()
        signal.signal(POKE, line.poked)
        try:
            with pytest.raises(CancelRequested, match="enough"):
                signal.raise_signal(POKE)
        finally:
            signal.signal(POKE, before)
