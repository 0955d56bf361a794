"""The helpers for users' own tests: inline runs, a workbench, assertions, a clock."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydantic
import pytest

from stoker import (
    Backoff,
    Client,
    Context,
    InvalidInput,
    JobFailed,
    JobHandle,
    Product,
    Retry,
    Roles,
    Snooze,
    StokerError,
)
from stoker import settings as settings_module
from stoker.client import default
from stoker.model.errors import AlreadyRunning, UnknownCommand, UnknownMethod
from stoker.testing import FakeClock, Push, Workbench, arun_inline, assert_submitted, drain, run_inline

shop = Product("shop")


class Order(pydantic.BaseModel):
    item: str
    count: int = 1


class Receipt(pydantic.BaseModel):
    total: float


@shop.command(retries=2, backoff=Backoff(base=10.0))
def buy(order: Order, ctx: Context) -> Receipt:
    ctx.progress(10, "packing", step="pack")
    ctx.log("packed", level="warning", boxes=2)
    logging.getLogger("shop").info("paid %s", order.item)
    ctx.stream.write("a")
    ctx.stream.write({"b": 1})
    ctx.emit("bought", {"item": order.item})
    ctx.later(lambda: ctx.progress(100))
    if order.item == "nothing":
        raise ValueError("there is no nothing")
    if order.item == "later" and ctx.attempt < 3:
        raise Retry("not yet", after=60)
    if order.count > 1:
        ctx.submit(thank, user_name=str(ctx.user))
    return Receipt(total=order.count * 2.5)


@shop.command
async def thank(user_name: str) -> str:
    await asyncio.sleep(0)
    return f"thank you, {user_name}"


@shop.command
async def thank_from_here(ctx: Context) -> list[Any]:
    return [await ctx.asubmit(thank, user_name="here"), os.getpid()]


@shop.command
def count_down(number: int, ctx: Context) -> int:
    if number:
        ctx.submit(count_down, number=number - 1)
    return number


@shop.command
def nap(ctx: Context) -> int:
    if ctx.attempt == 1 and not ctx.tags:
        raise Snooze("5m")
    return ctx.attempt


# ── one handler ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_inline_run_remembers_everything() -> None:
    result = run_inline(buy, item="tea", count=2, user="u7", tags=("gift",))
    assert result.value == Receipt(total=5.0)
    assert [(one.percent, one.message, one.step) for one in result.progress] == [
        (10, "packing", "pack"),
        (100, None, None),
    ]
    assert result.logs == ["packed", "paid tea"]
    assert result.chunks == ["a", {"b": 1}]
    assert result.events == [("bought", {"item": "tea"})]
    assert assert_submitted(result, thank, user_name="u7").options["user"] == "u7"


def test_input_is_checked_as_a_submission_would_be() -> None:
    with pytest.raises(InvalidInput, match="count"):
        run_inline(buy, item="tea", count="many")
    with pytest.raises(InvalidInput, match="item"):
        run_inline(buy, {"count": 1})
    assert run_inline(buy, Order(item="tea")).value == Receipt(total=2.5)


def test_what_the_handler_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="there is no nothing"):
        run_inline(buy, item="nothing")
    with pytest.raises(Retry):
        run_inline(buy, item="later", attempt=2)
    assert run_inline(buy, item="later", attempt=3).value.total == 2.5


def test_a_wrong_result_is_told() -> None:
    def wrong() -> int:
        return "many"  # type: ignore[return-value]  # what the test is about

    with pytest.raises(JobFailed, match="InvalidOutput"):
        run_inline(Product("unlike").command(wrong))


def test_coroutines_run_inline_with_and_without_a_loop() -> None:
    assert run_inline(thank, user_name="you").value == "thank you, you"

    async def within() -> None:
        result = await arun_inline(thank_from_here)
        assert result.value[1] == os.getpid()
        assert_submitted(result, "shop.thank", user_name="here")
        assert (await arun_inline(buy, item="tea")).value == Receipt(total=2.5)

    asyncio.run(within())


def test_what_is_pushed_is_remembered() -> None:
    """Alone, and in a workbench: also by code that is no handler."""

    def pushing(ctx: Context) -> None:
        ctx.send_to_all(Roles.web, "u7", "indexed", {"chunks": 42}, session="s1")
        ctx.notify_now("u7", "done", level="success")

    wanted = [
        Push(user="u7", event="indexed", data={"chunks": 42}, session="s1"),
        Push(user="u7", event="notification", data={"message": "done", "level": "success"}),
    ]
    command = shop.command(pushing)
    assert run_inline(command).pushed == wanted
    with Workbench(command) as bench:
        command.submit()
        bench.drain()
        bench.client.send_to_all("script", "0", "rates", pulse=True)
        assert bench.pushed == [*wanted, Push(role="script", user="0", event="rates", data=None, pulse=True)]


def test_questions_need_answers() -> None:
    def ask(ctx: Context) -> Any:
        return ctx.ask("stats")

    asking = Product("asking").command(ask)
    assert run_inline(asking, answers={"stats": {"uptime": 1}}).value == {"uptime": 1}
    with pytest.raises(UnknownMethod, match="stats"):
        run_inline(asking)


def test_logging_is_as_before_afterwards() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    run_inline(buy, item="tea")
    with pytest.raises(ValueError, match="nothing"):
        run_inline(buy, item="nothing")
    assert (root.level, root.handlers) == before


# ── a workbench ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_submitted_waits_until_it_is_drained() -> None:
    with Workbench(shop) as bench:
        job = buy.submit(item="tea", count=3, user="u7", priority="critical")
        assert bench.job(job.id).status == job.status() == "new"
        assert assert_submitted(bench, buy, item="tea", user="u7", priority="critical", times=1).input["count"] == 3
        ran = bench.drain()
        assert [(one.name, one.status) for one in ran] == [("shop.buy", "completed"), ("shop.thank", "completed")]
        assert job.result() == Receipt(total=7.5)
        assert list(job.stream()) == ["a", {"b": 1}]
        assert list(job.logs()) == ["packed", "paid tea"]
        progress = job.progress()
        assert progress is not None
        assert progress.percent == 100
        assert bench.jobs()[0].result() == "thank you, u7"


def test_order_is_by_priority_then_age() -> None:
    with Workbench(shop) as bench:
        ids = [thank.submit(user_name=str(rank), priority=rank).id for rank in (0, 10, 0, 20)]
        assert [one.id for one in bench.drain()] == [ids[3], ids[1], ids[0], ids[2]]


def test_time_goes_only_where_it_is_sent() -> None:
    with Workbench(shop) as bench:
        begun = bench.clock.wall()
        job = thank.submit(user_name="x", delay="2h")
        assert bench.drain() == []
        bench.clock.advance(7199)
        assert bench.drain() == []
        bench.clock.advance(1)
        assert [one.id for one in bench.drain()] == [job.id]
        record = bench.job(job.id)
        assert record.completed_at is not None
        assert bench.clock.wall() - begun == 7200


def test_retries_and_backoff_are_the_real_ones() -> None:
    with Workbench(shop) as bench:
        job = buy.submit(item="nothing")
        (first,) = bench.drain()
        assert (first.status, first.attempt, first.error) == ("new", 1, "ValueError: there is no nothing")
        bench.clock.advance(10)
        assert [one.attempt for one in bench.drain()] == [2]
        bench.clock.advance(19)
        assert bench.drain() == []
        (last,) = bench.drain(future=True)
        assert (last.status, last.attempt) == ("failed", 3)
        with pytest.raises(JobFailed, match="there is no nothing"):
            job.result()


def test_a_call_runs_what_it_needs() -> None:
    with Workbench(shop) as bench:
        begun = bench.clock.wall()
        assert buy.call(item="later") == Receipt(total=2.5)
        assert bench.clock.wall() - begun == 120, "two attempts, each put off by a minute"
        assert bench.client.call("shop.thank", user_name="y") == "thank you, y"
        assert nap.call(tags=("done",)) == 1


def test_a_wait_ends_with_its_time() -> None:
    with Workbench(shop) as bench:
        begun = bench.clock.wall()
        job = nap.submit()
        with pytest.raises(StokerError, match="it goes on"):
            job.wait(30)
        assert bench.clock.wall() - begun == 30
        assert job.cancel("enough").status == "cancelled"
        assert job.retry().status == "new"


def test_waiting_in_vain_is_told(tmp_path: Path) -> None:
    settings = settings_module.load({"root": str(tmp_path)}, environ={})
    with Client(settings=settings) as client:
        job: JobHandle[Any] = client.submit("other.unknown_here")
    with Workbench(shop, store=settings.store_path) as bench, pytest.raises(StokerError, match="would not end"):
        bench.client.job(job.id).wait()


def test_coroutines_under_test_use_it_too() -> None:
    async def submit_some(bench: Workbench) -> None:
        job = await thank.asubmit(user_name="a")
        assert (await job.record()).status == "new"
        result: Any = await job.result()
        assert result == "thank you, a"
        assert await (await buy.asubmit(item="tea")).result() == Receipt(total=2.5)
        many = await bench.async_client.submit_many(thank, [{"user_name": "b"}, {"user_name": "c"}])
        assert [one.result() for one in await bench.adrain()] == ["thank you, b", "thank you, c"]
        assert await many[0].status() == "completed"
        blocking: Any = thank.call(user_name="d")
        assert blocking == "thank you, d", "in spite of the loop"

    with Workbench(shop) as bench:
        asyncio.run(submit_some(bench))


def test_requests_are_refused_as_by_the_daemon() -> None:
    with Workbench(shop) as bench:
        with pytest.raises(InvalidInput, match="count"):
            bench.client.submit("shop.buy", item="tea", count="many")
        with pytest.raises(UnknownCommand, match=r"did you mean shop\.buy"):
            bench.client.submit("store.buy", item="tea")
        with pytest.raises(UnknownMethod, match="needs a daemon"):
            bench.client.stats()
        with pytest.raises(InvalidInput, match="count"):
            bench.client.submit_many("shop.buy", [{"item": "tea"}, {"item": "tea", "count": "many"}])
        assert bench.submitted == []
        assert bench.jobs() == [], "all or none"


def test_a_job_that_never_ends_its_line_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.testing.workbench.RUNS_MAX", 6)
    with Workbench(shop) as bench:
        count_down.submit(4)
        assert len(bench.drain()) == 5
        count_down.submit(6)
        with pytest.raises(StokerError, match="6 runs and no end"):
            bench.drain()


def test_afterwards_all_is_as_it_was(tmp_path: Path) -> None:
    before = default.client
    with Workbench(shop) as bench:
        folder = bench.settings.root
        assert default.client() is bench.client
    assert default.client is before
    assert not folder.exists()


def test_a_store_on_disk_can_be_drained(tmp_path: Path) -> None:
    settings = settings_module.load({"root": str(tmp_path)}, environ={})
    with Client(settings=settings) as client:
        job = client.submit(thank, user_name="z")
    path = settings.store_path
    assert path is not None
    assert [one.result() for one in drain(path, shop)] == ["thank you, z"]
    assert drain(path, shop) == []
    with Workbench(shop, store=path) as bench:
        assert bench.job(job.id).status == "completed"
        with pytest.raises(AlreadyRunning):
            drain(path, shop)


# ── assertions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_assertion_that_fails_shows_what_there_was() -> None:
    with Workbench(shop) as bench:
        with pytest.raises(AssertionError, match="there was: nothing"):
            assert_submitted(bench, buy)
        buy.submit(item="tea", user="u7")
        with pytest.raises(AssertionError, match=r"shop\.buy\(item='cake'\)(.|\n)*'item': 'tea'(.|\n)*'u7'"):
            assert_submitted(bench, buy, item="cake")
        with pytest.raises(AssertionError, match="2 times, was 1 times"):
            assert_submitted(bench, buy, times=2)
        assert_submitted(bench, thank, times=0)


def test_the_clock_is_handed_in() -> None:
    clock = FakeClock(1_000_000.0)
    with Workbench(shop, clock=clock) as bench:
        thank.submit(user_name="x")
        assert bench.drain()[0].created == "1970-01-12T13:46:40.000+00:00"


def test_it_needs_no_pytest() -> None:
    program = "import sys, stoker.testing; sys.exit('pytest' in sys.modules or '_pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
