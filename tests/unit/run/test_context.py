"""What a handler can say and ask."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from stoker import Priority
from stoker.client.product import Product
from stoker.model.errors import InvalidInput, StokerError
from stoker.model.event import EventKind
from stoker.run.context import EVENT_MAX, Context
from stoker.run.line import NoAnswers, unpack
from stoker.wire.frames import Answer, Assign, Progressed, Said
from tests.unit.run.bench import KeptLine, assign

product = Product("app")


@product.command
def other(count: int, user: str = "nobody") -> int:
    return count


def context(assigned: Assign | None = None, **answers: Any) -> tuple[Context, KeptLine]:
    line = KeptLine({"submit": {"id": "new"}, **answers})
    return Context(assigned or assign(), line), line


def said(line: KeptLine) -> list[tuple[str, Any]]:
    return [(frame.kind, msgspec.json.decode(frame.data)) for frame in line.sent if isinstance(frame, Said)]


def test_who_and_what_is_running() -> None:
    ctx, _ = context(assign(attempt=3))
    assert (ctx.job, ctx.command, ctx.attempt, ctx.user, ctx.tags) == ("parent", "app.work", 3, "u7", ("t",))


def test_progress() -> None:
    ctx, line = context()
    ctx.progress(50, "half", step="reading")
    ctx.progress(message="no idea how far")
    assert line.sent == [Progressed(1, 50, "half", "reading"), Progressed(1, None, "no idea how far", None)]


@pytest.mark.parametrize("percent", [-1, 101, float("nan")])
def test_a_percentage_is_one(percent: float) -> None:
    ctx, line = context()
    with pytest.raises(ValueError, match="between 0 and 100"):
        ctx.progress(percent)
    assert line.sent == []


def test_log_events_and_stream() -> None:
    ctx, line = context()
    ctx.log("hello", "warning", page=3)
    ctx.emit("found", {"page": 3})
    ctx.emit("done")
    ctx.stream.write("word")
    ctx.stream.write({"token": 1})
    assert said(line) == [
        ("log", {"level": "warning", "message": "hello", "page": 3}),
        ("emit", {"event": "found", "data": {"page": 3}}),
        ("emit", {"event": "done", "data": None}),
        ("chunk", "word"),
        ("chunk", {"token": 1}),
    ]


def test_what_is_not_json_is_refused_where_it_is_said() -> None:
    ctx, line = context()
    with pytest.raises(InvalidInput, match="cannot be written as JSON"):
        ctx.emit("found", object())
    assert line.sent == []


def test_one_event_has_a_bound() -> None:
    ctx, line = context()
    with pytest.raises(ValueError, match=f"{EVENT_MAX} bytes"):
        ctx.stream.write("x" * EVENT_MAX)
    assert line.sent == []
    ctx.stream.write("x" * (EVENT_MAX - 2))


def test_captured_output_is_kept_line_by_line() -> None:
    ctx, line = context()
    for piece in ("one\ntw", "o\nthr", "ee", "\n", "rest"):
        ctx.print(EventKind.STDOUT, piece)
    ctx.print(EventKind.STDERR, "error")
    assert said(line) == [("stdout", "one\n"), ("stdout", "two\n"), ("stdout", "three\n")]
    ctx.close()
    assert said(line)[3:] == [("stdout", "rest"), ("stderr", "error")]


# ── further jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_submits_on_behalf_of_its_own_user() -> None:
    ctx, line = context()
    assert ctx.submit("app.other", count=1) == "new"
    assert ctx.submit(other, 1) == "new"
    (_, by_name), (_, typed) = line.asked
    assert (by_name["command"], by_name["input"], by_name["user"]) == ("app.other", {"count": 1}, "u7")
    assert (typed["command"], typed["input"]) == ("app.other", {"count": 1})


def test_options_go_beside_the_input_and_parameters_win() -> None:
    ctx, line = context()
    ctx.submit(other, 1, user="as input", priority=Priority.CRITICAL, delay="5m")
    (_, sent) = line.asked[0]
    assert sent["input"] == {"count": 1, "user": "as input"}
    assert (sent["user"], sent["priority"], sent["delay"]) == ("u7", 20, 300.0)


def test_a_second_attempt_submits_under_the_same_ids_and_a_new_round_under_others() -> None:
    def ids(assigned: Assign) -> list[str]:
        ctx, line = context(assigned)
        for count in range(3):
            ctx.submit("app.other", count=count)
        return [sent["id"] for _, sent in line.asked]

    first = ids(assign(attempt=1))
    assert len(set(first)) == 3
    assert ids(assign(attempt=2)) == first
    assert not set(first) & set(ids(assign(round=1)))
    assert not set(first) & set(ids(assign(job="parent2")))


def test_a_chain_of_jobs_never_meets_itself() -> None:
    """Each submits the next one: the id of the hundredth is nobody else's."""
    seen = ["0190a0b0c0d07000800000000000abcd"]
    for _ in range(100):
        ctx, line = context(assign(job=seen[-1]))
        ctx.submit("app.other", count=1)
        seen.append(line.asked[0][1]["id"])
    assert len(set(seen)) == 101


def test_wrong_input_is_told_before_anything_is_asked() -> None:
    ctx, line = context()
    with pytest.raises(InvalidInput, match="count"):
        ctx.submit(other, "many")
    assert line.asked == []


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_router_answers_what_it_is_asked() -> None:
    ctx, line = context(stats={"running": 3})
    assert ctx.ask("stats", deep=True) == {"running": 3}
    assert line.asked == [("stats", {"deep": True})]


def test_an_answer_that_is_an_error_is_raised_as_what_it_is() -> None:
    with pytest.raises(InvalidInput, match="wrong"):
        unpack(Answer(1, 1, b'"wrong"', "invalid_input"))
    with pytest.raises(StokerError, match="went away"):
        unpack(None)


def test_where_nobody_could_answer_it_is_told() -> None:
    with pytest.raises(StokerError, match="another isolation"):
        NoAnswers().ask("stats", b"{}")


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_entered_is_left_when_the_handler_ends() -> None:
    steps: list[str] = []

    @contextlib.contextmanager
    def resource() -> Any:
        steps.append("open")
        yield "it"
        steps.append("closed")

    ctx, _ = context()
    assert ctx.enter(resource()) == "it"
    assert steps == ["open"]
    ctx.close()
    assert steps == ["open", "closed"]


def test_threads_that_are_first_at_once_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any method may be called from any thread, also where its place is made at the first use."""
    ctx, _ = context()
    both, stack = threading.Barrier(2), contextlib.ExitStack
    ran: list[int] = []

    def made() -> contextlib.ExitStack:
        both.wait(20)  # each has seen that there is none yet
        return stack()

    monkeypatch.setattr("stoker.run.context.contextlib.ExitStack", made)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda number: ctx.cleanup(lambda: ran.append(number)), range(2)))
    ctx.close()
    assert sorted(ran) == [0, 1]


def test_an_environment_within_a_block() -> None:
    ctx, _ = context()
    with ctx.environment({"STOKER_UNIT_KEY": "mine"}):
        assert os.environ["STOKER_UNIT_KEY"] == "mine"
    assert "STOKER_UNIT_KEY" not in os.environ
