"""Words of a command line read by a command's JSON Schema."""

from __future__ import annotations

import functools
import json
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from stoker import Product
from stoker.entry import arguments
from stoker.model.errors import InvalidInput, SettingsError


class Inner(BaseModel):
    deep: int


class Model(BaseModel):
    path: str
    embed: bool = True
    inner: Inner | None = None


class Record(msgspec.Struct):
    number: int
    ratio: float = 1.0
    word: str | None = None


@functools.cache
def schema(*, kind: type | None = None) -> Any:
    """The schema as the daemon tells it, after a way through JSON."""
    product = Product("unit")

    def plain(
        text: str,
        number: int = 1,
        ratio: float = 0.5,
        flag: bool = False,
        either: int | str = 0,
        maybe: str | None = None,
        tags: list[int] | None = None,
        mode: Literal["fast", "best"] = "fast",
        any: Any = None,
    ) -> None: ...

    def one(record: kind) -> None: ...  # type: ignore[valid-type] # the type is what is tested

    one.__annotations__["record"] = kind
    command = product.command(plain if kind is None else one)
    return json.loads(json.dumps(command.spec.schema))


def read(*words: str, base: Any = None, kind: type | None = None) -> Any:
    return arguments.read("unit.x", words, base, schema(kind=kind))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("number=42", 42),
        ("number=-1", -1),
        ("ratio=2", 2),
        ("ratio=1e3", 1000.0),
        ("flag=true", True),
        ("flag=off", False),
        ("either=7", 7),
        ("either=seven", "seven"),
        ("maybe=42", "42"),
        ('maybe="quoted"', '"quoted"'),
        ("maybe=null", None),
        ("maybe=", ""),
        ("tags=[1, 2]", [1, 2]),
        ("mode=best", "best"),
        ("any=[1]", [1]),
        ("any=words", "words"),
        ("text=a=b", "a=b"),
        ("text={not json", "{not json"),
    ],
)
def test_each_word_is_read_as_its_property_wants(word: str, value: Any) -> None:
    name = word.partition("=")[0]
    found = read(*([word] if name == "text" else ["text=t", word]))
    assert found[name] == value
    assert type(found[name]) is type(value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["t", "number=1.5"], "unit.x: number: '1.5' is not an integer"),
        (["t", "number=true"], "number: 'true' is not an integer"),
        (["t", "ratio=fast"], "ratio: 'fast' is not a number"),
        (["t", "ratio=NaN"], "ratio: 'NaN' is not a number"),
        (["t", "flag=perhaps"], "flag: 'perhaps' is not true or false"),
        (["t", "tags=1"], "tags: '1' is not a list in JSON"),
        (["t", "mode=slow"], "mode: 'slow' is none of"),
        (["t", "number=1", "number=2"], "number: given twice"),
        (["t", "text=t"], "text: given twice"),
        (["t", "nubmer=1"], "no argument 'nubmer' (did you mean number?)"),
        ([], "text missing; it takes text, number="),
        (["t", "1", "1", "no", "x", "x", "[]", "fast", "x", "extra"], "'extra' is one argument too many"),
    ],
)
def test_what_does_not_fit_is_named(words: list[str], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(*words)
    assert said in caught.value.message


def test_values_without_names_go_by_the_order_of_the_properties() -> None:
    assert read("t", "2", "0.5", "yes") == {"text": "t", "number": 2, "ratio": 0.5, "flag": True}
    assert read("a.pdf", "no", kind=Model) == {"path": "a.pdf", "embed": False}
    assert read("http://host/?a=b", kind=Model) == {"path": "http://host/?a=b"}


@pytest.mark.parametrize("kind", [Model, Record])
def test_records_are_read_through_references(kind: type) -> None:
    if kind is Model:
        assert read("path=a", 'inner={"deep": 1}', kind=kind) == {"path": "a", "inner": {"deep": 1}}
        with pytest.raises(InvalidInput, match="inner: 'x' is not an object in JSON"):
            read("path=a", "inner=x", kind=kind)
    else:
        assert read("7", "word=8", kind=kind) == {"number": 7, "word": "8"}


def test_words_change_what_the_input_says() -> None:
    assert read("number=3", base={"text": "t", "number": 2}) == {"text": "t", "number": 3}
    with pytest.raises(InvalidInput, match="not an object"):
        read("number=3", base=[1])


def test_a_command_without_arguments_takes_none() -> None:
    product = Product("unit")
    none = product.command(_nothing)
    assert arguments.read("unit.none", [], None, none.spec.schema) == {}
    with pytest.raises(InvalidInput, match="it takes nothing"):
        arguments.read("unit.none", ["x=1"], None, none.spec.schema)


def _nothing() -> None: ...


def test_without_a_schema_json_is_read_and_names_are_needed() -> None:
    assert arguments.read_unchecked("a.b", ["n=1", "s=x", 'l=["y"]'], {"k": 0}) == {
        "k": 0,
        "n": 1,
        "s": "x",
        "l": ["y"],
    }
    with pytest.raises(InvalidInput, match="write name=value"):
        arguments.read_unchecked("a.b", ["x"], None)


def test_a_type_that_contains_itself_is_read() -> None:
    node = {"$defs": {"N": {"$ref": "#/$defs/N"}}, "properties": {"n": {"$ref": "#/$defs/N"}}}
    assert arguments.read("a.b", ["n=1"], None, node) == {"n": 1}


@settings(deadline=None)
@given(st.text(max_size=20), st.sampled_from(["text", "number", "ratio", "flag", "either", "maybe", "tags", "any"]))
def test_any_text_is_read_or_refused_in_words(text: str, name: str) -> None:
    try:
        found = read(*([] if name == "text" else ["text=t"]), f"{name}={text}")
    except InvalidInput as error:
        said = error.message
        found = None
    if found is None:
        assert name in said
    else:
        assert name != "text" or found["text"] == text
        json.dumps(found)


def test_input_that_is_no_json_is_told() -> None:
    for text in ("{", "@/nowhere", "[" * 100_000):
        with pytest.raises(SettingsError, match=r"^--input: "):
            arguments.given(text)
    assert arguments.given(None) is None
    assert arguments.given("[1]") == [1]
