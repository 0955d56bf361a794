"""What decides when a job runs; and the one sentence that says why it does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import apsw
import pytest

from stoker import JobFailed, JobHandle, Unique
from stoker.model.errors import DuplicateJob, RequestError
from stoker.model.job import OnDuplicate
from tests.daemon import LOADED, Daemon, until
from tests.story.conftest import Make


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("queueing", consumers_max=4, look=0.2) as daemon:
        yield daemon


@pytest.fixture
def narrow(make: Make) -> tuple[Daemon, JobHandle[None]]:
    """A daemon with one slot, and the job that holds it until the gate ``door`` opens."""
    daemon = make("queueing", consumers_max=1, look=0.2)
    holder = daemon.client.submit("queue.door")
    daemon.wait_here("door")
    return daemon, holder


def why(job: JobHandle[object]) -> str:
    return str(job.record().why)


def test_the_more_important_goes_first(narrow: tuple[Daemon, JobHandle[None]]) -> None:
    """O48: critical, important, normal, optional, across commands and products; within one rank first come."""
    daemon, _ = narrow
    client = daemon.client
    jobs = [
        client.submit("queue.mark", {"text": "optional"}, priority="optional"),
        client.submit("queue.mark", {"text": "normal-1"}),
        client.submit("other.mark_other", {"text": "normal-2"}),
        client.submit("queue.mark", {"text": "important"}, priority="important"),
        client.submit("queue.mark", {"text": "normal-3"}),
        client.submit("queue.urgent", {"text": "critical-1"}),
        client.submit("other.mark_other", {"text": "most"}, priority=100),
        client.submit("queue.mark", {"text": "critical-2"}, priority="critical"),
    ]
    daemon.open_gate("door")
    for job in jobs:
        job.wait(20)
    assert daemon.file("marks.txt").read_text().split() == [
        "most", "critical-1", "critical-2", "important", "normal-1", "normal-2", "normal-3", "optional",
    ]  # fmt: skip


def test_the_slots_are_told_and_who_holds_them(narrow: tuple[Daemon, JobHandle[None]]) -> None:
    """V106: all slots are held by long tasks; the waiting job's sentence and the stats say by which."""
    daemon, holder = narrow
    job = daemon.client.submit("queue.mark", {"text": "x"})
    assert why(job) == f"all 1 slots are busy (longest: queue.door {holder.id})"
    behind = daemon.client.submit("queue.mark", {"text": "y"})
    assert why(behind).endswith("; 1 of the same command go first")
    stats = daemon.client.stats()
    assert (stats["consumers"], stats["consumers_max"], stats["queued"]) == (1, 1, 2)
    assert stats["slots"][0]["job"] == holder.id


def test_delay_and_at(daemon: Daemon) -> None:
    """V17: a job for later waits for its time and starts soon after it, by seconds or by the clock."""
    submitted = time.time()
    delayed = daemon.client.submit("queue.mark", {"text": "x"}, delay=0.4)
    moment = datetime.now(UTC) + timedelta(seconds=0.6)
    dated = daemon.client.submit("queue.mark", {"text": "x"}, at=moment)
    far = daemon.client.submit("queue.mark", {"text": "x"}, delay="2h")
    assert why(delayed).startswith("waits for its time, in ")
    assert "in 1h 59m" in why(far) or "in 2h 0m" in why(far)
    assert daemon.client.stats()["scheduled"] == 3
    assert 0.4 <= delayed.result(20) - submitted < 0.4 + LOADED
    assert 0.0 <= dated.result(20) - moment.timestamp() < LOADED
    far.cancel()


def test_unique_returns_the_job_that_is_there(daemon: Daemon) -> None:
    """O84: while the first has not ended a second is the same job; other input is another job; later it is new."""
    first = daemon.client.submit("queue.only_one", {"source": "a", "gate": "unique"})
    daemon.wait_here("unique")
    again = daemon.client.submit("queue.only_one", {"source": "a", "gate": "unique"})
    other = daemon.client.submit("queue.only_one", {"source": "b", "gate": "unique"})
    assert (again.id, again.created) == (first.id, False)
    assert other.created
    daemon.open_gate("unique")
    assert first.result(20) == "a"
    assert other.result(20) == "b"
    assert daemon.client.submit("queue.only_one", {"source": "a", "gate": "unique"}).created


