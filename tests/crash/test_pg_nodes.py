"""Nodes that die, sleep, or are cut off from the server while they work (D8, D9, D16, and bugs of part B)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import Fresh
from tests.crash.conftest import Enlist
from tests.crash.nodes import (
    LEASE,
    begins,
    breaths,
    found_lost,
    held_on,
    node,
)
from tests.daemon import LOADED, alive, until
from tests.fleet import Fleet, freeze, started, thaw
from tests.net import Proxy
from tests.netns import ADDRESSES, Netns
from tests.postgres import Server

# ── a node dies ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pruned", [False, True], ids=["on-the-roster", "pruned"])
def test_procrastinate_1518_a_whole_node_vanishes(fleet: Fleet, pruned: bool) -> None:
    """D8: every process killed at once. Another node does all its jobs, those that ran within the lease and two
    seconds, whether or not the dead one is still on the roster."""
    a, b = node(fleet, "a").start(), node(fleet, "b")
    running = [job.id for job in held_on(a, "led.work", 3, "gone")]
    waiting = [job.id for job in a.client.submit_many("led.work", [{}] * 20)]
    b.open_gate("gone")
    b.start()
    a.kill()
    killed = time.monotonic()
    if pruned:
        fleet.sql("DELETE FROM stoker.nodes WHERE name = 'a'")
    until(lambda: begins(fleet, running) == 6, LEASE + 10, "all three began again")
    takeover = time.monotonic() - killed
    fleet.all_ended(running + waiting)
    fleet.check(running + waiting, faults=dict.fromkeys(running, 1))
    print(f"D8: the jobs of a dead node began again {takeover:.2f} s after its death, with a lease of {LEASE:g} s")
    assert takeover < LEASE + 2
    # its last heartbeat may be younger than the leases of its jobs were
    known = {"b": True} if pruned else {"a": False, "b": True}
    until(lambda: {row["name"]: row["alive"] for row in b.client.ask("nodes")} == known, LEASE + 2)


def test_procrastinate_1408_faktory_94_a_rescue_needs_no_free_slot(fleet: Fleet) -> None:
    """D8: no slot is free anywhere; the jobs of the dead node are taken back all the same, and one that somebody wanted
    to be cancelled meanwhile is."""
    a, b = node(fleet, "a").start(), node(fleet, "b")
    unwanted, *lost = [job.id for job in held_on(a, "led.work", 3, "lost")]
    b.start()
    held_on(b, "led.work", 3, "busy")
    b.open_gate("lost")
    a.kill()
    killed = time.monotonic()
    assert b.client.job(unwanted).cancel("too late").status == "running"
    until(lambda: {fleet.rows()[id].state for id in lost} == {"new"}, LEASE + 2, "they are new again")
    print(f"D8: taken back {time.monotonic() - killed:.2f} s after the death, with every slot busy")
    assert b.client.job(unwanted).wait(10).error == "Cancelled: too late"
    b.open_gate("busy")
    fleet.all_ended(lost)
    fleet.check(lost, faults=1)


def test_procrastinate_1518_a_node_of_the_same_name_does_not_hide_old_jobs(fleet: Fleet) -> None:
    """A boot is not a name: what the last boot left is found, whoever is called so now; and while that boot lives
    (dbos-java#491, dbos-ts#1205) a newcomer of its name adopts nothing of it."""
    a, double = node(fleet, "a"), node(fleet, "a")
    a.start()
    (job,) = held_on(a, "led.work", 1, "same")
    double.start()
    end = time.monotonic() + 2 * LEASE
    until(lambda: time.monotonic() > end)
    assert begins(fleet, [job.id]) == 1, "its owner lives and renews"
    double.open_gate("same")
    a.kill()
    fleet.all_ended([job.id], LEASE + 10)
    fleet.check([job.id], faults=1)


def test_graphile_449_a_key_whose_holder_died_is_free_again(fleet: Fleet) -> None:
    """The next job under the key is not held up by a node that is no more."""
    a, b = node(fleet, "a").start(), node(fleet, "b")
    first = a.client.submit("any.keyed", source="s", gate="key")
    a.wait_here("key")
    b.open_gate("key")
    ids = [first.id, *(a.client.submit("any.keyed", source="s").id for _ in range(3))]
    b.start()
    a.kill()
    fleet.all_ended(ids, LEASE + 10)
    fleet.check(ids, faults={first.id: 1})


def test_temporal_459_nothing_was_only_in_memory(fleet: Fleet) -> None:
    """Both nodes killed at once, with jobs that run, wait, are delayed, and wait for a key: one new node does all."""
    a, b = node(fleet, "a").start(), node(fleet, "b")
    running = [job.id for job in held_on(a, "led.work", 3, "all")]
    b.start()
    more = [a.client.submit("led.work", delay=1.5).id, b.client.submit("led.work", delay=0.5, priority=5).id]
    more += [b.client.submit("any.keyed", source="t").id for _ in range(3)]
    more += [job.id for job in b.client.submit_many("led.work", [{}] * 20)]
    for daemon in (a, b):
        daemon.kill()
    c = node(fleet, "c")
    c.open_gate("all")
    c.start()
    fleet.all_ended(running + more, LEASE + 20)
    fleet.check(running + more, faults=1)


def test_celery_7924_a_killed_child_is_noticed_at_once(fleet: Fleet) -> None:
    """Not after a lease: whoever forked it knows."""
    (a,) = started(node(fleet, "a", lease=30, look=30))
    job = a.client.submit("led.mortal", seconds=60, retries=1)
    pid = until(lambda: [entry.pid for entry in fleet.entries() if entry.job == job.id])[0]
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    second = until(lambda: [entry.pid for entry in fleet.entries()][1:])[0]
    took = time.monotonic() - begun
    os.kill(second, signal.SIGKILL)
    record = job.wait(20)
    assert (record.status, record.attempt, took < 1.0 + LOADED) == ("failed", 2, True)


# ── a node sleeps ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_solid_queue_589_a_node_that_slept_writes_nothing(fleet: Fleet) -> None:
    """D9: every process of a node stopped for three leases. Another does its jobs; awake again, the first one's
    endings are refused, and its children are dead within two seconds."""
    a, b = node(fleet, "a").start(), node(fleet, "b")
    stuck = [job.id for job in held_on(a, "led.work", 2, "stuck")]
    pids = a.here("stuck")
    late = a.client.submit("led.work", gate="late").id
    a.wait_here("late")
    for gate in ("stuck", "late"):
        b.open_gate(gate)
    b.start()
    members = freeze(a)
    slept = time.monotonic()
    ids = [*stuck, late]
    fleet.all_ended(ids, 3 * LEASE)
    until(lambda: time.monotonic() > slept + 3 * LEASE)
    before = fleet.rows()
    a.open_gate("late")  # awake, this one comes to its end at once, while the others are still waiting
    thaw(members)
    woken = time.monotonic()
    until(lambda: not any(alive(pid) for pid in pids), 10, "the children of the sleeper are dead")
    killed = time.monotonic() - woken
    assert a.client.submit("led.work", id="afterwards").wait(20).status == "completed"
    assert fleet.rows().items() >= before.items(), "not a word of the sleeper was written"
    fleet.check([*ids, "afterwards"], faults=dict.fromkeys(ids, 1))
    print(f"D9: asleep for {3 * LEASE:g} s; its children were dead {killed:.2f} s after it woke")
    assert killed < 2.0 + LOADED


def test_hexpm_1825_a_long_job_is_not_taken_for_lost(fleet: Fleet) -> None:
    """Its node renews the lease, and others look ten times a second: one start in four leases."""
    a, b = started(node(fleet, "a", lease=1, look=0.1), node(fleet, "b", lease=1, look=0.1))
    job = a.client.submit("led.holds_the_interpreter", seconds=4.0)
    fleet.all_ended([job.id])
    assert (found_lost(a), found_lost(b)) == (0, 0)
    fleet.check([job.id], faults=0)


def test_a_renewal_that_failed_is_tried_again_while_the_lease_lasts(fleet: Fleet) -> None:
    """However rarely the node looks: here three times in the lease, and the look would come long after it."""
    lease = 9.0
    a = node(fleet, "a", lease=lease, look=60).start()
    (job,) = held_on(a, "led.work", 1, "renewed")
    ours_until = "SELECT lease_until FROM stoker.jobs WHERE id = %s"
    stuck = "wait_event_type = 'Lock' AND application_name = 'a/writer'"

    def refused() -> bool:
        fleet.server.psql(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {stuck}")
        return "duty=renew" in a.log()

    fleet.sql("BEGIN; LOCK TABLE stoker.jobs")
    until(refused, lease, "a renewal is refused")
    ((before,),) = fleet.sql(ours_until, job.id)
    fleet.sql("COMMIT")
    until(lambda: fleet.sql(ours_until, job.id)[0][0] > before, lease / 3 + LOADED, "the lease is renewed")
    a.open_gate("renewed")
    fleet.all_ended([job.id])
    fleet.check([job.id], faults=0)


# ── a node is cut off ────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def line_blocked(proxy: Proxy, fleet: Fleet) -> Iterator[None]:
    """Nothing passes between the node and the server."""
    proxy.block()
    try:
        yield
    finally:
        proxy.unblock()


@contextmanager
def writer_hangs(proxy: Proxy, fleet: Fleet) -> Iterator[None]:
    """D16: the server's process that carries out the node's writes stands still."""
    (pid,) = fleet.backends("a/writer")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("cut_off", [line_blocked, writer_hangs])
def test_a_node_that_cannot_renew_stops_its_jobs_before_another_starts_them(
    fleet: Fleet, cut_off: object, postgres: Server
) -> None:
    """Issue 3, 3; D16: no moment at which two nodes run one job, by the last sign of life of the first attempt and the
    first of the second; and the node works again when it can."""
    with Proxy(postgres.port) as proxy:
        lease = 3.0
        a = node(fleet, "a", lease=lease, store=fleet.url(port=proxy.port, application_name="a"))
        b = node(fleet, "b", lease=lease)
        a.start()
        ids = [job.id for job in held_on(a, "any.breathe", 3, "air")]
        b.open_gate("air")
        b.start()
        with cut_off(proxy, fleet):  # type: ignore[operator]
            fleet.all_ended(ids, lease + 15)
        gaps = [breaths(b, id)[0] - breaths(a, id)[-1] for id in ids]
        again = a.client.submit("led.work", id="again")
        assert again.wait(30).status == "completed"
        fleet.check([*ids, "again"], faults=dict.fromkeys(ids, 1))
        until(lambda: {row["name"]: row["alive"] for row in b.client.ask("nodes")} == {"a": True, "b": True})
        assert a.log().count("Command stopped") == len(ids), "each is stopped once"
    print(f"cut off ({cut_off.__name__}): the second attempts began {min(gaps):.2f} s or more after the last breath")  # type: ignore[attr-defined]
    assert min(gaps) > 0


def test_a_cable_is_cut(fresh_postgres: Fresh, enlist: Enlist) -> None:
    """D8, D16, D21: a machine that nothing reaches any more, though no connection was closed. Its jobs are over there
    before another starts them; the cable mended, it works and hears again."""
    lease, look = 3.0, 3.0
    with Netns() as net:
        server = fresh_postgres(prefix=net.prefix("right"), settings={"listen_addresses": "*"})
        fleet = enlist(server)
        given = {"lease": lease, "store": fleet.url().replace("127.0.0.1", ADDRESSES["right"])}
        a = node(fleet, "a", prefix_argv=net.prefix("left"), labels="gpu", look=look, **given)
        b = node(fleet, "b", prefix_argv=net.prefix("right"), **given)
        a.start()
        ids = [job.id for job in held_on(a, "any.breathe", 3, "air")]
        b.open_gate("air")
        b.start()
        net.drop()
        cut = time.monotonic()
        fleet.all_ended(ids, lease + 15)
        gaps = [breaths(b, id)[0] - breaths(a, id)[-1] for id in ids]
        until(lambda: "Connection retry" in a.log(), 20, "the dead line is noticed")
        noticed = time.monotonic() - cut
        net.heal()
        healed = time.monotonic()
        assert b.client.submit("far.where").result(30) == str(a.folder)
        back = time.monotonic() - healed

        def heard() -> bool:
            begun = time.monotonic()
            assert b.client.call("far.where") == str(a.folder)
            return time.monotonic() - begun < 1.0

        until(lambda: all(heard() for _ in range(4)), 30, "notifications are heard")  # no look is so often so lucky
        fleet.check(ids, faults=dict.fromkeys(ids, 1))
    print(
        f"D8: cut off, noticed after {noticed:.1f} s, second attempts {min(gaps):.2f} s or more after the last breath; "
        f"at work again {back:.1f} s after the cable was mended"
    )
    assert min(gaps) > 0
    assert noticed < 15


def test_good_job_989_wolverine_2602_a_lost_connection_does_not_double_a_job(fleet: Fleet) -> None:
    """Every session of the node is ended by the server again and again while its jobs run: nobody takes them."""
    a, b = node(fleet, "a").start(), node(fleet, "b")
    ids = [job.id for job in held_on(a, "led.work", 3, "kept")]
    b.open_gate("kept")
    b.start()
    ended = 0
    end = time.monotonic() + 2 * LEASE
    while time.monotonic() < end:
        for role in ("writer", "reader", "listener"):
            until(lambda role=role: fleet.backends(f"a/{role}"), what=f"a {role}")  # type: ignore[misc]
            for pid in fleet.backends(f"a/{role}"):
                ended += fleet.sql("SELECT pg_terminate_backend(%s)", pid) == [(True,)]
    a.open_gate("kept")
    fleet.all_ended(ids)
    fleet.check(ids, faults=0)
    print(f"{ended} sessions of a node ended in {2 * LEASE:g} s; its jobs ran once each")
    assert ended > 10
