"""What a test needs of its machine: without it the test is skipped with a clear word, except in CI, where it fails."""

from __future__ import annotations

import os
import shutil

import pytest


def in_ci() -> bool:
    """Whether this run must skip nothing that it could have installed."""
    return bool(os.environ.get("CI") or os.environ.get("STOKER_CI"))


def unavailable(reason: str) -> BaseException:
    """What to raise: the test is skipped for this reason; in CI it fails."""
    return pytest.fail.Exception(reason, pytrace=False) if in_ci() else pytest.skip.Exception(reason)


def need_tools(*names: str, hint: str) -> None:
    """Go on only where these programs are installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise unavailable(f"{', '.join(missing)} not installed; {hint}")
