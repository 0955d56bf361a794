"""Captured output: what a job writes to its stdout and stderr, whoever writes it there, in bounds."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import Callable

import msgspec

from stoker.model.event import EventKind
from stoker.router.jobs.attempt import Attempt

READ = 1 << 16
DRAIN_MAX = 64
"""Pieces read at the end at most: more than a pipe holds, so that a writer left behind cannot hold us up."""


class Pipe:
    """The reading end of one stream of one process. Text is kept as it comes; past the job's bound it is read and
    dropped, with one mark where it was cut, so that a flood costs no memory and never blocks the job."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        kind: EventKind,
        clock: Callable[[], float],
        on_stray: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._kind = kind
        self._clock = clock
        self._on_stray = on_stray
        self._fd, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._attempt: Attempt | None = None
        self._listening = False

    def attach(self, attempt: Attempt) -> None:
        """From now on what comes is said by this attempt."""
        self._attempt = attempt
        self.listen()

    def listen(self) -> None:
        if self._fd >= 0 and not self._listening:
            self._listening = True
            self._loop.add_reader(self._fd, self.read)

    def hush(self) -> None:
        if self._listening:
            self._listening = False
            self._loop.remove_reader(self._fd)

    def read(self) -> None:
        """Take what is there, one piece at a time so that a flood does not hold up the loop."""
        try:
            data = os.read(self._fd, READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.hush()
            return
        self._keep(data)

    def drain(self) -> None:
        """Take what is there: the process has said how it ended, or is gone."""
        for _ in range(DRAIN_MAX):
            try:
                data = os.read(self._fd, READ) if self._fd >= 0 else b""
            except OSError:
                break
            if not data:
                break
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        attempt = self._attempt
        if attempt is None:
            self._on_stray(self._decoder.decode(data))
            return None
        room = attempt.room
        if room <= 0:
            return attempt.cut(self._clock())
        kept = data[:room]
        text = self._decoder.decode(kept)
        if text:
            attempt.say(self._kind, self._clock(), msgspec.json.encode(text), len(kept))
        if len(data) > room:
            attempt.cut(self._clock())
        return None

    def give_writer(self) -> int:
        """The end for the process; whoever takes it closes it."""
        writer, self._writer = self._writer, -1
        return writer

    def close(self) -> None:
        self.hush()
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
