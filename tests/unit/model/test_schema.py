"""Signatures: what a handler's types make of JSON, whoever can read them, and what is said when they cannot."""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import uuid
import warnings
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from stoker import Context
from stoker.model.errors import InvalidInput
from stoker.model.pydantic_codec import PydanticCodec
from stoker.model.schema import JsonCodec, MsgspecCodec, Signature, codec, is_record

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


class Colour(Enum):
    RED = "red"


class Shape(TypedDict):
    sides: int


def by_model(source: Model, ctx: Context) -> Model:
    return source


def by_struct(source: Struct) -> Struct:
    return source


def by_data(ctx: Context, source: Data) -> Data:
    return source


def plain(path: str, count: int = 3, tags: list[str] = []) -> dict[str, int]:  # noqa: B006  a user would write it
    return {path: count}


def untyped(path, count=3):  # type: ignore[no-untyped-def]
    return path


RECORDS: list[Callable[..., Any]] = [by_model, by_struct, by_data]


def of(handler: Callable[..., Any]) -> Signature:
    return Signature.of(handler)


# ── what is read from a signature ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("handler", "record", "context", "kind"),
    [
        (by_model, "source", "ctx", PydanticCodec),
        (by_struct, "source", None, MsgspecCodec),
        (by_data, "source", "ctx", MsgspecCodec),
        (plain, None, None, MsgspecCodec),
        (untyped, None, None, MsgspecCodec),
    ],
)
def test_who_reads_what(handler: Callable[..., Any], record: str | None, context: str | None, kind: type) -> None:
    found = of(handler)
    assert (found.record, found.context, type(found.input)) == (record, context, kind)


def in_front(ctx: Context, a: int, b: int) -> None: ...
def between(a: int, ctx: Context, b: int) -> None: ...
def behind(a: int, b: int, *, ctx: Context) -> None: ...


@pytest.mark.parametrize("handler", [in_front, between, behind])
def test_the_context_may_stand_anywhere_and_is_no_input(handler: Callable[..., Any]) -> None:
    found = of(handler)
    assert (found.context, found.parameters) == ("ctx", ("a", "b"))
    assert found.arguments(b'{"a":1,"b":2}') == {"a": 1, "b": 2}


def no_input() -> None: ...
def only_context(ctx: Context) -> None: ...


@pytest.mark.parametrize("handler", [no_input, only_context])
def test_a_handler_may_take_nothing(handler: Callable[..., Any]) -> None:
    assert of(handler).pack((), {}) == b"{}"
    assert of(handler).arguments(b"{}") == {}


# ── from a call to JSON and back ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("handler", RECORDS)
def test_a_record_may_be_given_whole_or_by_its_fields(handler: Callable[..., Any]) -> None:
    found = of(handler)
    kind = inspect.get_annotations(handler, eval_str=True)["source"]
    record = kind(path="a", count=5)
    whole = found.pack((record,), {})
    named = found.pack((), {"source": record})
    mapping = found.pack(({"path": "a", "count": 5},), {})
    fields = found.pack((), {"path": "a", "count": 5})
    for data in (whole, named, mapping, fields):
        assert found.arguments(data) == {"source": record}


@pytest.mark.parametrize("handler", RECORDS)
def test_a_record_and_its_fields_do_not_mix(handler: Callable[..., Any]) -> None:
    found = of(handler)
    with pytest.raises(InvalidInput, match="not both"):
        found.pack(({"path": "a"},), {"count": 5})


def test_plain_parameters_are_given_as_python_does() -> None:
    found = of(plain)
    assert found.arguments(found.pack(("a",), {"count": 5})) == {"path": "a", "count": 5, "tags": []}
    assert found.pack(("a", 5), {}) == b'{"path":"a","count":5}'


def test_defaults_fill_in_what_is_not_given_and_are_not_shared() -> None:
    first, second = (of(plain).arguments(b'{"path":"a"}') for _ in range(2))
    assert first == {"path": "a", "count": 3, "tags": []}
    first["tags"].append("mine")
    assert second["tags"] == []
    assert plain.__defaults__ == (3, [])


WRONG_CALLS: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "path"),
    ((5,), {}, "path"),
    (("a", "many"), {}, "count"),
    (("a",), {"path": "b"}, "path: given twice"),
    (("a", 1, [], 2), {}, "takes 3 arguments, 4 given"),
    (("a",), {"cuont": 1}, "cuont"),
    (("a",), {"tags": [1]}, r"tags\[0\]"),
]


