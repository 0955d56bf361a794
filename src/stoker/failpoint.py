"""Named places where a test may let lightning strike.

Inert unless the environment says otherwise when the process starts:

    STOKER_FAILPOINTS="after-claim:kill before-settle:stop@3 after-submit:kill=/tmp/charge"

``kill`` is SIGKILL to oneself, ``stop`` is SIGSTOP (a pause that a test ends by SIGCONT), ``@3`` means at the third
time. A strike with a file after ``=`` happens only while that file is there, and takes it away: so a test can arm it
when all is ready, and the process that is started in the place of the killed one is spared. The names mark the steps of
a job's way: ``after-submit``, ``before-claim``, ``after-claim``, ``before-settle``, ``after-settle``, ``before-reap``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NamedTuple

_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _nothing(_name: str) -> None:
    pass


class _Plan(NamedTuple):
    number: signal.Signals
    at: int
    charge: str

    def ready(self) -> bool:
        return not self.charge or os.path.exists(self.charge)

    def strike(self) -> None:
        if self.charge:
            os.unlink(self.charge)
        os.kill(os.getpid(), self.number)


def _armed(text: str) -> Callable[[str], None]:
    plans: dict[str, _Plan] = {}
    for word in text.split():
        name, _, action = word.partition(":")
        action, _, charge = action.partition("=")
        kind, _, at = action.partition("@")
        plans[name] = _Plan(_ACTIONS[kind], int(at or 1), charge)
    seen: dict[str, int] = {}

    def pass_by(name: str) -> None:
        plan = plans.get(name)
        if plan is None or not plan.ready():
            return
        seen[name] = seen.get(name, 0) + 1
        if seen[name] == plan.at or (plan.charge and seen[name] > plan.at):
            plan.strike()

    return pass_by


_text = os.environ.get("STOKER_FAILPOINTS", "")
hit: Callable[[str], None] = _armed(_text) if _text else _nothing
"""Pass a named place."""
