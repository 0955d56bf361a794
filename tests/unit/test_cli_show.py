"""How the command line shows things: never a raw control byte, and figures as people read them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.entry import show
from stoker.wire.records import iso

DANGEROUS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@settings(deadline=None)
@given(st.text())
def test_cleaned_text_has_no_control_characters(text: str) -> None:
    assert not DANGEROUS.search(show.clean(text))
    assert "\n" not in show.line(text)


def test_control_characters_are_shown_as_what_they_are() -> None:
    assert show.clean("\x1b[31mred\x9b1m\r 1\r\n\ttab\u202e") == "\\x1b[31mred\\x9b1m\\r 1\n\ttab\\u202e"
    assert show.line("a\n  b", 3) == "a b"
    assert show.line("abcdef", 4) == "abc…"


@settings(deadline=None)
@given(
    st.recursive(st.text() | st.integers(-100, 100), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_json_is_laid_out_without_control_characters_and_means_the_same(value: object) -> None:
    text = show.layout(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    assert not DANGEROUS.search(text)
    assert json.loads(text) == value


def test_json_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show.data({"a": ["ä", 1]})
    assert capsys.readouterr().out == '{"a":["ä",1]}\n'


def test_tables_in_a_pipe_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[str, None, int | None]] = [("x" * 300, None, 7), ("[bold]\x1b[1m", None, None)]
    show.say(show.table(("name", "nothing", "number"), rows, right=("number",), fold=False))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "NUMBER"]
    assert lines[1].split() == ["x" * 300, "7"]
    assert lines[2].strip() == "[bold]\\x1b[1m"


def test_a_row_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\nb\tc\r\nd\x85e\u2028f\x1b[1m"
    shown = "a\\nb\\tc\\r\\nd\\x85e\\u2028f\\x1b[1m"
    assert show.cell(evil) == shown
    show.say(show.table(("user", "tag"), [(evil, 1), ("x", evil)]))
    assert [line.split() for line in capsys.readouterr().out.split("\n")] == [
        ["USER", "TAG"], [shown, "1"], ["x", shown], [],
    ]  # fmt: skip
    show.say(show.pairs([("user", evil)]))
    assert [line.split() for line in capsys.readouterr().out.split("\n")] == [["user", shown], []]


@settings(deadline=None)
@given(st.text())
def test_a_cell_is_one_line(text: str) -> None:
    assert len(show.cell(text).splitlines()) <= 1


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0:00:00"), (5025, "1:23:45"), (360_000, "100:00:00")])
def test_uptime(seconds: float, text: str) -> None:
    assert show.uptime(seconds) == text


@pytest.mark.parametrize(("gone", "text"), [(5, "5 s"), (119, "1 min"), (7200, "2 h"), (9 * 86400, "9 d"), (-5, "0 s")])
def test_ago(gone: float, text: str) -> None:
    then = datetime.now(UTC) - timedelta(seconds=gone + 0.2 if gone > 0 else gone)
    assert show.ago(iso(then.timestamp())) == text


def test_spans_and_counts() -> None:
    assert show.span("2026-01-01T00:00:00+00:00", "2026-01-01T00:01:15+00:00") == "1m 15s"
    assert show.span(None, None) == ""
    assert [show.count(n, "process") for n in (0, 1, 2)] == ["0 processes", "1 process", "2 processes"]
    assert show.width("ab\u0301漢") == 4
