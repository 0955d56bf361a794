"""From a call as Python writes it to a request."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest

from stoker.client.product import Product
from stoker.model.errors import InvalidInput, StokerError
from stoker.model.job import OnDuplicate, Unique
from stoker.model.packing import OPTIONS, pack, split_options
from stoker.model.request import Request

product = Product("app")


@product.command
def work(path: str, priority: int = 0) -> None: ...


def packed(*args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> Request:
    return pack(work, args, kwargs, options or {})


def test_a_command_at_hand_is_checked_and_says_so() -> None:
    found = packed("a", priority=5)
    assert (found.command, bytes(found.input), found.checked) == (
        "app.work",
        b'{"path":"a","priority":5}',
        work.spec.fingerprint,
    )
    with pytest.raises(InvalidInput, match="path"):
        packed(5)


def test_a_command_by_name_takes_a_mapping_or_keywords() -> None:
    for args, kwargs in [(({"path": "a"},), {}), ((), {"path": "a"})]:
        found = pack("app.work", args, kwargs, {})
        assert (found.command, bytes(found.input), found.checked) == ("app.work", b'{"path":"a"}', None)
    for args, kwargs in [(({}, {}), {}), (({},), {"path": "a"})]:
        with pytest.raises(TypeError, match="one mapping"):
            pack("app.work", args, kwargs, {})


def test_each_request_has_an_id_of_its_own_unless_it_is_given() -> None:
    assert packed("a").id != packed("a").id
    assert packed("a", options={"id": "mine"}).id == "mine"


def test_options_are_read_as_people_write_them() -> None:
    at = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    found = packed(
        "a", options={"delay": "5m", "expires": "1h", "timeout": 2, "memory": "1GB", "tags": ["x", "y"], "user": None}
    )
    assert (found.delay, found.expires, found.timeout, found.memory, found.tags) == (
        300.0,
        3600.0,
        2.0,
        1 << 30,
        ("x", "y"),
    )
    assert found.user is None
    assert packed("a", options={"at": at}).at == at.timestamp()
    assert packed("a", options={"at": 5.0}).at == 5.0


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (True, Unique()),
        ("k", Unique(key="k")),
        (Unique(on_duplicate=OnDuplicate.REJECT), Unique(on_duplicate=OnDuplicate.REJECT)),
    ],
)
def test_unique_is_read_as_people_write_it(given: Any, read: Unique) -> None:
    assert packed("a", options={"unique": given}).unique == read


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"delay": "soon"}, StokerError, "'soon' is not a duration"),
        ({"timeout": -1}, StokerError, "not -1"),
        ({"memory": "lots"}, StokerError, "'lots' is not a size"),
        ({"unique": 5}, TypeError, "unique is True, a key, or Unique"),
        ({"dealy": 5}, TypeError, "unknown option dealy; known are at, delay"),
    ],
)
def test_options_that_make_no_sense_are_told(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        packed("a", options=options)


def test_a_parameter_of_the_handler_wins_over_an_option_of_its_name() -> None:
    assert split_options(("path", "priority"), {"path": "a", "priority": 5, "delay": 3}) == (
        {"path": "a", "priority": 5},
        {"delay": 3},
    )
    assert split_options((), {"path": "a", "user": "u"}) == ({"path": "a"}, {"user": "u"})


def test_the_options_are_those_of_a_request() -> None:
    assert set(Request.__struct_fields__) - {"command", "input", "checked", "fresh", "trace"} == OPTIONS


def test_options_set_beforehand_are_kept_and_may_be_overruled() -> None:
    preset = work.options(user="u1", delay=5)
    found = pack(preset, ("a",), {}, {"delay": 7})
    assert (found.user, found.delay) == ("u1", 7.0)
    assert pack(work, ("a",), {}, {}).user is None, "the command itself is as it was"


def test_a_request_is_a_line_of_json() -> None:
    line = msgspec.json.encode(packed("a", options={"id": "mine", "unique": True}))
    assert msgspec.json.decode(line, type=Request) == packed("a", options={"id": "mine", "unique": True})
    assert b"delay" not in line
