"""Quantities as people write them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.quantities import rate, seconds, show_seconds, show_size, size

SIZES = [
    (1, 1), (1e9, 10**9), ("1", 1), ("1B", 1), ("512MB", 512 << 20), ("512mib", 512 << 20), ("1GB", 1 << 30),
    ("1g", 1 << 30), (" 1.5 k ", 1536), ("2TB", 2 << 40), ("0.5KiB", 512),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SIZES)
def test_sizes(text: Any, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize(
    "text", [0, -1, "", "0", "0.1b", "GB", "1 PB", "-1MB", "1e3", "1,5GB", math.nan, math.inf, True]
)
def test_what_is_not_a_size(text: Any) -> None:
    with pytest.raises(ValueError, match="size"):
        size(text)


DURATIONS = [
    (0, 0.0), (30, 30.0), (0.5, 0.5), ("30", 30.0), ("90s", 90.0), ("250ms", 0.25), ("5m", 300.0), ("2h", 7200.0),
    ("7d", 604800.0), ("1w", 604800.0), (" 1.5 m ", 90.0), ("0", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), DURATIONS)
def test_durations(text: Any, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", [-1, "", "s", "5 minutes", "-5m", "1h30m", "1y", "5M", math.nan, math.inf, True])
def test_what_is_not_a_duration(text: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("10/s", 0.1), ("60/m", 1.0), ("1/5s", 5.0), ("1/h", 3600.0), (" 2 / d ", 43200.0)]
)
def test_rates(text: str, expected: float) -> None:
    assert rate(text) == expected


@pytest.mark.parametrize("text", ["", "0/s", "10", "/s", "10/", "10/w", "-1/s", "1.5/s", "10 per s"])
def test_what_is_not_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        rate(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (1 << 30, "1.0 GB"), (5 << 40, "5.0 TB"), (5 << 50, "5120.0 TB")],
)
def test_a_size_is_shown_short(count: int, text: str) -> None:
    assert show_size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0 ms"),
        (0.0042, "4.2 ms"),
        (0.042, "42 ms"),
        (1.25, "1.2 s"),
        (75, "1m 15s"),
        (3600, "1h 0m"),
        (90061, "1d 1h"),
    ],
)
def test_a_duration_is_shown_short(value: float, text: str) -> None:
    assert show_seconds(value) == text


@given(st.integers(1, 1 << 45))
def test_what_is_shown_can_be_read_again(count: int) -> None:
    assert size(show_size(count)) == pytest.approx(count, rel=0.06)


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    for read in (size, seconds, rate):
        try:
            assert 0 <= read(text) < math.inf
        except ValueError as error:
            assert repr(text) in str(error)  # noqa: PT017
