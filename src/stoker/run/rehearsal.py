"""A job that does nothing, run for practice.

The zygote rehearses until Python has prepared all that it prepares at first use. A consumer, forked ahead and with
nothing to do yet, rehearses once: the pages that a job touches are then its own before the job is there (measured: the
page faults of a first run are more than half of the time from the job's arrival to its handler).
"""

from __future__ import annotations

from typing import Any

from stoker.model.command import Command
from stoker.model.definition import define
from stoker.model.ids import NO_JOB
from stoker.run.executor import Run, execute
from stoker.run.line import NoAnswers
from stoker.wire import frames
from stoker.wire.frames import Assign


class Silence(NoAnswers):
    """The line of a rehearsal: nobody listens."""

    def send(self, frame: Any) -> None:
        pass


def _nothing() -> None:
    pass


_COMMAND: Command[..., None] = Command(_nothing, *define("stoker", _nothing))
_ASSIGN = Assign(0, NO_JOB, _COMMAND.name, b"{}", 1, 1, None, (), None, None, 0)


def rehearse(times: int, result_max: int) -> None:
    """Go a job's way ``times`` times."""
    for _ in range(times):
        (assign,) = frames.TO_RUNNER.decode(frames.encode((_ASSIGN,))[frames.HEAD.size :])
        run = Run(assign, Silence(), result_max)
        execute(run, lambda: {_COMMAND.name: _COMMAND})
        frames.encode((run.ended,))
