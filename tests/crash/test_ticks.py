"""Ticks of real daemons that are killed around them: every second once, none missed, none doubled."""

from __future__ import annotations

import signal
from datetime import datetime
from typing import Any

from tests.daemon import Daemon, scaled, until
from tests.fleet import Fleet
from tests.schedules import put, script
from tests.story.conftest import Make
from tests.terminal import answer

FAST = {"lease": 2.0, "look": 0.2}


def decided(daemon: Daemon) -> list[dict[str, Any]]:
    """The decided slots of the schedule that ticks each second, oldest first."""
    found: list[dict[str, Any]] = answer(daemon, "schedule", "history", "second", "--json", "-n", "1000")
    return found[::-1]


def check(slots: list[dict[str, Any]]) -> None:
    """Each second from the first to the last is there once, and was fired."""
    moments = [int(datetime.fromisoformat(one["slot"]).timestamp()) for one in slots]
    assert moments == list(range(moments[0], moments[0] + len(moments)))
    assert {one["fate"] for one in slots} == {"fired"}
    assert len({one["job"] for one in slots}) == len(slots)


def test_a_daemon_that_is_killed_again_and_again_misses_no_slot_and_doubles_none(make: Make) -> None:
    """Rows of D17 and D20 on one file: SIGKILL of everything, then of the router, then a restart in order."""
    daemon = make("schedules", **FAST)
    for round in range(scaled(4, 3)):
        count = len(decided(daemon))
        until(lambda count=count: len(decided(daemon)) >= count + 2, 20, "two more slots")  # type: ignore[misc]
        if round % 3 == 0:
            daemon.kill()
            daemon.start()
        elif round % 3 == 1:
            daemon.send(signal.SIGUSR2)
            daemon.wait_ready()
        else:
            daemon.stop()
            daemon.start()
    until(lambda: len(decided(daemon)) >= 8, 20, "eight slots")
    check(decided(daemon))


def test_nodes_that_tick_together_and_die_fire_each_second_once(fleet: Fleet) -> None:
    """Bugs oban#1488, solid_queue e43f204: two that tick; and what is between the death of one and the other."""
    first, second = fleet.nodes_of("a", "b", apps=("schedules",), **FAST)
    until(lambda: len(decided(first)) >= 3, 20, "three slots")
    first.kill()
    count = len(decided(second))
    until(lambda: len(decided(second)) >= count + 3, 20, "the other goes on")
    first.start()
    until(lambda: {one["decider"] for one in decided(first)} == {"a", "b"}, 20, "both have decided")
    second.stop()
    slots = decided(first)
    check(slots)
    ((jobs,),) = fleet.sql(
        "SELECT count(*) FROM (SELECT id FROM stoker.jobs WHERE command = 'clock.note' "
        "UNION ALL SELECT id FROM stoker.ended WHERE command = 'clock.note') j"
    )
    assert jobs >= len(slots)
    ((doubled,),) = fleet.sql("SELECT count(*) - count(DISTINCT (name, node, slot)) FROM stoker.slots")
    assert doubled == 0


def test_base_entries_run_on_every_node_and_those_of_a_role_on_its_holder(fleet: Fleet) -> None:
    """Rows T12, T13, T34: as the seed's seven machines do; the holder dies, and its entries go on elsewhere."""
    base = [{"active": 1, "name": "base", "schedule": "* * * * * *", "cron": "where.py base"}]
    role = [{"active": 1, "name": "mail it", "schedule": "* * * * * *", "cron": "where.py mail", "catch_up": "all"}]
    environ = {"ENVIRONMENT": "worker", "STOKER_ROLES_NAMES": "mail", "STOKER_ROLES_REAP_AFTER": "2",
               "STOKER_ROLES_CLAIM_AFTER": "2"}  # fmt: skip
    nodes = {name: fleet.node(name, "schedules", begin=False, environ=environ, **FAST) for name in ("a", "b")}
    for node in nodes.values():
        for name, entries in (("cron.worker.json", base), ("cron.worker.mail.json", role)):
            put(node, entries, name)
        script(node, "where.py", "import sys; open(sys.argv[1], 'a').write('x')")
        node.start()
    until(lambda: all(node.file("base").exists() for node in nodes.values()), 30, "the base on both")
    until(lambda: any(node.file("mail").exists() for node in nodes.values()), 30, "the role on one")
    (holder,) = (name for name, node in nodes.items() if node.file("mail").exists())
    (other,) = nodes.keys() - {holder}
    nodes[holder].kill()
    until(nodes[other].file("mail").exists, 30, "the role on the other")
    ((doubled,),) = fleet.sql("SELECT count(*) - count(DISTINCT (name, node, slot)) FROM stoker.slots")
    assert doubled == 0


def test_a_store_that_is_away_over_a_tick_loses_none(fleet: Fleet) -> None:
    """Row of D14: the server restarts; what was due meanwhile is fired when it answers."""
    (node,) = fleet.nodes_of("a", apps=("schedules",), **FAST)
    until(lambda: len(decided(node)) >= 2, 20, "two slots")
    for backend in fleet.backends("stoker/writer"):
        fleet.sql("SELECT pg_terminate_backend(%s)", backend)
    count = len(decided(node))
    until(lambda: len(decided(node)) >= count + 3, 30, "it goes on")
    check(decided(node))
