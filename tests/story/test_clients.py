"""Client and AsyncClient against a daemon that works, restarts, is away, or says nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from stoker import AsyncClient, Client, InvalidInput, JobCancelled, JobFailed, StokerError
from stoker.model.errors import DaemonSilent, DaemonUnavailable, UnknownCommand, WaitTimeout
from tests.apps import story
from tests.daemon import LOADED, Daemon, until
from tests.story.conftest import Make


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("story", consumers_max=4) as daemon:
        yield daemon


def test_call_returns_what_the_handler_returned(daemon: Daemon) -> None:
    """V34, V36, V68: a script calls, and gets the value; by name plain JSON, by the command its declared type."""
    assert daemon.client.call("story.echo", {"value": {"deep": [1, None, "ü"]}}) == {"deep": [1, None, "ü"]}
    assert daemon.client.call(story.double, 21) == 42
    assert daemon.client.call("story.double", number=3) == 6


def test_a_command_declared_without_wait(daemon: Daemon) -> None:
    """V38: the signature decides that nobody waits; the answer is the id."""
    id = daemon.client.call(story.quiet, "v38")
    daemon.open_gate("v38")
    assert daemon.client.job(id).result(20) == "heard by nobody"


def test_input_is_checked_before_anything_is_sent(daemon: Daemon) -> None:
    """V67, O15: wrong input is refused at submit, naming the field or the command."""
    with pytest.raises(InvalidInput, match="number"):
        daemon.client.submit(story.double, "abc")
    with pytest.raises(InvalidInput, match="number"):
        daemon.client.submit("story.double", {"number": "abc"})
    with pytest.raises(UnknownCommand, match=re.escape("story.nothing")):
        daemon.client.submit("story.nothing")


def test_errors_of_a_job_reach_the_caller(daemon: Daemon) -> None:
    """V69, O9, O33, O52: the exception's class and text, on the record and in the caller's hands."""
    job = daemon.client.submit("story.fail", {"message": "out of ink"})
    with pytest.raises(JobFailed, match="ValueError: out of ink"):
        job.result(20)
    record = job.record()
    assert record.status == "failed"
    assert record.error == "ValueError: out of ink"
    assert record.traceback is not None
    assert "story.py" in record.traceback
    assert "/stoker/run/" not in record.traceback


def test_the_record_of_a_job(daemon: Daemon) -> None:
    """O3-O8, O10-O12, O29, O32, O49-O51: the fields of a job through its life."""
    job = daemon.client.submit("story.wait", {"gate": "record", "tag": "x"})
    assert re.fullmatch(r"[a-z0-9]+", job.id)
    daemon.wait_here("record")
    running = job.record()
    assert (running.app, running.command, running.status) == ("story", "wait", "running")
    assert running.completed_at is None
    assert running.result() is None
    daemon.open_gate("record")
    done = job.wait(20)
    assert done.status == "completed"
    assert bytes(done.input) == b'{"gate":"record","tag":"x"}'
    assert done.result() == daemon.here("record")[0]
    created, updated, completed = (
        datetime.fromisoformat(str(at)) for at in (done.created, done.updated, done.completed_at)
    )
    assert created.utcoffset() == updated.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - created).total_seconds()) < 30
    assert created <= completed == updated
    assert running.updated < done.updated


def test_an_id_may_be_written_in_three_ways(daemon: Daemon) -> None:
    """O3: with ``command:`` in front, or as a UUID, an id is the same id."""
    job = daemon.client.submit("story.echo", {"value": 1})
    job.wait(20)
    bare = job.id
    hyphens = f"{bare[:8]}-{bare[8:12]}-{bare[12:16]}-{bare[16:20]}-{bare[20:]}"
    assert {daemon.client.job(text).record().id for text in (bare, f"command:{bare}", hyphens)} == {bare}


def test_waiting_has_a_time_limit_of_its_own(daemon: Daemon) -> None:
    """X16: who waits may give up; the job goes on."""
    job = daemon.client.submit("story.wait", {"gate": "patience"})
    with pytest.raises(WaitTimeout, match="it goes on"):
        job.wait(0.1)
    daemon.open_gate("patience")
    assert job.wait(20).status == "completed"


def test_one_connection_for_a_hundred_calls(daemon: Daemon) -> None:
    """V45: a script's calls all go over one connection."""
    client = daemon.another_client()
    with client.line() as first:
        pass
    before = daemon.client.stats()["clients"]["script"]
    for number in range(100):
        client.ask("ping")
        if number % 10 == 0:
            client.call("story.echo", {"value": number})
    with client.line() as last:
        assert last is first
    assert daemon.client.stats()["clients"]["script"] == before


