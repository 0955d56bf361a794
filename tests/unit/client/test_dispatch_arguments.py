"""What makes no sense to a dispatch is one sentence that names the argument, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from stoker import Buffer, Dispatcher, Product, settings
from stoker.model.errors import BufferMoved, InvalidBuffer, InvalidInput

darkroom = Product("darkroom")


@darkroom.command
def size(pixels: Buffer) -> int:
    return len(pixels)


@darkroom.command
def double(left: int = 1) -> int:
    return 2 * left


@pytest.fixture
def to(tmp_path: Path) -> Iterator[Dispatcher]:
    """Where nobody listens: everything runs inline."""
    made = Dispatcher(settings=settings.load({"root": str(tmp_path)}, environ={}))
    yield made
    made.close()


WRONG: dict[str, tuple[Callable[[Dispatcher], Any], str]] = {
    "has_worker None": (
        lambda to: to.has_worker(cast(Any, None)),
        "product: a Product or its name is needed, not None",
    ),
    "has_worker 3": (lambda to: to.has_worker(cast(Any, 3)), "product: a Product or its name is needed, not 3"),
    "product": (
        lambda to: to.dispatch(cast(Any, None), "double"),
        "product: a Product or its name is needed, not None",
    ),
    "action": (
        lambda to: to.dispatch("darkroom", cast(Any, None)),
        "action: the name of a command is needed, not None",
    ),
    "timeout x": (lambda to: to.dispatch(darkroom, "double", timeout="x"), "timeout: 'x' is not a duration"),
    "timeout 0": (lambda to: to.dispatch(darkroom, "double", timeout=0), "timeout: must be more than 0"),
    "timeout nan": (lambda to: to.call(double, timeout=float("nan")), "timeout: a duration is a number of seconds"),
    "timeout list": (lambda to: to.call(double, timeout=[1]), r"timeout: a duration is needed, not \[1\]"),
    "fallback": (lambda to: to.call(double, fallback=5), "fallback: 5 is none of inline, wait, error"),
}
INTO = "transfer takes a list of Buffers, as in"


@pytest.mark.parametrize("wrong", WRONG)
def test_the_argument_is_named(to: Dispatcher, wrong: str) -> None:
    ask, told = WRONG[wrong]
    with pytest.raises(InvalidInput, match=told):
        ask(to)


def test_times_are_written_as_everywhere(to: Dispatcher) -> None:
    assert to.dispatch("darkroom", "double", {"left": 4}, timeout="2s") == 8


def test_what_is_transferred_is_a_list(to: Dispatcher) -> None:
    buffer = Buffer(3)
    for transfer in (buffer, 5):
        with pytest.raises(InvalidBuffer, match=INTO):
            to.dispatch("darkroom", "size", {"pixels": buffer}, transfer)  # type: ignore[arg-type]
    assert not buffer.moved
    assert to.dispatch("darkroom", "size", {"pixels": buffer}, [buffer]) == 3
    with pytest.raises(BufferMoved):
        buffer.view()
