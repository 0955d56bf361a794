"""The server under the nodes: restarted under load, and lines to it that are dead (D14, D21)."""

from __future__ import annotations

import os
import random
import re
import signal
import time

import psutil
import pytest

from stoker.store.base import PATIENCE
from tests.conftest import Fresh
from tests.crash.conftest import Enlist
from tests.crash.nodes import (
    abandon,
    begins,
    found_lost,
    loaded,
    node,
    reapers,
    work_goes_on,
)
from tests.daemon import SCALE, until
from tests.fleet import Fleet, started, thaw
from tests.net import Proxy
from tests.postgres import Server
from tests.terminal import answer, typed

ANSWERED = 8.0
"""Seconds within which whoever asks whether a node lives hears it: well within the time-out of a probe."""
LEFT = 15.0
"""Seconds within which a node without work has left: well within the 30 s that a service manager gives it."""
RECOVERED = 5.0
"""Seconds after the server is up within which the fleet works again."""
REBUILT = 10.0
CHAOS = 20.0
GAPS = (3.0, 6.0) if SCALE < 4 else (5.0, 40.0)
"""Seconds between restarts of the server."""


# ── restarts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(120 + 3 * CHAOS * SCALE)
def test_the_server_is_restarted_again_and_again_under_load(fresh_postgres: Fresh, enlist: Enlist) -> None:
    """D14, P10: immediate restarts, sessions ended at random in between, and a router killed each time; two nodes under
    load. Nothing is lost, nothing ends twice, and the fleet is at work again within five seconds of the server."""
    server = fresh_postgres()
    fleet = enlist(server, lease=6, look=1, consumers_max=3)
    nodes = fleet.nodes_of("a", "b")
    with loaded(nodes) as loads:
        seed = random.randrange(1 << 30)
        chance = random.Random(seed)
        end = time.monotonic() + CHAOS * SCALE
        recoveries: list[float] = []
        ended = 0
        while time.monotonic() < end:
            work_goes_on(fleet, 30)
            os.kill(chance.choice(nodes).router, signal.SIGKILL)  # faults that overlap: its jobs are lost in the outage
            pause = time.monotonic() + chance.uniform(*GAPS)
            while time.monotonic() < pause:
                ended += end_a_session(fleet, chance)
                due = time.monotonic() + 1.0
                until(lambda due=due: time.monotonic() > due)  # type: ignore[misc]
            server.restart("immediate")
            recoveries.append(work_goes_on(fleet, 30))
        ids = [id for load in loads for id in load.stop()]
    fleet.all_ended(ids, 60)
    fleet.check(ids, faults=2 * len(recoveries))
    doubled = begins(fleet, ids) - len(ids)
    print(
        f"D14 (seed {seed}): {len(recoveries)} restarts, {ended} sessions ended, {len(ids)} jobs: lost 0, doubled "
        f"outcomes 0, {doubled} second starts, {sum(load.refusals for load in loads)} submissions sent again, at work "
        f"again within {max(recoveries):.2f} s"
    )
    assert max(recoveries) <= RECOVERED
    assert [node.stop() for node in nodes] == [0, 0]


