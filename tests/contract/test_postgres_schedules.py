"""What became of slots is read without looking through all that has ended."""

from __future__ import annotations

from stoker.model.slot import Line, Tick
from stoker.store.postgres.session import Db
from tests.contract.make import finish, job, take_one
from tests.contract.places import PostgresPlace

HISTORY = """
INSERT INTO {}.ended (seq, id, command, state, waits, priority, attempt, fence, created, updated, run_at, started,
                      finished, input)
SELECT i, 'old-' || i, 'app.work', 'completed', 'slot', 0, 1, 1, now(), now(), now(), now(),
       now() - i % 5 * interval '1 day', 'x'
FROM generate_series(1000, 30000) i RETURNING 1
"""
SLOTS = """
INSERT INTO {}.slots (name, node, slot, first, count, at, fate, job, reason, decider)
SELECT 's' || i % 50, '', timestamptz '2001-01-01' - i * interval '1 minute', now(), 1,
       now() - i % 5 * interval '1 day', 'fired', 'old-' || i, '', 'n' FROM generate_series(1000, 30000) i RETURNING 1
"""


async def test_the_runs_of_many_schedules_are_one_quick_statement(pg: PostgresPlace) -> None:
    store = await pg.open()
    now = store.now()
    (fired,) = await store.schedules.decide([Tick(line=Line("s0"), slot=now + 60, submission=job())], "n")
    await finish(store, await take_one(store))
    pg.sql(HISTORY)
    pg.sql(SLOTS)
    pg.sql("ANALYZE {}.ended")
    pg.sql("ANALYZE {}.slots")
    lines = [Line(f"s{number}") for number in range(50)]
    runs = await store.schedules.runs([(line, 20) for line in lines])
    assert [len(found) for found in runs] == [20] * 50
    newest = runs[0][-1].job
    assert newest is not None
    assert newest.id == fired.job

    async def plan(db: Db) -> str:
        names, nodes, most = [line.name for line in lines], [""] * 50, [20] * 50
        rows = await db.query(f"EXPLAIN (ANALYZE) {db.sql['schedule_runs']}", [names, nodes, most])
        return "\n".join(row[0] for row in rows)

    text: str = await store._readers.read(plan)  # type: ignore[attr-defined]
    assert "Seq Scan on ended_rest" not in text, text
    assert "Seq Scan on slots" not in text, text
