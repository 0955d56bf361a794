"""Products with workers of their own: warm state, sizes, recycling, scripts, the files that say it, and fair shares."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from stoker import Client, JobCancelled, JobFailed, StokerError, settings
from stoker.entry import exits
from stoker.model.errors import AppError, InvalidInput, RequestError, SettingsError, UnknownCommand
from stoker.model.pool import OPTIONS
from tests.apps import pools as app
from tests.daemon import LOADED, Daemon, alive, until
from tests.story.conftest import Make
from tests.terminal import typed


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("pools", kill_grace=0.3, consumers_max=4) as daemon:
        yield daemon


def pool(daemon: Daemon, product: str) -> dict[str, Any]:
    return next(one for one in daemon.client.ask("pools") if one["product"] == product)


def pids(daemon: Daemon, product: str) -> set[int]:
    """Workers that take jobs."""
    return {one["pid"] for one in pool(daemon, product)["processes"] if one["state"] == "ready"}


# ── how many there are ───────────────────────────────────────────────────────────────────────────────────────────────


def test_all_workers_are_there_at_the_start(daemon: Daemon) -> None:
    """P4, P6, P8, P9: one process for each of the declared workers, told its product, in the list of live ones."""
    until(lambda: len(pids(daemon, "images")) == 3)
    until(lambda: len(pids(daemon, "threads")) == 1)
    titles = Counter(one.title for one in daemon.processes("resident"))
    assert titles["stoker-resident process images 1"] == 3
    assert titles["stoker-resident thread threads 4"] == 1
    assert pids(daemon, "images") <= set(daemon.pids("resident"))


def test_workers_share_their_products_load(daemon: Daemon) -> None:
    """P11: six jobs of a second on three workers: two rounds."""
    begun = time.monotonic()
    jobs = [daemon.client.submit("images.nap", {"seconds": 1}) for _ in range(6)]
    found = Counter(job.result(30) for job in jobs)
    took = time.monotonic() - begun
    print(f"6 jobs of 1 s on 3 workers: {took:.2f} s")
    assert sorted(found.values()) == [2, 2, 2]
    assert 2.0 <= took < 2.0 + LOADED


def test_a_wait_for_a_busy_pool_is_explained(daemon: Daemon) -> None:
    """In a pool whose jobs were never fast, so that none is sent ahead."""
    running = [daemon.client.submit("lone.stays", {"gate": "full"}) for _ in range(2)]
    daemon.wait_here("full")
    assert "all 1 slots of the pool lone are busy" in str(running[1].record().why)
    assert pool(daemon, "lone")["busy"] == 1
    daemon.open_gate("full")
    assert len({job.result(20) for job in running}) == 1


def test_a_pool_grows_while_jobs_wait_and_shrinks_when_they_do_not(daemon: Daemon) -> None:
    """H78: one worker, three when jobs wait, one again after a while."""
    (first,) = until(lambda: pids(daemon, "elastic"))
    jobs = [daemon.client.submit("elastic.gated", {"gate": "grow"}) for _ in range(5)]
    daemon.wait_here("grow", 3)
    assert len(pids(daemon, "elastic")) == 3
    daemon.open_gate("grow")
    assert len({job.result(20) for job in jobs}) == 3
    until(lambda: len(pids(daemon, "elastic")) == 1, what="the others go")
    assert alive(first) or len(pids(daemon, "elastic")) == 1


def test_threads_of_one_worker(daemon: Daemon) -> None:
    jobs = [daemon.client.submit("threads.gated", {"gate": "threads"}) for _ in range(5)]
    daemon.wait_here("threads", 4)
    assert pool(daemon, "threads")["processes"][0]["activeJobs"] == 4
    daemon.open_gate("threads")
    found = [job.result(20) for job in jobs]
    assert len({one[0] for one in found}) == 1
    assert len({one[1] for one in found}) == 4
    until(lambda: pool(daemon, "threads")["busy"] == 0)


def test_a_loop_has_tasks_and_threads(daemon: Daemon) -> None:
    """Coroutines run on the loop where the start hook ran, plain functions beside it in the same worker."""
    assert daemon.client.call("loops.same_loop") is True
    pid, in_main, warm = daemon.client.call("loops.plain")
    assert (pid in pids(daemon, "loops"), in_main, warm) == (True, False, True)


def test_the_list_follows_what_is_set_while_running(daemon: Daemon) -> None:
    before = pids(daemon, "images")
    told = daemon.client.ask("pool_set", product="images", options={"workers": 4, "recycle_jobs": 100_000})
    assert (told["workers"], told["recycle_jobs"]) == (4, 100_000)
    until(lambda: len(pids(daemon, "images")) == 4)
    daemon.client.ask("pool_set", product="images", options={"workers": 2})
    until(lambda: len(pids(daemon, "images")) == 2)
    assert pids(daemon, "images") < before | pids(daemon, "images")
    daemon.client.ask("reload")
    assert pool(daemon, "images")["workers"] == 2, "a reload keeps what was set"
    daemon.client.ask("pool_set", product="images", options={"workers": 3, "recycle_jobs": None})
    until(lambda: len(pids(daemon, "images")) == 3)


def test_a_disabled_product_has_no_worker(daemon: Daemon) -> None:
    """P3, P10, X15: no worker; its jobs wait and say why, and run when it is enabled again."""
    daemon.client.ask("pool_set", product="images", options={"enabled": False})
    until(lambda: not pids(daemon, "images"))
    job = daemon.client.submit("images.warm")
    assert "the product images is disabled" in str(job.record().why)
    daemon.client.ask("pool_set", product="images", options={"enabled": True})
    assert job.result(20)[2] == 1


@pytest.mark.parametrize(
    ("product", "options", "problem"),
    [
        ("images", {"workers": -1}, "images: workers: must be 0 or more, not -1"),
        ("images", {"workers": "two"}, "images: workers: a whole number is needed, not 'two'"),
        ("images", {"workers": True}, "a whole number is needed, not True"),
        ("images", {"slots": 2}, "a 'process' worker runs one job at a time"),
        ("images", {"isolation": "thread"}, "isolation cannot be changed while running"),
        ("images", {"wokers": 1}, "wokers cannot be changed while running"),
        ("image", {"workers": 1}, r"no application registers the product 'image' \(did you mean images\?\)"),
    ],
)
def test_what_makes_no_sense_is_refused(daemon: Daemon, product: str, options: dict[str, Any], problem: str) -> None:
    before = daemon.client.ask("pools")
    with pytest.raises(RequestError, match=problem):
        daemon.client.ask("pool_set", product=product, options=options)
    assert [one["workers"] for one in daemon.client.ask("pools")] == [one["workers"] for one in before]


def test_an_option_that_is_there_twice_is_refused(daemon: Daemon) -> None:
    before = pool(daemon, "images")["workers"]
    said = typed(daemon, "pools", "set", "images", "workers=1", "workers=2", code=2).stderr
    assert said == "stoker: workers is there twice; which is meant?\n"
    assert pool(daemon, "images")["workers"] == before


def test_a_pool_is_shown_with_its_options_and_how_it_is(daemon: Daemon) -> None:
    """Of products with workers and of those without; nothing that cannot be set is among the options."""
    now = {"product", "live", "busy", "waiting", "replaced", "broken", "why", "processes", "consumers"}
    pools = json.loads(typed(daemon, "pools", "--json").stdout)
    assert {max(one["workers"], one["max_workers"]) > 0 for one in pools} == {True, False}
    assert all(one.keys() == OPTIONS.keys() | now for one in pools)


# ── what stays warm ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_start_hook_runs_once_in_each_worker(daemon: Daemon) -> None:
    """P20, O34: before the first job; what it yields is there in every job of that worker, and warm."""
    found = [daemon.client.call("images.warm") for _ in range(6)]
    assert all(made_by == ran_in for made_by, ran_in, _ in found)
    by_worker: dict[int, list[int]] = {}
    for _, pid, number in found:
        by_worker.setdefault(pid, []).append(number)
    assert all(numbers == list(range(numbers[0], numbers[0] + len(numbers))) for numbers in by_worker.values())
    starts = [line for line in daemon.file("images.hook").read_text().split("\n") if line.startswith("start")]
    assert len(starts) == len(set(starts))


def test_the_rest_of_the_hook_runs_at_the_workers_end(make: Make) -> None:
    daemon = make("pools")
    mine = until(lambda: pids(daemon, "images"))
    until(lambda: len(pids(daemon, "images")) == 3)
    assert daemon.client.call("loops.same_loop") is True
    assert daemon.stop() == 0
    stops = {int(line.split()[1]) for line in daemon.file("images.hook").read_text().splitlines() if "stop" in line}
    assert mine <= stops
    assert daemon.file("loops.hook").read_text() == "stop\n"


def test_a_process_for_each_job_has_it_for_each_job(daemon: Daemon) -> None:
    found = [daemon.client.call("apart.state") for _ in range(2)]
    assert [one[0] for one in found] == ["fresh", "fresh"]
    assert found[0][1] != found[1][1]
    assert daemon.file("apart.hook").read_text().split() == ["start", "stop", "start", "stop"]


def test_a_job_has_its_own_output_and_may_ask(daemon: Daemon) -> None:
    jobs = [daemon.client.submit("one.says", {"text": f"line {number}"}) for number in range(20)]
    for number, job in enumerate(jobs):
        assert job.result(20) == f"line {number}"
        assert [event.text() for event in job.events() if event.text()] == [
            f"line {number}\n", f"to stderr: line {number}\n"
        ]  # fmt: skip
    assert daemon.client.call("one.asks") == "pong"


def test_an_error_is_one_jobs_error(daemon: Daemon) -> None:
    """P23: the exception's text, and the worker's pid unchanged."""
    before = daemon.client.call("one.where")
    with pytest.raises(JobFailed, match="LookupError: in a worker"):
        daemon.client.call("one.fails")
    assert daemon.client.call("one.where") == before


@pytest.mark.parametrize("how", ["keyboard", "generator"])
@pytest.mark.parametrize("command", ["threads.ends", "loops.ends", "loops.plain_ends", "apart.inline_ends"])
def test_what_would_end_a_process_is_one_jobs_error_where_many_share_it(daemon: Daemon, command: str, how: str) -> None:
    before = (pids(daemon, command.partition(".")[0]), daemon.zygote)
    kind = {"keyboard": "KeyboardInterrupt", "generator": "GeneratorExit"}[how]
    assert daemon.client.submit(command, {"how": how}).wait(10).error == f"{kind}: in a worker"
    assert (pids(daemon, command.partition(".")[0]), daemon.zygote) == before


def test_a_memory_limit_is_the_jobs_not_the_workers(daemon: Daemon) -> None:
    before = daemon.client.call("one.where")
    with pytest.raises(JobFailed, match="MemoryLimit"):
        daemon.client.call("one.hoards", size=300 << 20)
    assert daemon.client.call("one.hoards", size=1000) == 1000
    assert daemon.client.call("one.where") == before


def test_changed_code_takes_effect_in_a_worker(make: Make) -> None:
    """P13: the next job of a worker that lives runs the new source."""
    daemon = make("pools", begin=False)
    text = daemon.file("pools.py").read_text()
    daemon.start()
    assert daemon.client.call("one.add", left=1) == 2
    daemon.file("pools.py").write_text(text.replace("return left + right", "return left - right"))
    assert daemon.client.call("one.add", left=1) == 0


@pytest.mark.parametrize("command", ["one.add", "apart.double"])
def test_in_production_only_a_reload_changes_code(make: Make, command: str) -> None:
    """P12: nobody looks at the source between reloads, neither a worker nor a process for each job."""
    daemon = make("pools", begin=False, mode="production")
    text = daemon.file("pools.py").read_text()
    daemon.start()
    assert daemon.client.call(command, left=2) in (3, 4)
    before = daemon.client.call(command, left=2)
    daemon.file("pools.py").write_text(text.replace("left + right", "left - right").replace("2 * left", "0 * left"))
    assert daemon.client.call(command, left=2) == before
    daemon.client.ask("reload")
    assert daemon.client.call(command, left=2) == before - {"one.add": 2, "apart.double": 4}[command]


# ── many fast jobs, and those asked back ─────────────────────────────────────────────────────────────────────────────


def test_many_fast_jobs_each_once_in_their_order(daemon: Daemon) -> None:
    jobs = daemon.client.submit_many("one.add", [{"left": number} for number in range(2000)])
    assert [job.result(30) for job in jobs] == list(range(1, 2001))
    records = [job.record() for job in jobs]
    assert {record.attempt for record in records} == {1}


def test_fast_jobs_do_not_wait_behind_a_slow_one(daemon: Daemon) -> None:
    """Jobs sent ahead to a worker that turns out to be busy for long go to another; none of them counts an attempt."""
    daemon.client.submit_many("images.nap", [{"seconds": 0} for _ in range(300)])
    slow = [daemon.client.submit("images.gated", {"gate": "slow"}) for _ in range(2)]
    fast = daemon.client.submit_many("images.nap", [{"seconds": 0} for _ in range(300)])
    records = [job.wait(20) for job in fast]
    assert {(record.status, record.attempt) for record in records} == {("completed", 1)}
    daemon.open_gate("slow")
    assert [job.wait(20).attempt for job in slow] == [1, 1]


@pytest.fixture
def together(daemon: Daemon) -> Iterator[Callable[[str], AbstractContextManager[None]]]:
    """Jobs of a product that are claimed together, and ended by force when the test is over."""

    @contextmanager
    def paused(product: str) -> Iterator[None]:
        daemon.client.ask("pause", name=product)
        yield
        daemon.client.ask("resume", name=product)

    yield paused
    for job in daemon.client.jobs(status="running"):
        daemon.client.job(job.id).cancel()
    until(lambda: not daemon.client.jobs(status="running"))


def test_nobody_waits_behind_a_job_that_is_busy_in_c(
    daemon: Daemon, together: Callable[[str], AbstractContextManager[None]]
) -> None:
    """Its worker hears nothing until it is back in Python; what was sent ahead to it is done by the others."""
    daemon.client.submit_many("images.nap", [{"seconds": 0} for _ in range(300)])[-1].result(20)
    with together("images"):
        busy = daemon.client.submit("images.busy_in_c", {"gate": "in_c", "seconds": 60})
        others = daemon.client.submit_many("images.nap", [{"seconds": 0} for _ in range(300)])
    daemon.wait_here("in_c")
    assert {job.wait(20).attempt for job in others} == {1}
    assert busy.record().status == "running"


def test_the_end_of_a_fast_job_is_told_before_a_long_one_begins(
    daemon: Daemon, together: Callable[[str], AbstractContextManager[None]]
) -> None:
    daemon.client.submit_many("one.add", [{"left": 1} for _ in range(300)])[-1].result(20)
    with together("one"):
        fast = daemon.client.submit("one.add", {"left": 1})
        busy = daemon.client.submit("one.busy_in_c", {"gate": "after", "seconds": 60})
    daemon.wait_here("after")
    assert fast.result(10) == 2
    assert busy.record().status == "running"


def test_a_job_that_was_sent_ahead_is_asked_back_from_behind_one_that_waits_for_it(daemon: Daemon) -> None:
    """The handler in front asks the daemon for its end: what it waits for runs elsewhere."""
    daemon.client.submit_many("images.nap", [{"seconds": 0} for _ in range(300)])[-1].result(20)
    waits = daemon.client.submit("images.waits_for_another", {"gate": "asked"})
    others = [daemon.client.submit("images.gated", {"gate": "asked"}) for _ in range(2)]
    daemon.wait_here("asking")
    daemon.open_gate("asked")
    assert [job.wait(20).status for job in others] == ["completed", "completed"]
    assert waits.result(10) == "completed"


@pytest.mark.parametrize("product", ["images", "apart"])
def test_a_handler_that_talks_without_end_is_interrupted_like_any_other(daemon: Daemon, product: str) -> None:
    """The signal mostly comes while it sends: its clean-ups run all the same, and a worker that stays lives on."""
    for number in range(5):
        me = f"{product}{number}"
        job = daemon.client.submit(f"{product}.talks", {"me": me})
        (pid,) = daemon.wait_here(me)
        job.cancel()
        assert job.wait(20).status == "cancelled"
        assert daemon.file(f"{me}.cleaned").exists()
        assert product == "apart" or pid in pids(daemon, product)


def test_a_job_that_waits_in_a_worker_is_cancelled_alone(daemon: Daemon) -> None:
    daemon.client.submit_many("one.add", [{"left": 1} for _ in range(300)])[-1].result(20)
    first = daemon.client.submit("one.waits", {"gate": "alone"})
    (pid,) = daemon.wait_here("alone")
    others = [daemon.client.submit("one.add", {"left": number}) for number in range(3)]
    others[1].cancel()
    with pytest.raises(JobCancelled):
        others[1].result(20)
    daemon.open_gate("alone")
    assert first.result(20) == pid
    assert [others[0].result(20), others[2].result(20)] == [1, 3]


def test_a_worker_is_heard_again_after_a_job_that_said_too_much(daemon: Daemon) -> None:
    """A job that says more than a megabyte at once is not read from until that is written. When it ended with its last
    word, its worker was never read from again, and whatever ran there next hung."""
    pieces = (1 << 20) // 60_000 + 1
    for number in range(60):
        assert daemon.client.call("one.recites", pieces=pieces + number % 3) >= pieces
    assert daemon.client.call("one.where") in pids(daemon, "one")


# ── recycling ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_is_replaced_after_its_jobs(daemon: Daemon) -> None:
    found = [daemon.client.call("worn.where") for _ in range(20)]
    assert max(Counter(found).values()) <= 5
    assert len(set(found)) >= 4
    until(lambda: not [pid for pid in set(found[:-5]) if alive(pid)], what="the old ones are gone")
    jobs = [daemon.client.submit("worn.where") for _ in range(50)]
    assert max(Counter(job.result(20) for job in jobs).values()) <= 5


def test_a_worker_that_grows_is_replaced(daemon: Daemon) -> None:
    """H74: past its memory it gets no new job, and its successor is there."""
    before = daemon.client.call("leaky.leaks", size=200 << 20)
    until(lambda: not alive(before))
    assert daemon.client.call("leaky.leaks", size=10) != before


def test_an_old_worker_is_replaced_though_nobody_asks(daemon: Daemon) -> None:
    before = daemon.client.call("old.where")
    until(lambda: not alive(before))
    assert daemon.client.call("old.where") != before


# ── the class form ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_class_form(daemon: Daemon) -> None:
    """P17, P20, P25, P26: found and made once; start once per worker; the action reaches the method, an unknown one
    the base class."""
    job = daemon.client.submit("pictures.process_image", {"size": 3})
    found = job.result(20)
    assert (found["size"], found["job"], found["warm"]) == (6, job.id, True)
    assert daemon.file("pictures.start").read_text().split().count(str(found["pid"])) == 1
    with pytest.raises(JobFailed, match="ValueError: x"):
        daemon.client.call("pictures.explode")
    for ask in (
        lambda: app.pictures.handle_job("nope", {}),
        lambda: app.pictures.dispatch("nope"),
        lambda: daemon.client.call("pictures.nope"),
        lambda: daemon.client.submit("pictures.nope"),
    ):
        with pytest.raises(UnknownCommand, match="the product pictures has no action 'nope'"):
            ask()


def test_the_job_id_of_a_raw_message(daemon: Daemon) -> None:
    """P21, P22: answered as it was sent; the handler has it as text, as it has every id."""
    message = {"type": "job", "product": "pictures", "action": "process_image", "payload": {"size": 3}}
    with daemon.raw() as raw:
        for sent, seen in ((7, "7"), ("seven", "seven")):
            raw.send({**message, "jobId": sent})
            answer = raw.receive()
            assert (answer["jobId"], answer["result"]["job"]) == (sent, seen)


def test_a_stored_job_of_an_action_that_its_class_does_not_know(make: Make) -> None:
    """P26: stored while no daemon could refuse it: it fails in the base class's words."""
    daemon = make("pools", begin=False)
    job = daemon.client.submit("pictures.nope", {})
    daemon.start()
    with pytest.raises(JobFailed, match=r"UnknownCommand: pictures\.nope: the product pictures has no action 'nope'"):
        job.result(20)


