"""Errors: one tree, drawn as it is, and every leaf finds its way over the wire."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from stoker.model import errors
from stoker.model.errors import StokerError, from_code


def ours(root: type[StokerError] = StokerError) -> Iterator[type[StokerError]]:
    """The classes of the module, in the order of the tree."""
    if root.__module__ == errors.__name__:
        yield root
        for child in root.__subclasses__():
            yield from ours(child)


def drawn() -> list[tuple[int, str]]:
    """Depth and name of each line of the tree in the module's docstring."""
    found = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if match:
            found.append((len(match[1]) // 4, match[2]))
    return found


def real(root: type[StokerError] = StokerError, depth: int = 0) -> list[tuple[int, str]]:
    below = [line for child in root.__subclasses__() if child in set(ours()) for line in real(child, depth + 1)]
    return [(depth, root.__name__), *below]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert drawn() == real()
    assert len(drawn()) > 25


def test_each_code_names_one_error() -> None:
    codes = [kind.code for kind in ours()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z_]+", code) for code in codes)


@pytest.mark.parametrize("kind", list(ours()), ids=lambda kind: kind.code)
def test_an_error_is_the_same_on_the_other_side_of_the_wire(kind: type[StokerError]) -> None:
    there = kind("what went wrong")
    here = from_code(there.code, there.message)
    assert type(here) is kind
    assert (here.message, str(here)) == ("what went wrong", "what went wrong")


@pytest.mark.parametrize("kind", list(ours()), ids=lambda kind: kind.code)
def test_an_error_explains_itself(kind: type[StokerError]) -> None:
    assert kind().message == (kind.__doc__ or "").strip()
    assert kind().message


def test_a_code_from_a_newer_version_is_still_an_error() -> None:
    found = from_code("not_known_yet", "something new")
    assert type(found) is StokerError
    assert found.message == "something new"