def test_unique_rejects_or_replaces(daemon: Daemon) -> None:
    """O84: by the command's policy, or by that of one submission."""
    first = daemon.client.submit("queue.sync")
    daemon.wait_here("sync")
    with pytest.raises(DuplicateJob, match=first.id):
        daemon.client.submit("queue.sync", {"number": 2})
    daemon.open_gate("sync")
    first.result(20)
    waiting = daemon.client.submit("queue.latest", {"number": 1}, delay=0.5)
    replaced = daemon.client.submit("queue.latest", {"number": 2}, delay=0.2)
    assert (replaced.id, replaced.created) == (waiting.id, False)
    assert waiting.result(20) == 2
    mine = Unique(key="mine", on_duplicate=OnDuplicate.REJECT)
    daemon.client.submit("queue.mark", {"text": "x"}, unique=mine, delay=60)
    with pytest.raises(DuplicateJob):
        daemon.client.submit("queue.mark", {"text": "y"}, unique=mine)


def test_a_unique_window(daemon: Daemon) -> None:
    """O84: within the window of a submission even an ended job stands for it."""
    first = daemon.client.submit("queue.windowed", {"number": 1})
    assert first.result(20) == 1
    assert daemon.client.submit("queue.windowed", {"number": 1}).id == first.id
    until(lambda: daemon.client.submit("queue.windowed", {"number": 1}).id != first.id, 5)


def test_one_at_a_time_by_key(daemon: Daemon) -> None:
    """X1: jobs of one key wait for each other, in order; those of another key do not; the sentence names the holder."""
    first = daemon.client.submit("queue.per_source", {"source": "a", "gate": "a1"})
    second = daemon.client.submit("queue.per_source", {"source": "a", "gate": "a2"})
    third = daemon.client.submit("queue.per_source", {"source": "a", "gate": "a3"})
    other = daemon.client.submit("queue.per_source", {"source": "b", "gate": "b1"})
    daemon.wait_here("a1")
    daemon.wait_here("b1")
    assert why(second) == f"waits for its concurrency key 'queue.per_source:a', held by {first.id}"
    assert daemon.here("a2") == []
    for gate, job in (("a1", first), ("a2", second), ("a3", third)):
        daemon.wait_here(gate)
        assert daemon.client.stats()["running"] == 2
        daemon.open_gate(gate)
        job.result(20)
    daemon.open_gate("b1")
    other.result(20)


def test_a_key_with_a_limit(daemon: Daemon) -> None:
    """X1: at most so many of one user at one time."""
    jobs = [daemon.client.submit("queue.per_user", {"gate": "user"}, user="u1") for _ in range(5)]
    daemon.wait_here("user", 2)
    assert [job.record().waits for job in jobs] == [None, None, "key", "key", "key"]
    daemon.open_gate("user")
    assert {job.wait(20).status for job in jobs} == {"completed"}


def test_a_limit_per_command(daemon: Daemon) -> None:
    """X1: two at a time of this command, while other commands use the other slots."""
    jobs = [daemon.client.submit("queue.pairwise", {"gate": "pair"}) for _ in range(4)]
    daemon.wait_here("pair", 2)
    assert daemon.client.call("queue.mark", text="free") is not None
    assert len(daemon.here("pair")) == 2
    assert why(jobs[2]).startswith("queue.pairwise runs 2 of 2 allowed at a time")
    daemon.open_gate("pair")
    assert {job.wait(20).status for job in jobs} == {"completed"}


def test_a_rate_per_command(daemon: Daemon) -> None:
    """X1: starts keep their distance, and nobody is forgotten."""
    jobs = daemon.client.submit_many("queue.rated", [{"number": number} for number in range(6)])
    assert "rate limit: one start of queue.rated every 0.1 s" in why(jobs[-1])
    starts = sorted(job.result(20) for job in jobs)
    assert starts[-1] - starts[0] >= 0.45
    assert starts[-1] - starts[0] < 3.0 + LOADED


def test_too_long_in_the_queue(narrow: tuple[Daemon, JobHandle[None]]) -> None:
    """X1: by the command or by the submission; the job fails without having run, and says so."""
    daemon, _ = narrow
    jobs = [daemon.client.submit("queue.perishable"), daemon.client.submit("queue.mark", {"text": "x"}, expires=0.2)]
    kept = daemon.client.submit("queue.mark", {"text": "kept"})
    for job in jobs:
        with pytest.raises(JobFailed, match="Expired: waited longer"):
            job.result(20)
    assert kept.status() == "new"
    daemon.open_gate("door")
    kept.result(20)
    assert not daemon.file("perished.txt").exists()
    assert daemon.file("marks.txt").read_text().split() == ["kept"]


