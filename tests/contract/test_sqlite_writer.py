"""The SQLite driver's writer: group commits, one process only, and plans that stay flat however much has ended."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from stoker.model.clock import FakeClock
from stoker.model.errors import StoreError, UnknownJob, WrongState
from stoker.model.job import Job, State, Submitted
from stoker.store.sqlite import SqliteStore
from stoker.store.sqlite.connection import SQL, Connection
from tests.contract.inside import on_writer
from tests.contract.make import done, finish, held, job, put, quota, take, take_one


@pytest.fixture
def store(path: Path, runner: asyncio.Runner) -> Iterator[SqliteStore]:
    made = SqliteStore(path, FakeClock())
    runner.run(made.open())
    yield made
    runner.run(made.close())


async def count_commits(store: SqliteStore) -> list[int]:
    """A list that grows by one with each commit from the next one on."""
    commits: list[int] = []

    def committed() -> bool:
        commits.append(1)
        return False

    await on_writer(store, lambda db: db._db.set_commit_hook(committed))
    commits.clear()
    return commits


# ── group commits ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_requests_that_come_together_share_commits(store: SqliteStore) -> None:
    commits = await count_commits(store)
    answers = await asyncio.gather(*(store.submit([job()]) for _ in range(400)))
    assert all(isinstance(answer, Submitted) and answer.created for (answer,) in answers)
    assert 1 <= len(commits) <= 40


async def test_a_lone_request_has_a_commit_of_its_own(store: SqliteStore) -> None:
    commits = await count_commits(store)
    for _ in range(5):
        await put(store, job())
    assert len(commits) == 5


async def test_an_answer_comes_after_the_commit(store: SqliteStore, path: Path) -> None:
    other = apsw.Connection(str(path))
    pending = [store.submit([job(id=f"j{number}")]) for number in range(50)]
    for number, answer in enumerate(pending):
        await answer
        assert other.execute("SELECT count(*) FROM jobs WHERE id = ?", (f"j{number}",)).get == 1
    other.close()


async def test_a_group_with_a_failure_in_it_is_written_but_for_the_failure(store: SqliteStore) -> None:
    def broken(db: Connection) -> None:
        db.all("pause", "half done", 1.0)
        raise UnknownJob("on purpose")

    work: list[Any] = [store.submit([job(id="a")]), store._writer.do(broken), store.submit([job(id="b")])]
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results] == [list, UnknownJob, list]
    assert [claimed.id for claimed in await take(store)] == ["a", "b"]
    assert await store.pauses() == frozenset(), "what failed left nothing behind"


@pytest.mark.parametrize(("refused", "most"), [(1, 40), (5, 40), (100, 450)])
async def test_a_refused_request_costs_its_neighbours_no_commit_each(
    store: SqliteStore, refused: int, most: int
) -> None:
    """Whoever asks for nonsense all the time does not take the group commits from everybody else."""
    commits = await count_commits(store)
    work: list[Any] = [store.submit([job()]) for _ in range(400)]
    for number in range(refused):
        work.insert(number * 3, store.retry(f"nobody-{number}"))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results].count(UnknownJob) == refused
    assert [type(result) for result in results].count(list) == 400
    assert len(commits) <= most
    assert len(await take(store)) == 400


async def test_a_refusal_in_a_group_stands_in_its_order(store: SqliteStore) -> None:
    """What was asked before it counts for it, what was asked after it does not."""
    await put(store, job(id="a"))
    claimed = await take_one(store)
    work: list[Any] = [store.retry("a"), store.settle([done(claimed)]), store.retry("a"), store.retry("a")]
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results] == [WrongState, list, Job, WrongState]
    assert (await store.get("a")).state is State.NEW


async def test_a_request_that_nobody_waits_for_any_more_is_still_written(store: SqliteStore) -> None:
    pending = store.submit([job(id="a")])
    pending.cancel()
    await put(store, job(id="b"))
    assert (await store.get("a")).state is State.NEW


# ── one process only ─────────────────────────────────────────────────────────────────────────────────────────────────


def in_a_child(check: Callable[[], bool]) -> bool:
    """Whether ``check`` is true in a forked child that leaves as ours do."""
    with warnings.catch_warnings():
        # Python 3.12 warns of what is tried here on purpose: a fork beside the store's threads
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def works(action: Callable[[], Any]) -> bool:
    action()
    return True


def refuses(action: Callable[[], Any]) -> bool:
    try:
        action()
    except StoreError as error:
        return "another process" in error.message
    return False


def enter_transaction(connection: Connection) -> None:
    with connection.transaction():
        pass


async def test_solid_queue_324_a_connection_refuses_to_work_in_a_child(path: Path, store: SqliteStore) -> None:
    mine = Connection(path, writing=True)
    assert in_a_child(lambda: refuses(lambda: mine.all("pauses")))
    assert in_a_child(lambda: refuses(lambda: enter_transaction(mine)))
    assert in_a_child(lambda: works(mine.close))
    mine.all("pause", "still mine", 1.0)
    mine.close()
    assert await store.pauses() == {"still mine"}


async def test_a_store_refuses_in_a_child_instead_of_waiting_for_threads_that_are_not_there(store: SqliteStore) -> None:
    assert in_a_child(lambda: refuses(lambda: store.get("a")))
    assert in_a_child(lambda: refuses(lambda: store.submit([job()])))
    await put(store, job())


# ── flat, however much has ended ─────────────────────────────────────────────────────────────────────────────────────

HISTORY = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
INSERT INTO jobs (id, command, state, waits, priority, created, updated, run_at, started, finished, attempt, fence,
                  gate, input)
SELECT 'old-' || i, 'app.work', CASE i % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'cancelled' ELSE 'completed' END,
       'slot', i % 3, i, i, i, i, i, 1, 1, CASE i % 4 WHEN 0 THEN 'app.work:k' END, x'7b7d'
FROM n
"""