@pytest.mark.parametrize(("args", "kwargs", "words"), WRONG_CALLS)
def test_a_wrong_call_is_refused_by_the_fields_name(args: tuple[Any, ...], kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        of(plain).pack(args, kwargs)


@pytest.mark.parametrize("handler", [*RECORDS, plain])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{}", "path"),
        (b'{"path":5}', "path"),
        (b'{"path":"a","count":"x"}', "count"),
        (b'{"path":"a","tags":{}}', "tags"),
        (b"[]", None),
        (b"", None),
        (b"{", None),
        (b'{"path":"\xff"}', None),
        (b'{"path":"a","count":' + b"9" * 5000 + b"}", None),
        (b'{"path":"a","tags":' + DEEP + b"}", None),
    ],
    ids=["missing", "type", "type-2", "type-3", "no-record", "empty", "cut", "utf-8", "huge", "deep"],
)
def test_input_that_does_not_fit_is_refused_by_the_fields_name(
    handler: Callable[..., Any], data: bytes, words: str | None
) -> None:
    with pytest.raises(InvalidInput, match=words):
        of(handler).arguments(data)


def test_of_many_mistakes_the_first_are_told_and_the_rest_counted() -> None:
    fields = {f"f{number}": (int, ...) for number in range(9)}
    found = PydanticCodec(pydantic.create_model("Many", **fields))  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match=r"f0: Field required;.*f4: Field required; and 4 more"):
        found.decode(b"{}")


# ── types of all sorts ───────────────────────────────────────────────────────────────────────────────────────────────


def sorts(
    when: datetime.datetime, id: uuid.UUID, price: Decimal, colour: Colour, shape: Shape, mode: Literal["a", "b"],
    pair: tuple[int, str], some: set[int], data: bytes, perhaps: int | None = None,
) -> None: ...  # fmt: skip


def only_pydantic(file: Path, model: Model, many: list[Model], either: Model | None = None) -> None: ...


def annotated(count: Annotated[int, msgspec.Meta(ge=1)]) -> None: ...
def annotated_too(count: Annotated[int, pydantic.Field(ge=1)], file: Path) -> None: ...
def struct_beside(source: Struct, count: int) -> None: ...
def model_names(json: str, copy: Path, schema: int = 1, dict: bool = False) -> None: ...


def test_what_msgspec_knows_goes_there_and_back() -> None:
    now = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
    given = (now, uuid.UUID(int=5), Decimal("1.50"), Colour.RED, {"sides": 4}, "b", (1, "x"), {1, 2}, b"\x00\xff")
    found = of(sorts)
    assert type(found.input) is MsgspecCodec
    names = list(inspect.signature(sorts).parameters)
    assert found.arguments(found.pack(given, {})) == dict(zip(names, [*given, None], strict=True))


def test_what_only_pydantic_knows_goes_there_and_back() -> None:
    found = of(only_pydantic)
    assert type(found.input) is PydanticCodec
    model = Model(path="a")
    arguments = found.arguments(found.pack((Path("/tmp/x"), model, [model, model]), {}))
    assert arguments == {"file": Path("/tmp/x"), "model": model, "many": [model, model], "either": None}


@pytest.mark.parametrize(("handler", "more"), [(annotated, {}), (annotated_too, {"file": "x"})])
def test_constraints_hold_whoever_reads_them(handler: Callable[..., Any], more: dict[str, Any]) -> None:
    of(handler).pack((), {"count": 1, **more})
    with pytest.raises(InvalidInput, match="count"):
        of(handler).pack((), {"count": 0, **more})


def test_a_record_beside_another_parameter_is_a_parameter() -> None:
    found = of(struct_beside)
    assert found.record is None
    assert found.arguments(found.pack((Struct("a"), 5), {})) == {"source": Struct("a"), "count": 5}


def test_parameters_may_bear_the_names_of_a_models_methods() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = of(model_names)
    assert found.arguments(b'{"json":"j","copy":"c"}') == {"json": "j", "copy": Path("c"), "schema": 1, "dict": False}


def takes_callable(action: Callable[[], int]) -> None: ...
def takes_local(path: str) -> Iterator[int]: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(("handler", "words"), [(takes_callable, "[Cc]allable"), (takes_local, "Iterator")])
def test_a_type_that_nobody_can_read_is_told_at_once(handler: Callable[..., Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        of(handler).schema()


# ── schema and fingerprint ───────────────────────────────────────────────────────────────────────────────────────────


def other_default(path: str, count: int = 4, tags: list[str] = []) -> None: ...  # noqa: B006


def test_a_fingerprint_is_that_of_the_input_alone() -> None:
    assert of(plain).fingerprint() == of(plain).fingerprint()
    assert of(plain).fingerprint() != of(other_default).fingerprint()
    assert len({of(handler).fingerprint() for handler in (*RECORDS, plain)}) == 4


@pytest.mark.parametrize("handler", [*RECORDS, plain])
def test_a_schema_names_the_fields(handler: Callable[..., Any]) -> None:
    text = msgspec.json.encode(of(handler).schema()).decode()
    assert all(f'"{name}"' in text for name in ("path", "count", "tags"))


def test_what_is_a_record() -> None:
    assert all(is_record(kind) for kind in (Model, Struct, Data))
    assert not any(is_record(kind) for kind in (int, dict, Shape, list[Model], None, Any))


def test_the_codec_of_nothing_declared_takes_anything() -> None:
    assert {type(codec(kind)) for kind in (inspect.Parameter.empty, Any, None)} == {JsonCodec}
