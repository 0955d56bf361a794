"""Fixtures that story and crash tests share: daemons of one's own, and their logs when a test fails."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from tests.daemon import Daemon

Make = Callable[..., Daemon]
LOG_SHOWN = 3000
"""Characters of a log that a failing test shows."""


@pytest.fixture
def make() -> Iterator[Make]:
    """Start daemons of one's own; all are gone after the test."""
    made: list[Daemon] = []

    def start(*apps: str, begin: bool = True, **options: Any) -> Daemon:
        made.append(Daemon(*apps, **options))
        return made[-1].start() if begin else made[-1]

    yield start
    for daemon in made:
        daemon.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for daemon in Daemon.started:
            report.sections.append((f"log of {daemon.folder}", daemon.log()[-LOG_SHOWN:]))
    return report