def test_a_class_is_made_by_the_loader(make: Make) -> None:
    """P17, P27: a subclass without an instance is constructed once, under the name of its class."""
    daemon = make("shapes", begin=False)
    daemon.file("shapes.py").write_text(
        "import os\nfrom stoker import Product\n"
        "class RoundShapesProduct(Product):\n"
        "    async def handle_job(self, action, msg):\n"
        "        match action:\n"
        "            case 'area' | 'edge': return [action, msg['radius']]\n"
        "        return await super().handle_job(action, msg)\n"
    )
    daemon.file("products.json").write_text('{"round_shapes": {"enabled": true, "workers": 2, "routes": false}}')
    daemon.start()
    assert daemon.client.call("round_shapes.area", radius=2) == ["area", 2]
    assert daemon.client.call("round_shapes.edge", radius=3) == ["edge", 3]
    assert len(until(lambda: pids(daemon, "round_shapes"))) == 2
    assert pool(daemon, "round_shapes")["routes"] is False


# ── scripts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_program_as_a_command(daemon: Daemon) -> None:
    job = daemon.client.submit("pictures.list", {"path": str(daemon.folder)})
    assert job.result(20) == {"exit": 0}
    assert "pools.py" in "".join(job.logs())
    assert daemon.client.call("pictures.told") == {"said": 1}
    assert app.exits(3)[-1] == "3", "called here it is the list"


