"""What the tests of the bridge find without importing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fixtures import pytest_runtest_makereport
from tests.web.site import Site

__all__ = ["pytest_runtest_makereport"]

MakeSite = Callable[..., Site]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A daemon with a bridge that the tests of one module share."""
    shared = Site("story")
    try:
        yield shared.start()
    finally:
        shared.close()


@pytest.fixture
def make_site() -> Iterator[MakeSite]:
    """Start some of one's own; all are gone after the test."""
    made: list[Site] = []

    def start(*apps: str, begin: bool = True, **options: Any) -> Site:
        made.append(Site(*apps, **options))
        return made[-1].start() if begin else made[-1]

    yield start
    for each in made:
        each.close()
