"""From what a client asks for to what is stored."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from stoker.model.command import CommandSpec
from stoker.model.errors import InvalidInput, RequestError
from stoker.model.job import OnDuplicate, Overrides, Submission, Unique
from stoker.model.request import TAGS_MAX, TEXT_MAX, Request, resolve

NOW = 1000.0
SPEC = CommandSpec(
    name="app.work", priority=10, expires=60.0, unique=Unique(window=5.0), key="input.source.id", key_limit=3
)


def asked(input: bytes = b"{}", **more: Any) -> Request:
    return Request(command="app.work", input=msgspec.Raw(input), **more)


def resolved(spec: CommandSpec | None = SPEC, **more: Any) -> Submission:
    return resolve(asked(**more), spec, NOW)


def test_what_is_not_said_is_as_the_command_says() -> None:
    found = resolved(id="a")
    assert found == Submission(
        id="a", command="app.work", input=b"{}", priority=10, expires=60.0, unique=Unique(window=5.0), key_limit=3
    )


def test_what_is_said_wins_over_the_command() -> None:
    unique = Unique(key="k", on_duplicate=OnDuplicate.REJECT)
    found = resolved(
        priority="critical",
        expires=5.0,
        unique=unique,
        key="mine",
        timeout=1.0,
        retries=2,
        memory=3,
        user="u",
        tags=("t",),
    )
    assert (found.priority, found.expires, found.unique, found.key) == (20, 5.0, unique, "app.work:mine")
    assert found.overrides == Overrides(1.0, 2, 3)
    assert (found.user, found.tags) == ("u", ("t",))


def test_without_a_command_at_hand_all_is_plain() -> None:
    found = resolved(None, id="a")
    assert found == Submission(id="a", command="app.work", input=b"{}")
    assert resolved(None, key="k").key == "app.work:k"


def test_a_request_without_an_id_gets_a_new_one_each_time() -> None:
    assert resolved().id != resolved().id
    assert resolved(id="command:abc").id == "abc"


@pytest.mark.parametrize("id", ["", "A", "a b"])
def test_an_id_that_is_none_is_refused(id: str) -> None:
    with pytest.raises(RequestError, match="not a job id"):
        resolved(id=id)


def test_delay_counts_from_now_and_at_is_a_moment() -> None:
    assert resolved(delay=5.0).run_at == NOW + 5
    assert resolved(at=5000.0).run_at == 5000.0
    assert resolved(delay=0.0).run_at is None
    assert resolved().run_at is None


@pytest.mark.parametrize(
    ("key", "input", "user", "expected"),
    [
        ("user", b"{}", "u7", "app.work:u7"),
        ("user", b"{}", None, None),
        ("input.id", b'{"id":7}', None, "app.work:7"),
        ("input.id", b'{"id":"x y"}', None, "app.work:x y"),
        ("input.id", b'{"id":true}', None, "app.work:True"),
        ("input.a.b", b'{"a":{"b":1}}', None, "app.work:1"),
        ("input.a.b", b'{"a":[1]}', None, None),
        ("input.id", b'{"id":null}', None, None),
        ("input.id", b'{"id":{}}', None, None),
        ("input.id", b'{"other":1}', None, None),
        ("input.id", b"[1,2]", None, None),
        ("input.id", b"7", None, None),
    ],
)
def test_the_concurrency_key_a_command_declares(key: str, input: bytes, user: str | None, expected: str | None) -> None:
    spec = CommandSpec(name="app.work", key=key)
    assert resolve(asked(input, user=user), spec, NOW).key == expected


def test_a_key_from_the_input_that_is_too_long_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidInput, match=r"input\.id"):
        resolve(asked(b'{"id":"' + b"x" * 300 + b'"}'), CommandSpec(name="app.work", key="input.id"), NOW)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"delay": 1.0, "at": 2.0}, "either delay or at"),
    *(
        ({name: -1}, f"{name} is a number, 0 or more, not -1")
        for name in ("delay", "expires", "timeout", "retries", "memory")
    ),
    *(({name: math.nan}, f"{name} ") for name in ("delay", "at", "expires", "timeout")),
    *(({name: math.inf}, f"{name} ") for name in ("delay", "at", "expires", "timeout")),
    ({"priority": "urgent"}, "'urgent' is not a priority"),
    ({"priority": 1000}, "between -100 and 100"),
    ({"tags": ("t",) * (TAGS_MAX + 1)}, f"{TAGS_MAX} tags at most"),
    ({"tags": ("",)}, "1 to"),
    ({"tags": ("x" * (TEXT_MAX + 1),)}, f"{TEXT_MAX} characters"),
    ({"user": ""}, "1 to"),
    ({"user": "x" * (TEXT_MAX + 1)}, f"{TEXT_MAX} characters"),
    ({"key": ""}, "1 to"),
    ({"unique": Unique(key="")}, "1 to"),
]


@pytest.mark.parametrize(("more", "words"), WRONG, ids=[str(more)[:40] for more, _ in WRONG])
def test_what_makes_no_sense_is_refused_in_words(more: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        resolved(**more)


def test_the_most_that_is_allowed_is_allowed() -> None:
    long = "x" * TEXT_MAX
    found = resolved(tags=(long,) * TAGS_MAX, user=long, key=long, unique=Unique(key=long), timeout=0.0, retries=0)
    assert len(found.tags) == TAGS_MAX


def test_a_request_says_nothing_that_is_not_known() -> None:
    with pytest.raises(msgspec.ValidationError, match="dealy"):
        msgspec.json.decode(b'{"command":"app.work","dealy":5}', type=Request)


def test_a_rule_of_uniqueness_that_comes_over_a_line_is_checked_as_it_is_read() -> None:
    with pytest.raises(msgspec.ValidationError, match="window: a duration is a number of seconds, 0 or more, not -1"):
        msgspec.json.decode(b'{"command":"app.work","unique":{"window":-1}}', type=Request)


def test_a_user_is_text_everywhere() -> None:
    assert resolved(user=7).user == "7"
    assert msgspec.json.decode(b'{"command":"app.work","user":7}', type=Request).whom == "7"
    for user in ("0", 0):
        with pytest.raises(RequestError, match="everybody"):
            resolved(user=user)
