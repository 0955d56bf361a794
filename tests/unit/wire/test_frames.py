"""Frames: any family goes there and back, cut anywhere; nonsense is an error and never a wait."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model.command import CommandSpec
from stoker.model.outcome import Blame, Cancelled, Done, Failed, Fault, Lost, Outcome, Retry, Returned, Snoozed
from stoker.wire import frames
from stoker.wire.frames import (
    HEAD,
    PACKET_MAX,
    Announce,
    Answer,
    Ask,
    Assign,
    Born,
    Decoder,
    Died,
    Ended,
    Fork,
    Inspect,
    Interrupt,
    Kill,
    Leave,
    Progressed,
    Refused,
    Said,
    Unborn,
    Vitals,
)

ASSIGN = Assign(1, "job", "app.work", b'{"a":1}', 2, 3, "user", ("t",), 1 << 30, 1.5, 1 << 20)
FAULT = Fault("ValueError", "broken", "Traceback")
OUTCOMES: list[Outcome] = [
    Done(b"1"), Retry(FAULT, 1.5), Retry(FAULT), Snoozed(5.0, "later"), Failed(FAULT), Cancelled("asked"),
    Lost(FAULT), Lost(FAULT, Blame.HOUSE), Returned("stopped"),
]  # fmt: skip

FAMILIES: list[tuple[frames.Family, list[Any]]] = [
    (frames.TO_ZYGOTE, [Fork(1, "fork", 1), Kill(1, 9, True), Leave(), ASSIGN]),
    (
        frames.FROM_ZYGOTE,
        [
            Announce((CommandSpec(name="app.work", schema={"type": "object"}),), 0.5, 100),
            Refused("no"),
            Born(1, 2),
            Unborn(1, "no"),
            Died(1, 2, 9, 1 << 20, 0.5),
            Ended(1, Done(b"1"), 1.0),
            Progressed(1, 5.0, "m", None),
            Said(1, "log", 1.0, b"{}"),
            Ask(1, 2, "stats", b"{}"),
        ],
    ),
    (
        frames.TO_RUNNER,
        [ASSIGN, Interrupt(1, "cancel", "asked"), Answer(1, 2, b"{}", None), Answer(1, 2, b'"m"', "code"), Inspect()],
    ),
    (
        frames.FROM_RUNNER,
        [
            Progressed(1, None, None, "s"),
            *(Ended(1, outcome, 1.0, (), 0.5) for outcome in OUTCOMES),
            Vitals(1, 1 << 20, 2 << 20, 3.5, 1.25),
        ],
    ),
]
CASES = [(family, frame) for family, members in FAMILIES for frame in members]


@pytest.mark.parametrize(("family", "frame"), CASES, ids=lambda value: type(value).__name__)
def test_every_frame_goes_there_and_back(family: frames.Family, frame: Any) -> None:
    assert Decoder(family).feed(frames.encode([frame])) == [frame]


@given(st.lists(st.binary(max_size=50)), st.lists(st.integers(0, 5000), max_size=20))
def test_frames_are_the_same_however_they_arrive(payloads: list[bytes], places: list[int]) -> None:
    sent = [Said(number, "log", 1.0, payload) for number, payload in enumerate(payloads)]
    data = b"".join(frames.encode([frame]) for frame in sent)
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    decoder = Decoder(frames.FROM_RUNNER)
    found: list[Any] = []
    for start, end in itertools.pairwise(edges):
        found += decoder.feed(data[start:end])
    assert found == sent


def test_many_go_in_one_packet_and_large_ones_in_several() -> None:
    small = [Said(number, "log", 1.0, b"{}") for number in range(1000)]
    (length,) = HEAD.unpack_from(frames.encode(small))
    assert length + HEAD.size == len(frames.encode(small))
    large = [Said(number, "log", 1.0, bytes(300_000)) for number in range(7)]
    data = frames.encode(large)
    (length,) = HEAD.unpack_from(data)
    assert length < len(data) / 2
    assert Decoder(frames.FROM_RUNNER).feed(data) == large
    (whole,) = HEAD.unpack_from(frames.encode([Said(1, "log", 1.0, bytes(3_000_000))]))
    assert whole > 3_000_000  # one frame is never cut


def test_payloads_are_passed_on_byte_by_byte() -> None:
    payload = bytes(range(256)) * 5000
    (frame,) = Decoder(frames.FROM_RUNNER).feed(frames.encode([Said(1, "log", 1.0, payload)]))
    assert frame.data == payload


@pytest.mark.parametrize(
    "data",
    [
        HEAD.pack(PACKET_MAX + 1),
        HEAD.pack(0xFFFFFFFF),
        HEAD.pack(0),
        HEAD.pack(3) + b"abc",
        HEAD.pack(1) + b"\xc1",
        frames.encode([Leave()]),
        frames.encode([["said", 1]]),
        frames.encode([["said", "one", "log", 1.0, b""]]),
        frames.encode([["unknown", 1]]),
        HEAD.pack(100_000) + b"\x91" * 100_000,
    ],
    ids=[
        "over the most",
        "far over",
        "empty",
        "junk",
        "no msgpack",
        "of another family",
        "short",
        "types",
        "tag",
        "deep",
    ],
)
def test_nonsense_is_an_error(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        Decoder(frames.FROM_RUNNER).feed(data)


def test_nothing_is_made_of_a_frame_before_it_is_whole() -> None:
    data = frames.encode([ASSIGN])
    decoder = Decoder(frames.TO_RUNNER)
    for byte in data[:-1]:
        assert decoder.feed(bytes([byte])) == []
    assert decoder.feed(data[-1:]) == [ASSIGN]