def test_a_program_that_fails_says_how(daemon: Daemon) -> None:
    job = daemon.client.submit("pictures.exits", {"code": 3})
    with pytest.raises(JobFailed, match="ScriptFailed: sh ended with exit code 3"):
        job.result(20)
    assert sorted("".join(job.logs()).split()) == ["before", "problem"]
    with pytest.raises(JobFailed, match=r"sh was ended by signal 9 \(SIGKILL\)"):
        daemon.client.call("pictures.kills_itself")


def test_a_program_is_ended_with_its_job(daemon: Daemon) -> None:
    with pytest.raises(JobFailed, match=r"time limit 0\.5 s exceeded"):
        daemon.client.call("pictures.sleeps", seconds=60)
    job = daemon.client.submit("pictures.sleeps", {"seconds": 61}, timeout=30)
    until(lambda: [one for one in daemon.processes() if one.title == "sleep 61"])
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(20)
    until(lambda: not [one for one in daemon.processes() if one.title.startswith("sleep 6")])


@pytest.mark.parametrize("path", ["a b; touch hurt", "$(touch hurt)", "`touch hurt`", "'", "x\ny"])
def test_a_value_is_one_argument_whatever_is_in_it(daemon: Daemon, path: str) -> None:
    with pytest.raises(JobFailed, match="ls ended with exit code 2"):
        daemon.client.call("pictures.list", path=path)
    assert not daemon.file("hurt").exists()