PLANS = {
    "ready": "jobs_ready (command=?",
    "claim_first": "jobs_ready (command=?",
    "first_ready": "jobs_ready (command=?",
    "input_of": "INTEGER PRIMARY KEY (rowid=?)",
    "end_all": "INTEGER PRIMARY KEY (rowid=?)",
    "ready_commands": "COVERING INDEX jobs_ready",
    "oldest_ready": "jobs_ready (command=?",
    "ahead": "jobs_ready (command=?",
    "orphan": "jobs_ready (command=?",
    "running_of": "jobs_running (command=?)",
    "renew": "INTEGER PRIMARY KEY (rowid=?)",
    "abandoned": "jobs_running",
    "orders": "jobs_running",
    "due": "jobs_due (run_at<?)",
    "next_due": "jobs_due",
    "expire": "jobs_expires (expires>? AND expires<?)",
    "gate_used": "jobs_gate (gate=? AND waits=?)",
    "gate_next": "jobs_gate (gate=? AND waits=?)",
    "gate_limit_next": "jobs_gate (gate=? AND waits=?)",
    "holders": "jobs_gate (gate=? AND waits=?)",
    "counts": "jobs_ready",
    "claim": "INTEGER PRIMARY KEY (rowid=?)",
    "end": "INTEGER PRIMARY KEY (rowid=?)",
    "again": "INTEGER PRIMARY KEY (rowid=?)",
    "is_running": "INTEGER PRIMARY KEY (rowid=?)",
    "set_progress": "INTEGER PRIMARY KEY (rowid=?)",
    "set_waits": "INTEGER PRIMARY KEY (rowid=?)",
    "job": "(id=?)",
    "job_state": "(id=?)",
    "same_job": "(id=?)",
    "cancel_new": "(id=?)",
    "cancel_running": "(id=?)",
    "retry": "(id=?)",
    "replace_job": "(id=?)",
    "find_unique": "PRIMARY KEY (key=?)",
    "events": "events_job (job=? AND seq>?)",
    "old_jobs": "jobs_ended (finished>? AND finished<?)",
    "delete_job": "INTEGER PRIMARY KEY (rowid=?)",
    "delete_job_events": "events_job (job=?)",
    "delete_job_key": "unique_keys_job (job=?)",
    "leave": "PRIMARY KEY (boot=?)",
    "is_cordoned": "PRIMARY KEY (name=?)",
    "forget_stats": "PRIMARY KEY (coarse=? AND at<?)",
    "stats_since": "PRIMARY KEY (coarse=? AND at>?)",
    "message_place": "(id=?)",
    "messages_after": "INTEGER PRIMARY KEY (rowid>?)",
    "messages_to": "messages_user (user=?",
    "purge_messages": "INTEGER PRIMARY KEY (rowid=?)",
    "role_extend": "PRIMARY KEY (name=?)",
    "role_get": "PRIMARY KEY (name=?)",
    "role_order": "PRIMARY KEY (name=?)",
    "role_release": "PRIMARY KEY (name=?)",
    "role_take": "PRIMARY KEY (name=?)",
    "role_forget": "PRIMARY KEY (boot=?)",
    "role_forget_silent": "PRIMARY KEY (boot=?)",
    "schedule_advance": "PRIMARY KEY (name=?)",
    "schedule_decided": "PRIMARY KEY (name=? AND node=? AND slot=?)",
    "schedule_enter": "PRIMARY KEY (name=?)",
    "schedule_forget": "slots_at (at<?)",
    "schedule_job": "PRIMARY KEY (name=? AND node=?)",
    "schedule_pause": "PRIMARY KEY (name=?)",
    "schedule_resume": "PRIMARY KEY (name=?)",
    "schedule_slots": "slots_at (at<?)",
    "schedule_slots_of": "PRIMARY KEY (name=?)",
    "schedule_standing": "PRIMARY KEY (name=? AND node=?)",
    "schedule_dump": "PRIMARY KEY ((name,node)>(?,?))",
    "schedule_dump_slots": "PRIMARY KEY ((name,node,slot)>(?,?,?))",
    "schedule_restore_last": "PRIMARY KEY (name=? AND node=?)",
    "schedule_runs": "PRIMARY KEY (name=? AND node=?)",
    "schedule_waiting": "jobs_gate (gate=?)",
    "audit": "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
    "forget_audit": "audit_at (at<?)",
    "revoked": "(seq>?)",
    "forget_revoked": "revoked_until (until<?)",
    "forget_spent": "spent_until (until<?)",
}
LISTS = {
    "jobs", "count_ended", "command_stats", "delete_old_events", "pauses", "cordons", "has_jobs", "nodes",
    "forget_nodes", "dump",
}  # fmt: skip
"""Statements that read many rows because many are asked for."""