@pytest.mark.parametrize("name", ["queue.mark", "queue", "*"])
def test_pause_and_resume(daemon: Daemon, name: str) -> None:
    """X15: nothing more starts of a command, a product or at all; what runs goes on; the rest is not held up."""
    running = daemon.client.submit("queue.door", {"gate": f"pause {name}"})
    daemon.wait_here(f"pause {name}")
    assert daemon.client.ask("pause", name=name) == [name]
    job = daemon.client.submit("queue.mark", {"text": "x"})
    other = daemon.client.submit("other.mark_other", {"text": "x"})
    if name == "*":
        assert why(other) == "paused: *; `stoker resume *` lets it run"
    else:
        assert other.wait(20).status == "completed"
    assert why(job) == f"paused: {name}; `stoker resume {name}` lets it run"
    daemon.open_gate(f"pause {name}")
    assert running.wait(20).status == "completed"
    assert job.status() == "new"
    assert daemon.client.ask("resume", name=name) == []
    assert job.wait(20).status == other.wait(20).status == "completed"


def test_pauses_are_kept_and_checked(make: Make) -> None:
    """X15: a pause outlives the daemon; a name that does not exist is refused."""
    daemon = make("queueing")
    with pytest.raises(RequestError, match="neither a command nor a product"):
        daemon.client.ask("pause", name="qeueu")
    with pytest.raises(RequestError, match="is not paused"):
        daemon.client.ask("resume", name="queue")
    daemon.client.ask("pause", name="queue")
    daemon.stop()
    job = daemon.client.submit("queue.mark", {"text": "x"})
    daemon.start()
    assert daemon.client.stats()["paused"] == ["queue"]
    assert why(job).startswith("paused: queue")
    daemon.client.ask("resume", name="queue")
    assert job.wait(20).status == "completed"


def test_health_says_that_jobs_wait_and_nobody_works(daemon: Daemon) -> None:
    """V106, part 2.6 of the rows: a silent queue is told aloud."""
    until(lambda: daemon.client.stats()["running"] == 0)
    assert daemon.client.ask("health")["ok"] is True
    daemon.client.ask("pause", name="*")
    job = daemon.client.submit("queue.mark", {"text": "x"})
    health = daemon.client.ask("health")
    assert (health["ok"], health["message"]) == (False, "jobs are waiting and nobody works: everything is paused")
    daemon.client.ask("resume", name="*")
    job.wait(20)
    assert daemon.client.ask("health")["ok"] is True


def test_a_job_that_waits_with_good_reason_is_no_illness(make: Make) -> None:
    daemon = make("queueing")
    daemon.client.ask("pause", name="queue.mark")
    job = daemon.client.submit("queue.mark", {"text": "x"})
    daemon.stop()
    db = apsw.Connection(str(daemon.store))
    db.execute("UPDATE jobs SET run_at = 1.0")  # since a long time
    db.close()
    daemon.start()
    health = daemon.client.ask("health")
    assert (health["ok"], health["message"]) == (True, "ok")
    assert health["oldest_ready"].startswith("1970-01-01T00:00:01")
    daemon.client.ask("resume", name="queue.mark")
    assert job.wait(20).status == "completed"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delay": 1, "at": 1.0}, "not both"),
        ({"priority": 1000}, "between -100 and 100"),
        ({"priority": "urgentest"}, "not a priority"),
        ({"tags": ["x"] * 100}, "32 tags"),
        ({"user": ""}, "1 to 256 characters"),
        ({"id": "No Such Id!"}, "is not a job id"),
        ({"retries": -1}, "0 or more"),
    ],
)
def test_options_that_make_no_sense(daemon: Daemon, options: dict[str, object], says: str) -> None:
    """V67: each is refused with a sentence, and nothing is stored."""
    before = daemon.client.stats()["submitted"]
    with pytest.raises(RequestError, match=says):
        daemon.client.submit("queue.mark", {"text": "x"}, **options)
    assert daemon.client.stats()["submitted"] == before
