"""Reading stays quick however much has ended."""

from __future__ import annotations

import pytest

from stoker.model.job import State
from stoker.store.base import Filter
from stoker.store.postgres.session import Db
from tests.contract.make import job, put
from tests.contract.places import PostgresPlace

HISTORY = """
INSERT INTO {}.ended (seq, id, command, state, waits, priority, attempt, fence, created, updated, run_at, started,
                      finished, input)
SELECT i, 'old-' || i, 'app.work', CASE i % 10 WHEN 0 THEN 'failed' ELSE 'completed' END, 'slot', 0, 1, 1, now(), now(),
       now(), now(), now() - i % 5 * interval '1 day', 'x'
FROM generate_series(1, 30000) i RETURNING 1
"""


@pytest.mark.parametrize(
    "filter", [Filter(), Filter(state=State.FAILED), Filter(command="app.work"), Filter(before=20)]
)
async def test_a_page_of_jobs_reads_a_page(pg: PostgresPlace, filter: Filter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug found here: over both tables at once a page was the end of a sort of all of them (430 ms with a million)."""
    store = await pg.open()
    await put(store, *(job() for _ in range(3)))
    pg.sql(HISTORY)
    pg.sql("ANALYZE {}.ended")
    asked: list[tuple[str, object]] = []
    query = Db.query

    async def watched(db: Db, sql: str, values: object) -> object:
        asked.append((sql, values))
        return await query(db, sql, values)  # type: ignore[arg-type]

    monkeypatch.setattr(Db, "query", watched)
    assert len(await store.jobs(filter)) == 10
    ((sql, values),) = asked
    plan = await store._readers.read(lambda db: query(db, f"EXPLAIN {sql}", values))  # type: ignore[attr-defined,arg-type]
    text = "\n".join(row[0] for row in plan)
    assert "Seq Scan on ended" not in text, text
