"""The server's primary is lost, and a standby takes its place (D22)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import Fresh
from tests.crash.conftest import Enlist
from tests.crash.nodes import (
    loaded,
    work_goes_on,
)
from tests.daemon import until
from tests.fleet import Fleet, started
from tests.postgres import Server

RECOVERED = 5.0
"""Seconds after the server is up within which the fleet works again."""


@pytest.fixture
def pair_of_servers(fresh_postgres: Fresh) -> Iterator[Callable[..., tuple[Server, Server]]]:
    """A primary and its standby."""
    made: list[Server] = []

    def make(*, synchronous: bool) -> tuple[Server, Server]:
        primary = fresh_postgres()
        made.append(primary.standby(synchronous=synchronous))
        return primary, made[-1]

    yield make
    for standby in made:
        standby.close()


def both(fleet: Fleet, standby: Server, **query: str) -> str:
    """One URL for primary and standby."""
    more = "".join(f"?{name}={value}" for name, value in query.items())
    return f"postgresql://postgres@127.0.0.1:{fleet.server.port},127.0.0.1:{standby.port}/{fleet.database}{more}"


@pytest.mark.parametrize("query", [{}, {"target_session_attrs": "read-write"}], ids=["hosts", "attrs"])
def test_failover_to_a_synchronous_standby_loses_nothing(
    pair_of_servers: Any, enlist: Enlist, query: dict[str, str]
) -> None:
    """D22: the primary is killed under load and the standby promoted; the URL names both, and every node follows."""
    primary, standby = pair_of_servers(synchronous=True)
    fleet = enlist(primary, lease=6, look=1, consumers_max=3)
    url = both(fleet, standby, **query)
    nodes = started(*(fleet.node(name, begin=False, store=url) for name in ("a", "b")))
    with loaded(nodes) as loads:
        work_goes_on(fleet, 20)
        primary.kill()
        standby.promote()
        fleet.server = standby
        recovered = work_goes_on(fleet, 30)
        ids = [id for load in loads for id in load.stop()]
    fleet.all_ended(ids)
    fleet.check(ids, faults=1)
    print(f"D22: synchronous failover, {len(ids)} jobs: lost 0; at work again {recovered:.2f} s after the promotion")
    assert recovered <= RECOVERED


def test_failover_to_an_asynchronous_standby_loses_what_the_database_loses(
    pair_of_servers: Any, enlist: Enlist
) -> None:
    """D22: what the standby had is done; the rest is the database's loss, as the documentation says. Nothing is stuck,
    though jobs that run and leases that were renewed are unknown to the new primary."""
    primary, standby = pair_of_servers(synchronous=False)
    fleet = enlist(primary, lease=3, look=0.5, consumers_max=3)
    url = both(fleet, standby)
    nodes = started(*(fleet.node(name, begin=False, store=url) for name in ("a", "b")))
    kept = [job.id for job in nodes[0].client.submit_many("led.work", [{"seconds": 0.05}] * 60)]
    caught_up = "SELECT replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication"
    until(lambda: primary.psql(caught_up) == [(True,)], what="the standby has all")
    standby.psql("ALTER SYSTEM SET primary_conninfo = ''")
    standby.psql("SELECT pg_reload_conf()")
    until(lambda: standby.psql("SELECT 1 FROM pg_stat_wal_receiver") == [], what="it follows no more")
    more = [nodes[1].client.submit("led.work", id=f"more-{number}").id for number in range(20)]
    fleet.all_ended([*kept, *more])
    primary.kill()
    had = {
        row[0]
        for row in standby.psql("SELECT id FROM stoker.jobs UNION ALL SELECT id FROM stoker.ended", fleet.database)
    }
    standby.promote()
    fleet.server = standby
    fleet.all_ended(had, 30)
    lost = {*kept, *more} - set(fleet.rows())
    assert lost == {*kept, *more} - had
    again = [node.client.submit("led.work").id for node in nodes]
    fleet.all_ended(again, 20)
    assert {row.state for row in fleet.rows().values()} == {"completed"}
    until(lambda: [row["alive"] for row in nodes[0].client.ask("nodes")] == [True, True])
    print(f"D22: asynchronous failover: {len(lost)} of {len(kept + more)} jobs lost, those that the standby never had")
    assert set(more) <= lost