def test_threads_share_a_client(daemon: Daemon) -> None:
    """V45: calls of many threads do not wait for each other, nor mix their answers."""
    client = daemon.another_client()
    slow = client.submit("story.wait", {"gate": "threads"})
    answers: dict[int, int] = {}

    def ask(number: int) -> None:
        answers[number] = client.call("story.double", number=number)

    waiter = threading.Thread(target=slow.wait, args=(20,))
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in (waiter, *threads):
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == {number: 2 * number for number in range(8)}
    assert waiter.is_alive()
    daemon.open_gate("threads")
    waiter.join(20)


def test_a_client_survives_a_fork(daemon: Daemon) -> None:
    """A child makes its own connections; the parent's answers stay the parent's."""
    client = daemon.another_client()
    assert client.call("story.double", number=1) == 2
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if client.call("story.double", number=5) == 10 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert client.call("story.double", number=2) == 4


def test_reconnect_after_a_restart_of_the_daemon(make: Make) -> None:
    """V46: the daemon is stopped and started between two calls; the second succeeds without new code."""
    daemon = make("story")
    client = daemon.another_client()
    assert client.call("story.double", number=1) == 2
    assert daemon.stop() == 0
    daemon.start()
    assert client.call("story.double", number=2) == 4


def test_try_connect_tells_and_never_raises(make: Make) -> None:
    """V47, V103: True with a daemon; without one, or with one that hangs, False within a second; an error names the
    path and the setting."""
    daemon = make("story")
    client = daemon.another_client()
    assert client.try_connect()
    router = daemon.router
    os.kill(router, signal.SIGSTOP)
    begun = time.monotonic()
    assert not client.try_connect()
    assert time.monotonic() - begun < 1.0 + LOADED
    os.kill(router, signal.SIGCONT)
    daemon.stop()
    begun = time.monotonic()
    assert not client.try_connect()
    assert time.monotonic() - begun < 1.0 + LOADED
    with pytest.raises(DaemonUnavailable) as caught:
        client.stats()
    assert str(daemon.settings.socket_path) in caught.value.message
    assert "STOKER_SOCKET" in caught.value.message


def test_silence_ends_a_call(make: Make) -> None:
    """V35: a peer that takes the connection and never answers is given up after the time-out, and not before."""
    daemon = make("story", begin=False)
    daemon.settings.folder.mkdir()
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(daemon.settings.socket_path))
        mute.listen()
        client = daemon.another_client(timeout=0.5)
        begun = time.monotonic()
        with pytest.raises(DaemonSilent, match=r"0\.5 s"):
            client.ask("stats")
        assert 0.45 < time.monotonic() - begun < 0.5 + LOADED
        client.close()


def test_submitting_while_the_daemon_is_away(make: Make) -> None:
    """O1, O6, O49, V17: with no daemon a submission is stored all the same, and runs as soon as one starts."""
    daemon = make("story", begin=False)
    client = daemon.another_client()
    one = client.submit("story.double", number=4)
    many = client.submit_many(story.double, [{"number": number} for number in range(5)])
    again = client.submit("story.double", {"number": 4}, id=one.id)
    assert (one.created, again.created) == (True, False)
    with pytest.raises(DaemonUnavailable):
        one.status()
    daemon.start()
    assert one.result(20) == 8
    assert [job.result(20) for job in many] == [2 * number for number in range(5)]


def test_bulk_submission_is_all_or_nothing(daemon: Daemon) -> None:
    """V17: many jobs in one transaction; one bad input, and none is stored."""
    jobs = daemon.client.submit_many("story.double", [{"number": number} for number in range(300)])
    assert len({job.id for job in jobs}) == 300
    assert [job.result(60) for job in jobs] == [2 * number for number in range(300)]
    before = daemon.client.stats()["submitted"]
    with pytest.raises(InvalidInput):
        daemon.client.submit_many("story.double", [{"number": 1}, {"number": "abc"}])
    assert daemon.client.stats()["submitted"] == before


def test_streams_and_logs_by_the_client(daemon: Daemon) -> None:
    """V44: streamed pieces come while the job runs, and again for whoever comes later."""
    job = daemon.client.submit("story.say_slowly", {"words": ["one", "two"], "gate": "slowly"})
    stream = job.stream()
    assert next(stream) == "one"
    assert job.status() == "running"
    daemon.open_gate("slowly")
    assert list(stream) == ["two"]
    assert list(job.stream()) == ["one", "two"]
    assert list(job.logs()) == ["said one", "said two"]