def test_a_value_is_no_option(daemon: Daemon) -> None:
    with pytest.raises(JobFailed, match="begins with '-'"):
        daemon.client.call("pictures.list", path="--color")
    with pytest.raises(InvalidInput, match="path"):
        daemon.client.call("pictures.list", path=["a"])


# ── products.json and stoker.toml ────────────────────────────────────────────────────────────────────────────────────


def test_the_file_of_products_as_it_stands(make: Make) -> None:
    """P2-P7, P16: the workers follow the file, at the start and at a reload; a name that nobody registers is told and
    the others work."""
    daemon = make("pools", begin=False)
    config = daemon.file("config")
    config.mkdir()
    text = {"images": {"enabled": True, "workers": 1, "routes": True}, "apart": {"workers": 2}, "worn": {"workers": 0}}
    (config / "products.json").write_text(json.dumps({**text, "nobody": {"workers": 1}}))
    daemon.start()
    until(lambda: (len(pids(daemon, "images")), len(pids(daemon, "apart"))) == (1, 2))
    assert pids(daemon, "worn") == set()
    assert daemon.client.call("worn.where") not in daemon.pids("resident")
    assert daemon.client.call("apart.state")[1] in pids(daemon, "apart")
    assert "a product that no application registers" in daemon.log()
    (config / "products.json").write_text(json.dumps({"images": {"enabled": False, "workers": 3}}))
    daemon.client.ask("reload")
    until(lambda: not pids(daemon, "images"))
    assert "images is disabled" in str(daemon.client.submit("images.warm").record().why)
    (config / "products.json").write_text('{"images": {"workers": 1, "workers": 2}}')
    with pytest.raises(SettingsError, match="the key 'workers' is there twice"):
        daemon.client.ask("reload")
    assert pool(daemon, "images")["enabled"] is False, "the old limits stay"


