"""The public protocol: lines cut anywhere, capped, and junk answered with an error that can be read."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.errors import IdConflict, PayloadTooLarge, ProtocolError, StokerError
from stoker.wire import messages
from stoker.wire.messages import LINE_SLACK, Call, Error, Event, Init, Lines, Message, Ping, Return, decode, encode

LIMIT = 1000
RAW = msgspec.Raw(b'{"a":[1,null,"\xc3\xa9"]}')

ALL: list[Message] = [
    Init(), Init("web", "n", "t", 1, "b", "v"), Call(1, "stats"), Call("x", "a.b", RAW, False),
    Return(1, RAW), Error("m", "c"), Error("m", "c", 7), Event("e", RAW), Event("e", RAW, "t", 5), Ping(),
]  # fmt: skip


@pytest.mark.parametrize("message", ALL, ids=lambda message: type(message).__name__)
def test_a_message_goes_there_and_back_in_one_line(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == decode(line.rstrip()) == message


def test_the_example_in_the_documentation_is_the_protocol() -> None:
    """Each line of the module's docstring is a message, but for what stands for something longer."""
    lines = [line.strip()[2:] for line in inspect.getdoc(messages).splitlines() if line.strip()[:1] in ("→", "←")]  # type: ignore[union-attr]
    read = [decode(line.replace("{…}", "{}").encode()) for line in lines]
    assert [type(message).__name__ for message in read] == [
        "Init", "Init", "Call", "Return", "Call", "Error", "Dispatch", "JobResult",
    ]  # fmt: skip


def test_fields_of_a_newer_version_are_passed_over() -> None:
    assert decode(b'{"type":"ping","new":[1]}') == Ping()
    assert decode(b'{"type":"call","id":1,"method":"stats","trace":{}}') == Call(1, "stats")


JUNK: list[bytes] = [
    b"", b" ", b"\x00", b"\xff", b"hello", b"[]", b"5", b"null", b"{}", b'{"type":"nope"}', b'{"type":5}',
    b'{"type":"call"}', b'{"type":"call","id":1}', b'{"type":"call","id":null,"method":"m"}',
    b'{"type":"call","id":1.5,"method":"m"}', b'{"type":"call","id":1,"method":5}',
    b'{"type":"call","id":1,"method":"m","params":{"a":NaN}}', b'{"type":"call","id":1,"method":"m","params":{',
    b'{"type":"call","id":1,"method":"m","params":{"a":"\xff"}}', b'{"type":"call","id":1,"method":"\\ud800"}',
    b'{"type":"call","id":1,"method":"m"} extra', b'{"type":"call","id":' + b"9" * 10**6 + b',"method":"m"}',
    b'{"type":"call","id":1e400,"method":"m"}', b"GET / HTTP/1.1\r", b"\x80\x04\x95.",
]  # fmt: skip


@pytest.mark.parametrize("line", JUNK, ids=lambda line: repr(line[:30]))
def test_junk_is_refused_as_what_is_not_understood(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message"):
        decode(line)


@pytest.mark.parametrize("place", [b'{"type":"call","id":1,"method":"m","params":%s}', b"%s"])
def test_what_is_nested_too_deep_is_refused_as_too_large(place: bytes) -> None:
    with pytest.raises(PayloadTooLarge, match="too deep"):
        decode(place.replace(b"%s", b'{"a":' * 100_000 + b"1" + b"}" * 100_000))


@given(st.binary())
def test_any_bytes_are_a_message_or_an_error_of_ours(data: bytes) -> None:
    try:
        decode(data)
    except StokerError as error:
        assert error.code in ("protocol", "too_large")  # noqa: PT017


def test_an_error_of_ours_is_answered_with_its_code() -> None:
    assert messages.error(7, IdConflict("taken")) == Error("taken", "id_conflict", 7)
    assert messages.error(None, StokerError("x")) == Error("x", "error", None)


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


LINE = st.binary(max_size=30).map(lambda data: data.replace(b"\n", b""))


@given(st.lists(LINE), st.lists(st.integers(0, 1000), max_size=20), LINE)
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], places: list[int], rest: bytes) -> None:
    data = b"".join(line + b"\n" for line in lines) + rest
    cutter = Lines(LIMIT)
    found: list[bytes] = []
    for piece in cut(data, places):
        found += cutter.feed(piece)
    assert found == [line for line in lines if line.strip()]
    assert cutter.feed(b"\n") == ([rest] if rest.strip() else [])


def test_a_byte_at_a_time() -> None:
    cutter = Lines(LIMIT)
    found = [line for byte in b'{"a":1}\r\n\n  \n{"b":2}\n' for line in cutter.feed(bytes([byte]))]
    assert found == [b'{"a":1}\r', b'{"b":2}']


LONGEST = LIMIT + LINE_SLACK


@pytest.mark.parametrize("size", [1, 100, LONGEST + 10])
def test_the_longest_line_is_taken(size: int) -> None:
    cutter = Lines(LIMIT)
    line = b"x" * LONGEST
    pieces = [(line + b"\n")[start : start + size] for start in range(0, LONGEST + 1, size)]
    assert [found for piece in pieces for found in cutter.feed(piece)] == [line]


def feed(cutter: Lines, pieces: list[bytes]) -> None:
    for piece in pieces:
        cutter.feed(piece)


LONGER = b"x" * (LONGEST + 1)


TOO_LONG = {
    "without end": [LONGER],
    "whole": [LONGER + b"\n"],
    "in two": [b"x" * LONGEST, b"x"],
    "after another": [b"ok\n" + LONGER],
    "between others": [b"ok\n" + LONGER + b"\nok\n"],
    "in bits": [b"x" * 1000] * 70,
}


@pytest.mark.parametrize("pieces", TOO_LONG.values(), ids=TOO_LONG.keys())
def test_a_line_that_is_too_long_is_refused_however_it_arrives(pieces: list[bytes]) -> None:
    with pytest.raises(PayloadTooLarge, match="at most"):
        feed(Lines(LIMIT), pieces)


def test_a_long_line_in_small_pieces_is_not_looked_through_again_and_again() -> None:
    """Sixteen megabytes in pieces of a kilobyte: would take minutes if each looked at all that came before."""

    class Counting(bytearray):
        looked = 0

        def split(self, *args: Any) -> list[bytearray]:
            Counting.looked += len(self)
            return super().split(*args)

    cutter = Lines(16 << 20)
    cutter._buffer = Counting()
    for _ in range(16 << 10):
        assert cutter.feed(b"x" * 1024) == []
    assert [len(line) for line in cutter.feed(b"\n")] == [16 << 20]
    assert Counting.looked < 17 << 20
