"""Answers that are lost, and reapers that come too late: the fence decides (D5, D10, D11, and bugs of part B)."""

from __future__ import annotations

import itertools
import time

import pytest

from stoker.model.errors import IdConflict
from tests.crash.nodes import (
    LEASE,
    LOOK,
    abandon,
    begins,
    found_lost,
    node,
    reapers,
    refused,
)
from tests.daemon import LOADED, scaled, until
from tests.fleet import Fleet, started, thaw
from tests.net import Fate, Proxy
from tests.postgres import Server


def test_the_answer_to_a_submission_is_lost(fleet: Fleet, postgres: Server) -> None:
    """D5, P2: the connection is cut in every third commit; one job for each id, and every client gets its answer; with
    another payload an id is refused."""
    count = scaled(40)
    with Proxy(postgres.port) as proxy:
        daemon = fleet.node("a", store=fleet.url(port=proxy.port))
        fates = itertools.cycle([Fate.PASS, Fate.PASS, Fate.NO_REPLY])
        proxy.on(rb"stoker\.put\(|^COMMIT", lambda: next(fates))
        ids = [daemon.client.submit("led.work", id=f"job-{number}").id for number in range(count)]
        fleet.all_ended(ids)
        stored, dropped = fleet.rows(), proxy.dropped
        again = daemon.client.submit("led.work", id=ids[0])
        assert (again.id, again.created) == (ids[0], False)
        with pytest.raises(IdConflict):
            daemon.client.submit("led.work", text="another", id=ids[0])
    assert sorted(stored) == sorted(ids)
    fleet.check(ids, faults=0)
    print(f"D5: {dropped} answers lost among {count} submissions: one job for each id")
    assert dropped >= count // 5


def test_the_answer_to_a_claim_is_lost(fleet: Fleet, postgres: Server) -> None:
    """D11: nobody works on what was claimed; it runs out with its lease, and is started once."""
    with Proxy(postgres.port) as proxy:
        b = node(fleet, "b")
        b.start()
        b.client.ask("cordon", node="b")  # it reaps, and claims nothing
        a = node(fleet, "a", look=30, store=fleet.url(port=proxy.port))
        a.start()
        assert a.client.submit("led.work").wait(20).attempt == 1
        proxy.drop_reply_to(rb"stoker\.claim\(")
        begun = time.monotonic()
        job = b.client.submit("led.work", id="claimed")  # so that the claim has no part in another transaction
        fleet.all_ended([job.id], LEASE + 10)
        took = time.monotonic() - begun
        assert proxy.dropped == 1
        record = a.client.job(job.id).record()
    assert (record.status, record.attempt, begins(fleet, [job.id])) == ("completed", 2, 1)
    print(f"D11: a claim whose answer was lost was made good after {took:.2f} s, with a lease of {LEASE:g} s")
    fleet.check([job.id], faults=0)
    assert took < LEASE + LOADED


def test_rq_2290_the_answer_to_an_ending_is_lost(fleet: Fleet, postgres: Server) -> None:
    """D11: what was written is found written; nothing is run again, and no finished job is taken for lost."""
    count = scaled(40, 10)
    with Proxy(postgres.port) as proxy:
        a, b = started(node(fleet, "a", store=fleet.url(port=proxy.port)), node(fleet, "b"))
        fates = itertools.cycle([Fate.PASS, Fate.NO_REPLY, Fate.PASS])
        proxy.on(rb"stoker\.settle\(|^COMMIT", lambda: next(fates))
        ids = [a.client.submit("led.work", id=f"settled-{number}").id for number in range(count)]
        fleet.all_ended(ids)
        end = time.monotonic() + LEASE + 2 * LOOK
        until(lambda: time.monotonic() > end)
        fleet.check(ids, faults=0)
        print(f"D11: {proxy.dropped} answers lost among {count} jobs, {found_lost(a) + found_lost(b)} claims ran out")
        assert proxy.dropped > count // 10


def test_river_1302_a_reaper_that_comes_too_late(fleet: Fleet) -> None:
    """D10: between the reaper's look and its write the job is completed by its owner; it stays so."""
    (reaper,) = reapers(fleet, "a")
    rounds = scaled(5)
    for number in range(rounds):
        id = reaper.client.submit("led.work", id=f"late-{number}", delay=60).id
        seq, fence = abandon(fleet, [reaper], id)
        written = fleet.sql(
            "SELECT stoker.settle(ARRAY[%s]::bigint[], ARRAY[%s]::bigint[], ARRAY['completed'], ARRAY[1], "
            "ARRAY[NULL]::timestamptz[], ARRAY['\"theirs\"'::bytea], ARRAY[NULL]::text[])",
            seq, fence,
        )  # fmt: skip
        assert written == [(1,)]
        thaw([reaper.router])
        until(lambda: refused(reaper) == number + 1)  # noqa: B023
        assert found_lost(reaper) == number + 1
        record = reaper.client.job(id).record()
        assert (record.status, record.result(), record.attempt) == ("completed", "theirs", 1)
    print(f"D10: {rounds} reapers came too late, and changed nothing")


def test_airflow_51969_dbos_742_two_reapers_mend_a_job_once(fleet: Fleet) -> None:
    """D10: both have seen it lost, both write; it is started once more, by one of them."""
    both = reapers(fleet, "a", "b")
    ids = []
    rounds = scaled(3)
    for number in range(rounds):
        ids.append(both[0].client.submit("led.work", id=f"twice-{number}", delay=60).id)
        abandon(fleet, both, ids[-1])
        thaw([daemon.router for daemon in both])
        until(lambda: sum(found_lost(daemon) for daemon in both) == 2 * (number + 1))  # noqa: B023
        until(lambda: sum(refused(daemon) for daemon in both) == number + 1)  # noqa: B023
    for name in ("a", "b"):
        both[0].client.ask("cordon", node=name, cordoned=False)
    fleet.all_ended(ids)
    assert {row.attempt for row in fleet.rows().values()} == {2}
    fleet.check(ids, faults=0)
    print(f"D10: {rounds} jobs were found lost by two at once, and started once more each")
