"""What a command is made of: its back-off, its rules, and every way to declare one wrongly."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.command import Backoff, Command, CommandSpec, Isolation, RetryRules, check_name
from stoker.model.definition import define
from stoker.model.errors import AppError
from stoker.model.job import OnDuplicate, Unique


def handler(path: str, deep: bool = True) -> int:
    """Read a file.

    In two paragraphs.
    """
    return len(path)


async def coroutine(path: str) -> None: ...


def spec(function: Any = handler, **options: Any) -> CommandSpec:
    return define("app", function, **options)[0]


# ── back-off ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_default_back_off_doubles() -> None:
    assert [Backoff().delay(attempt, 0.0) for attempt in range(1, 6)] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert [Backoff().delay(attempt, 0.999) for attempt in (1, 2)] == [
        pytest.approx(0.5, 0.01),
        pytest.approx(1.0, 0.01),
    ]


def test_a_back_off_ends_at_its_cap() -> None:
    assert Backoff(cap=60.0).delay(10, 0.0) == 60.0
    assert Backoff(cap=60.0).delay(100_000, 0.0) == 60.0
    assert Backoff(factor=1e300, cap=60.0).delay(50, 0.0) == 60.0


@given(
    st.floats(0, 1e6), st.floats(0.01, 1e9), st.floats(0, 1e6), st.floats(0, 1), st.integers(1, 10**6),
    st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_a_delay_lies_between_nothing_and_the_cap(
    base: float, factor: float, cap: float, jitter: float, attempt: int, chance: float
) -> None:
    assert 0 <= Backoff(base=base, factor=factor, cap=cap, jitter=jitter).delay(attempt, chance) <= cap


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True))
def test_jitter_only_takes_away(attempt: int, chance: float) -> None:
    full = Backoff(jitter=0.0).delay(attempt, chance)
    assert full / 2 <= Backoff().delay(attempt, chance) <= full


@pytest.mark.parametrize("wrong", [{"base": -1.0}, {"factor": 0.0}, {"cap": -1.0}, {"jitter": 1.5}, {"jitter": -0.1}])
def test_a_back_off_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="back-off"):
        Backoff(**wrong)  # type: ignore[arg-type]


# ── what define makes of a handler and its options ───────────────────────────────────────────────────────────────────


def test_a_handler_alone_is_enough() -> None:
    found = spec()
    assert (found.name, found.product, found.is_async) == ("app.handler", "app", False)
    assert found.doc == "Read a file.\n\nIn two paragraphs."
    assert (found.timeout, found.memory, found.backoff.retries, found.priority) == (None, None, 0, 0)
    assert spec(coroutine).is_async


def test_options_are_read_as_people_write_them() -> None:
    found = spec(
        name="read-file", timeout="5m", memory="1GB", output="64k", retries=3, priority="critical", concurrency=2,
        key="input.path", key_limit=3, rate="10/m", expires="1h", isolation="fork", secret=("path",), wait=False,
    )  # fmt: skip
    assert found.name == "app.read-file"
    assert (found.timeout, found.memory, found.output) == (300.0, 1 << 30, 64 << 10)
    assert (found.backoff, found.priority, found.concurrency) == (Backoff(retries=3), 20, 2)
    assert (found.key, found.key_limit, found.interval, found.expires) == ("input.path", 3, 6.0, 3600.0)
    assert (found.isolation, found.secret, found.wait) == (Isolation.FORK, ("path",), False)


def test_retries_may_be_said_in_either_place() -> None:
    assert spec(retries=2, backoff=Backoff(base=5.0)).backoff == Backoff(retries=2, base=5.0)
    assert spec(backoff=Backoff(retries=4)).backoff.retries == 4
    assert spec(retries=0, backoff=Backoff(retries=4)).backoff.retries == 0


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (True, Unique()),
        (False, None),
        (None, None),
        ("reject", Unique(on_duplicate=OnDuplicate.REJECT)),
        (Unique(window=5.0), Unique(window=5.0)),
        (Unique(window="1h", on_duplicate="replace"), Unique(window=3600.0, on_duplicate=OnDuplicate.REPLACE)),
    ],
)
def test_unique_is_read_as_people_write_it(given: Any, read: Unique | None) -> None:
    assert spec(unique=given).unique == read


WRONG = [
    ({"timeout": 0}, "timeout must be more than 0"),
    ({"timeout": "soon"}, "'soon' is not a duration"),
    ({"timeout": -1}, "not -1"),
    ({"memory": "lots"}, "'lots' is not a size"),
    ({"memory": 0}, "1 byte or more"),
    ({"memory": "1GB", "isolation": "thread"}, "memory bounds a process"),
    ({"output": "0"}, "'0' is not a size"),
    ({"retries": -1}, "retries must be 0 or more"),
    ({"once": True, "retries": 1}, "only once has no retries"),
    ({"priority": "urgent"}, "'urgent' is not a priority"),
    ({"priority": 101}, "between -100 and 100"),
    ({"concurrency": 0}, "concurrency must be 1 or more"),
    ({"key_limit": 0}, "key_limit must be 1 or more"),
    ({"key": "path"}, "'user' or 'input.field'"),
    ({"key": "input."}, "'user' or 'input.field'"),
    ({"rate": "often"}, "'often' is not a rate"),
    ({"rate": "0/s"}, "'0/s' is not a rate"),
    ({"expires": "later"}, "'later' is not a duration"),
    ({"unique": "perhaps"}, "'perhaps' is none of existing, reject, replace"),
    ({"isolation": "cell"}, "isolation: 'cell' is none of fork, async"),
    ({"backoff": "0.1s"}, "backoff takes a Backoff"),
    ({"retry_on": "OSError"}, "are exception classes, not 'OSError'"),
    ({"once": "yes"}, "once: Expected `bool`, got `str`"),
    ({"wait": 1}, "wait: Expected `bool`, got `int`"),
]


UNIQUES: list[tuple[dict[str, Any], str]] = [
    ({"on_duplicate": "rejekt"}, "on_duplicate: 'rejekt' is none of existing, reject, replace"),
    ({"window": -5}, "window: a duration is a number of seconds, 0 or more, not -5"),
    ({"window": "soon"}, "window: 'soon' is not a duration"),
    ({"window": [1]}, "window: "),
]


@pytest.mark.parametrize(("given", "words"), UNIQUES, ids=[str(given) for given, _ in UNIQUES])
def test_a_rule_of_uniqueness_that_makes_no_sense_is_refused_where_it_is_written(
    given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Unique(**given)


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[str(options) for options, _ in WRONG])
def test_an_option_that_makes_no_sense_is_refused_with_the_commands_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(AppError, match=words) as caught:
        spec(**options)
    assert "app.handler" in caught.value.message


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="tiemout"):
        spec(tiemout=5)


class NotJson:
    pass


def takes_anything(*args: int) -> None: ...
def takes_odd(path: str, odd: NotJson) -> None: ...
def takes_hidden(_path: str) -> None: ...
def takes_by_place(path: str, /) -> None: ...
def gives_odd() -> NotJson: ...  # type: ignore[empty-body]
def names_nothing(path: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (takes_anything, "args"),
        (takes_odd, "NotJson"),
        (takes_hidden, "_path.*underscore"),
        (takes_by_place, "path.*positional only"),
        (gives_odd, "NotJson"),
        (names_nothing, "Nowhere"),
    ],
)
def test_a_signature_that_cannot_be_read_is_refused_with_the_commands_name(function: Any, words: str) -> None:
    with pytest.raises(AppError, match=words) as caught:
        spec(function)
    assert function.__name__ in caught.value.message


@pytest.mark.parametrize("name", ["", "a b", "a.b", "1st", "-a", "a\n", "a" * 65, "caf\u00e9", "a/b", "<lambda>"])
def test_a_name_is_letters_digits_and_two_marks(name: str) -> None:
    with pytest.raises(AppError, match="cannot be the name of a product"):
        check_name("product", name)


@pytest.mark.parametrize("name", ["a", "_a", "open_notebook", "read-file-2", "A" * 64])
def test_a_good_name_is_taken(name: str) -> None:
    assert check_name("product", name) == name


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(AppError, match="<lambda>"):
        spec(lambda: None)
    assert spec(lambda: None, name="nothing").name == "app.nothing"


# ── a command ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_calling_a_command_calls_the_function() -> None:
    command = Command(handler, *define("app", handler))
    assert command("abc") == 3
    assert (command.__name__, command.__doc__, command.__wrapped__) == ("handler", handler.__doc__, handler)
    assert repr(command) == "<command app.handler>"
    assert command.origin == f"{__name__}.handler"


def test_which_exceptions_are_worth_another_attempt() -> None:
    rules = RetryRules(on=(OSError, KeyError), never=(FileNotFoundError,))
    worth = [rules.worth(error) for error in (OSError(), KeyError(), FileNotFoundError(), ValueError())]
    assert worth == [True, True, False, False]
    assert RetryRules().worth(ValueError())
    assert not RetryRules().worth(KeyboardInterrupt())
    assert define("app", handler, retry_on=OSError, never_retry=FileNotFoundError)[2] == RetryRules(
        (OSError,), (FileNotFoundError,)
    )


@pytest.mark.parametrize(
    ("own", "is_async", "default", "expected"),
    [
        (None, False, Isolation.FORK, Isolation.FORK),
        (None, True, Isolation.FORK, Isolation.FORK),
        (None, True, Isolation.ASYNC, Isolation.ASYNC),
        (None, False, Isolation.ASYNC, Isolation.THREAD),
        (Isolation.INLINE, False, Isolation.ASYNC, Isolation.INLINE),
        (Isolation.FORK, True, Isolation.ASYNC, Isolation.FORK),
    ],
)
def test_where_a_command_runs(own: Isolation | None, is_async: bool, default: Isolation, expected: Isolation) -> None:
    assert CommandSpec(name="a.b", isolation=own, is_async=is_async).isolated(default) is expected
