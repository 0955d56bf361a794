"""``python -m stoker.entry.probe ROOT TARGET…``: imports an application as the zygote would, and says what is in it.

A process of its own, so that whatever the application does when it is imported is done elsewhere. The answer is one
JSON object on standard output; what the application prints goes to standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from stoker.model.errors import AppError
from stoker.run.preload import Application


class Found(msgspec.Struct):
    """The commands of an application, or why it cannot be loaded."""

    commands: list[str] = []
    seconds: float = 0.0
    error: str | None = None


def main() -> int:
    answer = os.dup(1)
    os.dup2(2, 1)
    application = Application(sys.argv[2:], Path(sys.argv[1]))
    try:
        application.load()
        found = Found(sorted(application.commands), round(application.seconds, 3))
    except AppError as error:
        found = Found(error=error.message)
    os.write(answer, msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