def test_tables_of_products_in_the_settings(make: Make) -> None:
    daemon = make("pools", begin=False)
    daemon.file("stoker.toml").write_text(
        "[products.images]\nworkers = 1\nrecycle_age = '1h'\n[products.apart]\nisolation = 'thread'\nworkers = 1\n"
        "[products.threads]\nslots = 7\n"
    )
    daemon.file("products.json").write_text('{"images": {"workers": 2, "routes": false}}')
    daemon.start()
    found = pool(daemon, "images")
    assert (found["workers"], found["recycle_age"], found["routes"]) == (1, 3600.0, False)
    until(lambda: pids(daemon, "apart"))
    assert pool(daemon, "apart")["isolation"] == "thread"
    assert pool(daemon, "threads")["slots"] == 7, "the isolation is what the code says"
    daemon.file("products.json").write_text('{"one": {"slots": 2}}')
    with pytest.raises(AppError, match="product one: slots: a 'process' worker runs one job at a time"):
        daemon.client.ask("reload")


def test_a_mistake_about_products_keeps_nobody_from_asking(make: Make) -> None:
    """Who asks needs no products: only what starts or reloads a daemon refuses, and a client goes on."""
    daemon = make("pools")
    daemon.file("products.json").write_text('{"images": {"wokers": 1}}')
    told = "products.json: images: there is no option 'wokers'"
    assert "RUNNING" in typed(daemon, "status").stdout
    with Client(settings=settings.load({"root": str(daemon.folder)}, products=False)) as client:
        assert client.call("one.add", left=1) == 2
    for word in ("check", "reload"):
        refused = typed(daemon, word, code=exits.USAGE)
        assert told in refused.stderr
    daemon.file("products.json").unlink()
    daemon.file("stoker.toml").write_text("[products.images]\nworkers = 'two'\n")
    assert typed(daemon, "call", "one.add", "left=2").stdout.strip() == "3"
    assert "the old code stays in force" in daemon.log()
    typed(daemon, "stop")
    assert daemon.exit_code() == 0
    refused = typed(daemon, "up", "pools", code=exits.USAGE)
    assert "stoker.toml: products: images: workers: a whole number is needed, not 'two'" in refused.stderr


