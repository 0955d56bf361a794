"""Schedule files and scripts, put into the folder of a daemon."""

from __future__ import annotations

import json
from typing import Any

from tests.daemon import Daemon


def put(daemon: Daemon, entries: list[dict[str, Any]] | str, name: str = "cron.demo.json") -> None:
    """Write a schedule file: entries, or whatever text."""
    path = daemon.folder / "schedules" / name
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries, indent=1))
    path.chmod(0o644)


def script(daemon: Daemon, name: str, text: str) -> None:
    """Write a script into its folder."""
    path = daemon.folder / "crons" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
