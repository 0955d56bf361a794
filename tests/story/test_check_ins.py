"""Scripts that check in and out, as in the 002 seed: whoever watches their schedule goes by what they said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon import Daemon, until
from tests.schedules import put, script
from tests.story.test_monitors import Sink
from tests.terminal import answer

GOOD = """
from stoker.crons import checkIn, checkOut, cron_job
with cron_job():
    checkIn("tickets-prod")
    checkOut()
"""
WORDS = {
    "good.py": GOOD,
    "never.py": "from stoker.crons import check_in\ncheck_in('never-out')\n",
    "bad.py": "from stoker.crons import check_in, check_out\ncheck_in('bad-end')\ncheck_out('error')\n",
    "own.py": "from stoker.crons import check_in, check_out\ncheck_in('mine')\ncheck_out()\n",
    "raises.py": "from stoker.crons import check_in\ncheck_in('raised')\nraise KeyError('of its own')\n",
}


@pytest.fixture
def watched() -> Iterator[tuple[Daemon, Sink]]:
    with contextlib.closing(Sink()) as sink:
        told = {name: value for name, value in sink.environ.items() if "WEBHOOK" not in name and "MAIL" not in name}
        daemon = Daemon(environ={**told, "TZ": "UTC"})
        with contextlib.closing(daemon):
            put(daemon, [
                {"active": 1, "name": name.removesuffix(".py"), "schedule": "* * * * * *", "cron": name,
                 **({"monitor": {"slug": "mine"}} if name == "own.py" else {})}
                for name in WORDS
            ])  # fmt: skip
            for name, text in WORDS.items():
                script(daemon, name, text)
            yield daemon.start(), sink


def ended(daemon: Daemon, name: str) -> dict[str, Any]:
    def found() -> Any:
        every = answer(daemon, "schedule", "history", name, "--json")
        return next((slot for slot in every if slot["completed_at"]), None)

    one: dict[str, Any] = until(found, 30, f"a run of {name}: {daemon.log()[-2000:]}")
    return one


def test_a_run_counts_by_its_check_ins(watched: tuple[Daemon, Sink]) -> None:
    daemon, sink = watched
    fates = {name.removesuffix(".py"): ended(daemon, name.removesuffix(".py")) for name in WORDS}
    assert {name: slot["status"] for name, slot in fates.items()} == {
        "good": "completed", "never": "failed", "bad": "failed", "own": "completed", "raises": "failed",
    }  # fmt: skip
    assert "it checked in to 'never-out' and never out" in fates["never"]["error"]
    assert "it checked out of 'bad-end' with error" in fates["bad"]["error"]
    assert "of its own" in fates["raises"]["error"], "what it raised says more"

    def told(slug: str) -> list[list[str]]:
        by_id: dict[str, list[str]] = {}
        for one in sink.sentry("check_in"):
            if one["monitor_slug"] == slug:
                assert one["environment"] == "demo"
                by_id.setdefault(one["check_in_id"], []).append(one["status"])
        return [statuses for statuses in by_id.values() if len(statuses) > 1]

    for slug, end in {"tickets-prod": "ok", "never-out": "error", "bad-end": "error", "raised": "error"}.items():
        (first, *_) = until(lambda slug=slug: told(slug), 30, slug)  # type: ignore[misc]
        assert first == ["in_progress", end]
    until(lambda: told("mine"), 30, "the schedule's own monitor")
    assert all(statuses == ["in_progress", "ok"] for statuses in told("mine")), "not told twice"
    health = {one["schedule"]: one["health"] for one in answer(daemon, "schedule", "monitors", "--json", code=1)}
    assert health == {"good": "ok", "never": "failing", "bad": "failing", "own": "ok", "raises": "failing"}