def end_a_session(fleet: Fleet, chance: random.Random) -> int:
    """End one of the nodes' sessions, as an administrator would; how many that were."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'stoker/%%' ORDER BY pid"
    pids = [row[0] for row in fleet.sql(query, fleet.database)]
    return int(bool(pids) and fleet.sql("SELECT pg_terminate_backend(%s)", chance.choice(pids)) == [(True,)])


def test_dbos_716_the_server_restarts_in_the_middle_of_a_rescue(fresh_postgres: Fresh, enlist: Enlist) -> None:
    """The reaper has seen a lost job when its connection goes: it is rescued all the same."""
    fleet = enlist(fresh_postgres())
    (reaper,) = reapers(fleet, "a")
    job = reaper.client.submit("led.work", id="rescued", delay=60)
    abandon(fleet, [reaper], job.id)
    fleet.server.restart("immediate")
    thaw([reaper.router])
    until(lambda: found_lost(reaper) == 1)
    reaper.client.ask("cordon", node="a", cordoned=False)
    fleet.all_ended([job.id], 20)
    fleet.check([job.id], faults=0)


# ── tables that somebody has locked ──────────────────────────────────────────────────────────────────────────────────


def test_of_what_jobs_say_to_a_locked_server_one_report_waits_and_one_line_tells_its_loss(fleet: Fleet) -> None:
    """Everything said meanwhile is in the next one; all that was said is kept, or counted as lost."""
    words, a_second, waits = 400, 100.0, 1.0
    a = node(fleet, "a", lease=60, look=60, labels="gpu").start()
    ids = [a.client.submit("far.far_chatter", words=words, a_second=a_second).id for _ in range(2)]
    kept = "SELECT count(*) FROM stoker.events WHERE kind = 'chunk'"
    until(lambda: fleet.sql(kept)[0][0] > 10)
    (writer,) = fleet.backends("a/writer")
    stuck = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'stoker.jobs'::regclass AND pid = %s"

    def lost() -> list[int]:
        return [int(count) for count in re.findall(r"events were lost.*?\bevents=(\d+)", a.log())]

    refusals = 0
    fleet.sql("BEGIN; LOCK TABLE stoker.jobs")
    for times in (1, 2):
        end = time.monotonic() + waits
        until(lambda end=end: time.monotonic() > end)  # type: ignore[misc]
        while len(lost()) < times:
            refusals += fleet.sql(f"SELECT pg_cancel_backend(%s) WHERE EXISTS ({stuck})", writer, writer) == [(True,)]
            end = time.monotonic() + 0.25
            until(lambda end=end, times=times: len(lost()) >= times or time.monotonic() > end)  # type: ignore[misc]
    fleet.sql("COMMIT")
    fleet.all_ended(ids)
    told = lost()
    print(f"{refusals} refusals, {told} events lost in each, of {words * len(ids)}")
    assert a.log().count("events were lost") == len(told) <= refusals
    assert max(told) > waits * a_second, "what was said meanwhile went together"
    assert fleet.sql(kept)[0][0] + sum(told) == words * len(ids)


# ── a line that is dead and does not say so ──────────────────────────────────────────────────────────────────────────


def test_pg_boss_850_a_listener_whose_line_is_dead(fleet: Fleet, postgres: Server) -> None:
    """D21 (bullmq#4729, graphile#541): what a node would have heard there it finds by its look; the dead line is
    noticed and made anew, and then it hears again."""
    look = 3.0
    with Proxy(postgres.port) as proxy:
        a = fleet.node(
            "a", "fleet", look=look, store=fleet.url(direct=f"127.0.0.1:{proxy.port}"), labels="gpu", begin=False
        )
        b = fleet.node("b", "fleet", look=30, begin=False)
        started(a, b)

        def start() -> float:
            begun = time.monotonic()
            assert b.client.call("fleet.train") == str(a.folder)
            return time.monotonic() - begun

        heard = min(start() for _ in range(3))
        proxy.block()
        blocked = time.monotonic()
        late = start()
        until(lambda: "the listening connection was lost" in a.log(), REBUILT)
        noticed = time.monotonic() - blocked
        proxy.unblock()
        until(lambda: len(fleet.backends("stoker/listener")) >= 2 and proxy.connections == 1, REBUILT)
        rebuilt = time.monotonic() - blocked
        again = min(start() for _ in range(3))
    print(
        f"D21: started by notification in {heard:.2f} s; with a dead line in {late:.2f} s (look {look:g} s); noticed "
        f"after {noticed:.1f} s, listening again after {rebuilt:.1f} s, then {again:.2f} s"
    )
    assert max(heard, again) < 1.0
    assert late < look + 1.0
    assert rebuilt < REBUILT


@pytest.mark.timeout(90)
def test_a_daemon_outlasts_a_server_that_is_away_longer_than_anybody_asks(
    fresh_postgres: Fresh, enlist: Enlist
) -> None:
    """P10, at its start: it goes on trying, says so, and is ready by itself when the server is there."""
    server = fresh_postgres()
    node = enlist(server).node("a", begin=False)
    server.stop()
    node.start(wait=False)
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > PATIENCE + 1, 30)
    assert "Connection retry" in node.log()
    assert node.processes("router")
    server.start()
    node.wait_ready(RECOVERED + 10)
    assert node.client.call("led.work")["attempt"] == 1


@pytest.mark.parametrize("gone", ["stopped", "frozen"])
def test_a_node_is_asked_and_stopped_while_its_store_is_away(fresh_postgres: Fresh, enlist: Enlist, gone: str) -> None:
    """Probes do not kill a node for its store's sake, and it leaves when it is told to."""
    server = fresh_postgres()
    node = enlist(server).node("a")
    done = node.client.call("led.work")
    assert done["attempt"] == 1
    frozen = psutil.Process(server.pid)
    if gone == "stopped":
        server.stop()
    else:
        for one in (frozen, *frozen.children(recursive=True)):
            one.suspend()
    try:
        for words, code in ((("status", "--json"), 0), (("health", "--json"), 1)):
            begun = time.monotonic()
            found = answer(node, *words, code=code)
            assert "the store is away" in (found.get("health") or found)["message"]
            assert time.monotonic() - begun < ANSWERED
        assert "\nstoker_store_up 0\n" in typed(node, "metrics").stdout
        begun = time.monotonic()
        typed(node, "stop", "--now")
        assert node.exit_code() == 0
        assert time.monotonic() - begun < LEFT
    finally:
        if gone == "frozen":
            for one in (frozen, *frozen.children(recursive=True)):
                one.resume()