# ── shares ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_weights_share_the_slots(make: Make) -> None:
    """Ten slots of which two are reserved, weights 3 and 1, and a backlog of both: six and two run, though the light
    ones came first and have the higher priority; where the heavy ones have nothing more, the light ones get all."""
    daemon = make("pools", consumers_max=10)
    client = daemon.client
    client.ask("pause", name="*")
    jobs = [client.submit("light.gated", {"gate": "shares"}, priority=50) for _ in range(20)]
    jobs += [client.submit("heavy.gated", {"gate": "shares"}) for _ in range(6)]
    client.ask("resume", name="*")
    daemon.wait_here("shares", 8)
    assert [len(client.jobs(product=one, status="running", limit=20)) for one in ("heavy", "light")] == [6, 2]
    daemon.open_gate("shares")
    assert {job.wait(30).status for job in jobs} == {"completed"}
    alone = [client.submit("light.gated", {"gate": "alone"}) for _ in range(9)]
    daemon.wait_here("alone", 8)
    daemon.open_gate("alone")
    assert {job.wait(30).status for job in alone} == {"completed"}


def test_reserved_slots_stay_free_for_their_product(daemon: Daemon) -> None:
    """Four slots, two of them reserved: others get two, and the product finds its own at once."""
    others = [daemon.client.submit("light.gated", {"gate": "reserved"}) for _ in range(6)]
    daemon.wait_here("reserved", 2)
    mine = [daemon.client.submit("kept.gated", {"gate": "mine"}) for _ in range(2)]
    daemon.wait_here("mine", 2)
    assert len(daemon.client.jobs(product="light", status="running", limit=20)) == 2
    daemon.open_gate("mine")
    daemon.open_gate("reserved")
    assert {job.wait(30).status for job in (*mine, *others)} == {"completed"}


def test_a_waiting_pool_costs_no_wake_up(daemon: Daemon) -> None:
    """No worker runs while it has nothing to do: the kernel counts its switches."""
    until(lambda: len(pids(daemon, "images")) == 3)
    daemon.client.call("images.warm")
    (pid,) = until(lambda: pids(daemon, "one"))

    def switches() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)

    daemon.client.call("one.where")
    before = until(lambda: switches())
    daemon.client.call("images.nap", seconds=1)
    assert switches() - before <= 2


def test_unknown_errors_are_errors(daemon: Daemon) -> None:
    with pytest.raises(StokerError, match="options"):
        daemon.client.ask("pool_set", product="images")
