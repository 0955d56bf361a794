"""The example of seven roles, run small, on the server of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.fleet import Fleet

EXAMPLE = Path(__file__).parents[2] / "examples" / "nightly"
ROLES = ("notification", "database", "infrastructure", "toga", "togadesk", "sync", "catalog")


def test_a_killed_node_is_replaced_and_the_day_is_drawn(fleet: Fleet, tmp_path: Path) -> None:
    picture = tmp_path / "day.svg"
    words = [sys.executable, "nightly.py", "--nodes", "2", "--seconds", "4", "--output", str(picture)]
    done = subprocess.run(
        words, cwd=EXAMPLE, env={**os.environ, "STORE": fleet.url()}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = done.stdout.split("killing node-1")
    assert sorted(re.findall(r"^  (\w+) +node-[12]$", before, re.M)) == sorted(ROLES)
    assert re.findall(r"^  (\w+) +node-2$", after, re.M) == list(ROLES)
    assert "taken over within" in after
    runs = re.search(r"^runs: .*?(\d+) ok", after, re.M)
    assert runs is not None
    assert int(runs[1]) > 5
    assert b"</svg>" in picture.read_bytes()
