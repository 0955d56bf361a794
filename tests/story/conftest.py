"""Daemons for the story tests, and what they logged when a test fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.daemon import Daemon

Make = Callable[..., Daemon]


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
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if report.failed:
        for daemon in Daemon.started:
            report.sections.append((f"log of {daemon.folder}", daemon.log()[-3000:]))
    return report
