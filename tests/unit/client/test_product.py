"""A product as an application writes it, in both spellings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal, assert_type

import pydantic
import pytest

from stoker import Product, command
from stoker.client import default
from stoker.client.submittable import Submittable
from stoker.model.command import Isolation
from stoker.model.definition import Options, define
from stoker.model.errors import AppError, InvalidInput
from stoker.model.pool import OPTIONS, PoolOptions


class Source(pydantic.BaseModel):
    path: str
    embed: bool = True


def test_a_command_is_registered_with_or_without_options() -> None:
    product = Product("app")

    @product.command
    def plain(count: int) -> int:
        return count + 1

    @product.command(name="second", timeout="5m", isolation="thread")
    async def other(source: Source) -> str:
        return source.path

    assert isinstance(plain, Submittable)
    assert list(product) == [plain, other]
    assert (plain.name, other.name) == ("app.plain", "app.second")
    assert (other.spec.timeout, other.spec.isolation, other.spec.is_async) == (300.0, Isolation.THREAD, True)


def test_a_command_can_be_called_where_it_is_with_no_daemon() -> None:
    product = Product("app")

    @product.command
    def plain(count: int, step: int = 1) -> int:
        return count + step

    @product.command
    async def other(source: Source) -> str:
        return source.path

    assert (plain(1), plain(1, step=5)) == (2, 6)
    assert asyncio.run(other(Source(path="a"))) == "a"


def test_an_option_that_there_is_not_is_told_with_what_was_meant() -> None:
    with pytest.raises(AppError, match=r"product app: a command has no option 'timout' \(did you mean timeout\?\)"):
        Product("app").command(timout=3)  # type: ignore[call-overload]


def test_editors_are_told_every_option_that_there_is() -> None:
    assert set(Options.__annotations__) == set(define.__kwdefaults__ or ()) - {"name"}
    assert set(PoolOptions.__annotations__) == set(OPTIONS)


async def what_mypy_reads(plain: Submittable[..., int], other: Submittable[..., Coroutine[Any, Any, str]]) -> None:
    """The value that is given back has the handler's type, also of a coroutine; never run."""
    assert_type(plain.submit(1).result(), int)
    assert_type(other.submit(1).result(), str)
    assert_type(other.submit_many([1])[0].result(), str)
    assert_type(other.call(1), str)
    assert_type(await plain.acall(1), int)
    assert_type(await other.acall(1), str)
    assert_type(await (await other.asubmit(1)).result(), str)
    assert_type(plain.dispatch(1), int)
    assert_type(other.dispatch(1), str)
    assert_type(plain.dispatch(1, detailed=True).by, Literal["worker", "inline"])
    assert_type((await other.adispatch(1, detailed=True)).value, str)


def test_the_two_spellings_without_a_product() -> None:
    """O-rows: ``@command("app", "name", timeout=)`` and the library's ``@command("name", app="app")``."""

    @command("open_notebook", "process_source", timeout=300)
    def one(source: Source) -> bool:
        return source.embed

    @command("embed_item", app="open_notebook", retry={"max_attempts": 3})
    def two(source: Source) -> bool:
        return source.embed

    @command("loose")
    def three() -> None: ...

    assert (one.name, one.spec.timeout) == ("open_notebook.process_source", 300.0)
    assert (two.name, two.spec.backoff.retries) == ("open_notebook.embed_item", 2)
    assert (three.name, three.spec.backoff.retries) == ("app.loose", 0)
    assert one(Source(path="a")) is True


@pytest.mark.parametrize("options", [{"timeout": "soon"}, {"priority": "urgent"}, {"name": "a b"}])
def test_what_makes_no_sense_is_told_when_it_is_registered(options: dict[str, Any]) -> None:
    with pytest.raises(AppError):
        Product("app").command(**options)(lambda: None)


def test_a_name_is_taken_once_in_a_product() -> None:
    product = Product("app")
    product.command(name="work")(test_a_name_is_taken_once_in_a_product)
    with pytest.raises(AppError, match=r"app\.work is registered twice"):
        product.command(name="work")(test_a_command_is_registered_with_or_without_options)


def test_wrong_input_is_told_before_anything_is_sent() -> None:
    product = Product("app")

    @product.command
    def work(source: Source) -> None: ...

    with pytest.raises(InvalidInput, match="path"):
        work.submit(embed=True)
    with pytest.raises(InvalidInput, match="embed"):
        work.submit({"path": "a", "embed": "perhaps"})


def test_options_set_beforehand_leave_the_command_as_it_is() -> None:
    product = Product("app")

    @product.command
    def work(source: Source) -> str:
        return source.path

    later = work.options(delay=5).options(user="u")
    assert later.preset == {"delay": 5, "user": "u"}
    assert work.preset == {}
    assert (later.name, later(Source(path="a"))) == ("app.work", "a")
    assert product.commands["app.work"] is work


@pytest.mark.parametrize(
    ("code", "file", "served"),
    [
        ({}, None, True),
        ({}, {"routes": False}, False),
        ({}, {"enabled": False}, False),
        ({}, {"workers": 0}, True),
        ({"routes": False}, None, False),
        ({"routes": False}, {"routes": True}, True),
    ],
)
def test_whether_routes_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: dict[str, Any], file: dict[str, Any] | None, served: bool
) -> None:
    """P3, P5: the file of the project wins over the code."""
    monkeypatch.chdir(tmp_path)
    default.client.cache_clear()
    if file is not None:
        (tmp_path / "products.json").write_text(json.dumps({"pictures": file}))
    try:
        assert Product("pictures", **code).routes_enabled is served
    finally:
        default.client.cache_clear()