def plan(db: Connection, name: str) -> list[str]:
    values = (1,) * max((number for number in range(1, 20) if f"?{number}" in SQL[name]), default=0)
    return [str(row[3]) for row in db.query(f"EXPLAIN QUERY PLAN {SQL[name]}", values)]


async def test_every_statement_finds_its_rows_by_an_index(store: SqliteStore) -> None:
    await on_writer(store, lambda db: db.query(HISTORY, ()))
    for analysed in (False, True):
        if analysed:
            await on_writer(store, lambda db: db.query("ANALYZE", ()))
        for name, index in PLANS.items():
            steps = await on_writer(store, functools.partial(plan, name=name))
            assert any(index in step for step in steps), (name, steps)
            assert not [step for step in steps if step.startswith("SCAN jobs") and "USING" not in step], (name, steps)


async def test_no_statement_is_left_out_of_the_plans() -> None:
    small = {
        "pause", "resume", "rate_get", "job_seq", "uncordon", "message_head", "message_number", "role_leave",
        "role_nodes", "roles", "schedule_unseen", "set_message_number", "set_message_purged",
        "revoke", "revoke_number",
    }  # fmt: skip
    inserts = {
        "insert_job", "insert_event", "take_unique", "rate_set", "beat", "cordon", "restore_job", "add_message",
        "keep_stats", "role_make", "role_seen", "schedule_slot", "add_audit", "schedule_restore", "spend",
    }  # fmt: skip
    assert set(SQL) - small - inserts == set(PLANS) | LISTS


async def work(store: SqliteStore) -> int:
    """How many steps SQLite's machine takes for the whole way of some jobs."""
    steps = 0

    def traced(report: dict[str, Any]) -> None:
        nonlocal steps
        steps += report["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    mask = apsw.SQLITE_TRACE_PROFILE
    await on_writer(store, lambda db: db._db.trace_v2(mask, traced))
    for _ in range(3):
        await put(store, *(job(key="app.work:k", key_limit=5) for _ in range(10)), job(run_at=store.now() + 5))
        claimed = await store.claim("boot", 30.0, [quota(limit=50), quota("app.other", interval=1.0)], 20)
        await store.renew("boot", 30.0, held(*claimed))
        await store.promote()
        await store.expire()
        await finish(store, *claimed)
    await on_writer(store, lambda db: db._db.trace_v2(0, None))
    return steps


async def test_claiming_takes_no_more_steps_after_thirty_thousand_jobs(store: SqliteStore, folder: Path) -> None:
    before = await work(store)
    other = SqliteStore(folder / "other.db", FakeClock())
    await other.open()
    await on_writer(other, lambda db: db.query(HISTORY, ()))
    after = await work(other)
    await other.close()
    assert before > 100
    assert after <= 1.2 * before


async def test_a_failed_start_is_told_and_not_waited_for(path: Path) -> None:
    def impossible() -> Connection:
        raise RuntimeError("out of luck")

    store = SqliteStore(path)
    store._writer._open = impossible
    with pytest.raises(RuntimeError, match="out of luck"):
        await asyncio.wait_for(store.open(), 20)
    await store.close()


async def test_reading_never_holds_the_log_back(store: SqliteStore, path: Path) -> None:
    """D3: no reader of ours pins a snapshot, so the write-ahead log can always be taken up again."""
    for _ in range(20):
        await put(store, *(job(input=b'"' + b"x" * 20_000 + b'"') for _ in range(20)))
        await asyncio.gather(store.counts(), store.command_stats(), take_one(store))
    with contextlib.closing(apsw.Connection(str(path))) as other:
        other.execute("SELECT count(*) FROM jobs").fetchall()
        log, moved = other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    assert log == moved > 0
