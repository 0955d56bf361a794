"""Named places where a test may let lightning strike.

Inert unless the environment says otherwise when the process starts:

    STOKER_FAILPOINTS="after-claim:kill before-settle:stop@3"

``kill`` is SIGKILL to oneself, ``stop`` is SIGSTOP (a pause that a test ends by SIGCONT), ``@3`` means at the third
time. The names mark the steps of a job's way: ``after-submit``, ``before-claim``, ``after-claim``, ``before-settle``,
``after-settle``, ``before-reap``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

_ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _nothing(_name: str) -> None:
    pass


def _armed(text: str) -> Callable[[str], None]:
    plans: dict[str, tuple[signal.Signals, int]] = {}
    for word in text.split():
        name, _, action = word.partition(":")
        kind, _, at = action.partition("@")
        plans[name] = (_ACTIONS[kind], int(at or 1))
    seen: dict[str, int] = {}

    def strike(name: str) -> None:
        if name in plans:
            seen[name] = seen.get(name, 0) + 1
            if seen[name] == plans[name][1]:
                os.kill(os.getpid(), plans[name][0])

    return strike


_text = os.environ.get("STOKER_FAILPOINTS", "")
hit: Callable[[str], None] = _armed(_text) if _text else _nothing
"""Pass a named place."""