def test_lists_of_jobs(daemon: Daemon) -> None:
    """O77, O80: newest first, ten by default; filters by status, command, product, user and tag; pages."""
    for number in range(12):
        daemon.client.submit("story.echo", {"value": number}, user="lister", tags=["even"] if number % 2 == 0 else [])
    last = daemon.client.submit("story.fail", {"message": "x"}, user="lister")
    until(lambda: all(job.ended for job in daemon.client.jobs(user="lister", limit=20)))
    ten = daemon.client.jobs(user="lister")
    assert len(ten) == 10
    assert ten[0].id == last.id
    assert [job.created for job in ten] == sorted((job.created for job in ten), reverse=True)
    rest = daemon.client.jobs(user="lister", before=ten[-1].id)
    assert len(rest) == 3
    assert not {job.id for job in rest} & {job.id for job in ten}
    assert [job.id for job in daemon.client.jobs(user="lister", status="failed")] == [last.id]
    assert len(daemon.client.jobs(user="lister", tag="even", limit=50)) == 6
    assert {job.command for job in daemon.client.jobs(command="story.fail")} == {"fail"}
    assert daemon.client.jobs(product="nothing") == []
    assert daemon.client.jobs(user="nobody") == []


def test_the_async_client(daemon: Daemon) -> None:
    """V34: the same methods, awaitable; calls share one connection and do not wait for each other."""

    async def main() -> None:
        async with daemon.async_client() as client:
            assert await client.try_connect()
            assert await client.call("story.double", number=4) == 8
            assert await client.call(story.double, 5) == 10
            assert await asyncio.gather(*(client.call("story.double", number=n) for n in range(20))) == [
                2 * n for n in range(20)
            ]
            line = await client.connected()
            slow = await client.submit("story.wait", {"gate": "async"}, user="async")
            with pytest.raises(WaitTimeout):
                await slow.wait(0.1)
            assert await slow.status() in ("new", "running")
            many = await client.submit_many("story.double", [{"number": 1}, {"number": 2}])
            assert [await job.result() for job in many] == [2, 4]
            await slow.cancel("enough")
            with pytest.raises(JobCancelled, match="enough"):
                await slow.result(20)
            daemon.open_gate("async")
            await client.job(slow.id).retry()
            assert (await slow.wait(20)).status == "completed"
            with pytest.raises(JobFailed, match="no paper"):
                await client.call("story.fail", message="no paper")
            assert [job.id for job in await client.jobs(user="async")] == [slow.id]
            assert (await client.stats())["pid"] == daemon.router
            assert await client.connected() is line
            await streams(client)

    async def streams(client: AsyncClient) -> None:
        job = await client.submit("story.say_slowly", {"words": ["one", "two", "three"], "gate": "astream"})
        found = []
        async for piece in job.stream():
            found.append(piece)
            if piece == "one":
                assert await job.status() == "running"
                daemon.open_gate("astream")
        assert found == ["one", "two", "three"]
        kinds = [event.kind async for event in job.events()]
        assert kinds == ["log", "chunk"] * 3

    asyncio.run(main())


def test_the_async_client_without_a_daemon(make: Make) -> None:
    """V46, V47, O1: it tells that nobody is there, submits durably, and finds the daemon when there is one."""
    daemon = make("story", begin=False)

    async def before(client: AsyncClient) -> str:
        assert not await client.try_connect()
        with pytest.raises(DaemonUnavailable):
            await client.stats()
        return (await client.submit("story.double", number=8)).id

    async def after(client: AsyncClient, id: str) -> None:
        assert await client.job(id).result(20) == 16
        await asyncio.to_thread(daemon.stop)
        await asyncio.to_thread(daemon.start)
        assert await client.call("story.double", number=1) == 2
        await client.close()

    client = daemon.async_client()
    id = asyncio.run(before(client))
    daemon.start()
    asyncio.run(after(client, id))


def test_a_second_try_with_the_same_id_is_one_job(daemon: Daemon) -> None:
    """O84: sent again under its own id a submission stands for the same job; with other input it is refused."""
    first = daemon.client.submit("story.double", number=1, id="my-own-id-1")
    second = daemon.client.submit("story.double", number=1, id="my-own-id-1")
    assert (first.created, second.created, second.id) == (True, False, first.id)
    with pytest.raises(StokerError, match="used before"):
        daemon.client.submit("story.double", number=2, id="my-own-id-1")
    assert first.result(20) == 2


def test_the_client_of_another_folder(make: Make) -> None:
    """V87: an address alone is enough to reach a daemon; nothing of the current folder is touched."""
    daemon = make("story")
    client = Client(str(daemon.settings.socket_path))
    assert client.call("story.double", number=6) == 12
    client.close()
