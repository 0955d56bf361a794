"""What every test finds without importing it: real servers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.postgres import Server, server

# how wide somebody's terminal is must not decide how a table is cut
os.environ.pop("COLUMNS", None)
# a shell that starts the run in the background has it ignore what Ctrl-C and Ctrl-\\ send, and all its children with it
for number, normal in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, normal)

Fresh = Callable[..., Server]


def pytest_configure(config: pytest.Config) -> None:
    """Native tracebacks on 3.11, which may fail to parse a source (AST constructor recursion depth mismatch):
    pytest parses them to show a failure, dies of it, and takes every report of the run with it."""
    if sys.version_info < (3, 12) and config.option.tbstyle == "auto":
        config.option.tbstyle = "native"


@pytest.fixture(scope="session")
def postgres() -> Server:
    """The one PostgreSQL server of this run. Make a schema or a database of your own in it; never stop it."""
    return server()


@pytest.fixture
def fresh_postgres() -> Iterator[Fresh]:
    """Start servers of one's own, to stop, kill and reconfigure; all are gone after the test."""
    made: list[Server] = []

    def start(**options: Any) -> Server:
        made.append(Server(**options))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.close()
