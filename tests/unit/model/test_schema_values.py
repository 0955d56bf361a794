"""What a handler gives back, written as JSON; and what is refused with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.errors import InvalidInput
from stoker.model.schema import JsonCodec, Signature

DEEP = b"[" * 100_000 + b"]" * 100_000


class Model(pydantic.BaseModel):
    path: str
    count: int = 3
    tags: list[str] = []


class Struct(msgspec.Struct):
    path: str
    count: int = 3
    tags: list[str] = []


@dataclasses.dataclass
class Data:
    path: str
    count: int = 3
    tags: list[str] = dataclasses.field(default_factory=list)


def of(handler: Callable[..., Any]) -> Signature:
    return Signature.of(handler)


# ── what is given back ───────────────────────────────────────────────────────────────────────────────────────────────


def gives_model() -> Model: ...  # type: ignore[empty-body]
def gives_struct() -> Struct: ...  # type: ignore[empty-body]
def gives_data() -> Data: ...  # type: ignore[empty-body]
def gives_int() -> int: ...  # type: ignore[empty-body]
def gives_none() -> None: ...
def gives_many() -> list[Model]: ...  # type: ignore[empty-body]
def gives_any() -> Any: ...


GOOD: list[tuple[Callable[..., Any], Any, bytes]] = [
    (gives_model, Model(path="a", count=1), b'{"path":"a","count":1,"tags":[]}'),
    (gives_struct, Struct("a", 1), b'{"path":"a","count":1,"tags":[]}'),
    (gives_data, Data("a", 1), b'{"path":"a","count":1,"tags":[]}'),
    (gives_int, 5, b"5"),
    (gives_none, None, b"null"),
    (gives_many, [Model(path="a", count=1)], b'[{"path":"a","count":1,"tags":[]}]'),
    (gives_any, {"x": Model(path="a"), "y": Path("p")}, b'{"x":{"path":"a","count":3,"tags":[]},"y":"p"}'),
    (gives_any, float("nan"), b"null"),
]


@pytest.mark.parametrize(("handler", "value", "data"), GOOD)
def test_a_value_of_the_declared_type_is_written(handler: Callable[..., Any], value: Any, data: bytes) -> None:
    assert of(handler).output.encode(value) == data


class Odd:
    pass


loop: list[Any] = []
loop.append(loop)

BAD: list[tuple[Callable[..., Any], Any]] = [
    (gives_model, {"count": "x"}),
    (gives_struct, Data(path=5)),  # type: ignore[arg-type]
    (gives_struct, {"count": 1}),
    (gives_int, "five"),
    (gives_none, 5),
    (gives_many, [Odd()]),
    (gives_any, Odd()),
    (gives_any, loop),
    (gives_any, {"text": "\udcff"}),
    (gives_any, {(1, 2): 3}),
    (gives_model, Model.model_construct(path="\udcff")),
]


@pytest.mark.parametrize(("handler", "value"), BAD, ids=lambda value: getattr(value, "__name__", type(value).__name__))
def test_any_other_value_is_refused_as_such(handler: Callable[..., Any], value: Any) -> None:
    with pytest.raises(InvalidInput):
        of(handler).output.encode(value)


def test_json_that_is_none_is_refused_as_such() -> None:
    for data in (b"", b"{", b"\xff", DEEP):
        with pytest.raises(InvalidInput):
            JsonCodec().decode(data)


SIMPLE = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()
VALUES = st.recursive(SIMPLE, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(VALUES)
def test_what_is_json_goes_there_and_back(value: Any) -> None:
    assert JsonCodec().decode(JsonCodec().encode(value)) == value
