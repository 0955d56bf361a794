"""A catalog: each name once."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.model.command import Command
from stoker.model.definition import define
from stoker.model.errors import AppError
from stoker.model.product import Catalog


def work() -> None: ...
def other() -> None: ...


def made(function: Any, name: str = "work") -> Command[Any, Any]:
    return Command(function, *define("app", function, name=name))


def test_commands_are_found_by_their_full_name_in_the_order_they_came() -> None:
    catalog = Catalog("app")
    first, second = made(work), made(other, "other")
    catalog.add(first)
    catalog.add(second)
    assert list(catalog) == [first, second]
    assert catalog.commands == {"app.work": first, "app.other": second}
    assert repr(catalog) == "<product app: 2 commands>"


def test_a_name_is_taken_once() -> None:
    catalog = Catalog("app")
    catalog.add(made(work))
    with pytest.raises(AppError, match=r"app\.work is registered twice: in .*\.work and in .*\.other"):
        catalog.add(made(other))


def test_the_same_function_read_anew_takes_its_own_place() -> None:
    catalog = Catalog("app")
    catalog.add(made(work))
    again = made(work)
    catalog.add(again)
    assert list(catalog) == [again]


def test_what_is_handed_out_is_a_copy() -> None:
    catalog = Catalog("app")
    catalog.commands["app.odd"] = made(work)
    assert list(catalog) == []


def test_a_product_has_a_name_that_can_be_a_name() -> None:
    with pytest.raises(AppError, match="name of a product"):
        Catalog("my app")
