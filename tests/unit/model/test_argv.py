"""Argument lists of programs: a value is one argument, whatever is in it."""

from __future__ import annotations

from typing import Any

import pytest

from stoker import Product
from stoker.model import argv
from stoker.model.errors import AppError, InvalidInput


def test_a_template_takes_whole_arguments() -> None:
    product = Product("images")
    thumbnail = product.script("thumbnail", ["convert", "{input.path}", "-resize", "{input.size}"], timeout=5)
    assert thumbnail(path="a b;c", size=3) == ["convert", "a b;c", "-resize", "3"]
    assert (thumbnail.spec.name, thumbnail.spec.script, thumbnail.spec.timeout) == ("images.thumbnail", "exit", 5.0)
    with pytest.raises(InvalidInput, match="size"):
        thumbnail.signature.pack((), {"path": "a"})
    with pytest.raises(InvalidInput, match="path"):
        thumbnail.signature.pack((), {"path": None, "size": 1})


@pytest.mark.parametrize("value", ["-rf", "--", "-", "a\0b"])
def test_a_value_that_a_program_would_misread_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="path"):
        argv.template("list", ["ls", "{input.path}"])(path=value)


def test_a_number_may_be_negative() -> None:
    assert argv.template("go", ["seq", "{input.first}"])(first=-3) == ["seq", "-3"]


@pytest.mark.parametrize(
    "parts", [[], ["{input.program}"], ["ls", "--color={input.when}"], ["ls", "{input.a-b}"], ["ls", 3]]
)
def test_a_list_that_makes_no_sense_is_refused_when_it_is_written(parts: Any) -> None:
    with pytest.raises(AppError, match="script list"):
        Product("images").script("list", parts)


@pytest.mark.parametrize("found", ["ls -l", [], [1], None, ["ls", "a\0b"]])
def test_a_handler_returns_a_list_of_texts(found: Any) -> None:
    with pytest.raises(InvalidInput):
        argv.checked(found)


def test_a_result_is_one_of_two() -> None:
    with pytest.raises(AppError, match="'xml' is none of exit, json"):
        Product("images").script("list", ["ls"], result="xml")
