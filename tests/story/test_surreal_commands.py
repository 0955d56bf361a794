"""Submitting by the names of ``surreal-commands``; and an application of the document on a real daemon."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker import Client, InvalidInput
from stoker import settings as settings_module
from stoker.client import default
from stoker.model.errors import DaemonUnavailable, UnknownCommand, UnknownJob
from stoker.surreal_commands import (
    CommandInput,
    CommandOutput,
    CommandResult,
    CommandStatus,
    command,
    execute_command_sync,
    get_command_status,
    get_command_status_sync,
    record,
    submit_command,
    submit_command_job,
    wait_for_command,
    wait_for_command_sync,
)
from stoker.testing import Workbench
from tests.daemon import Daemon, until

APP = "benched"
REAL = "open_notebook"


class Source(CommandInput):
    source_id: str
    embed: bool = True


class Processed(CommandOutput):
    success: bool
    source_id: str
    error_message: str | None = None


@command(APP, "process_source", timeout=300)
async def process_source(input_data: Source) -> Processed:
    await asyncio.sleep(0)
    if input_data.source_id == "source:bad":
        return Processed(success=False, source_id=input_data.source_id, error_message="Could not extract content: bad")
    if input_data.source_id == "source:raise":
        raise RuntimeError("Rate limit exceeded")
    return Processed(success=True, source_id=input_data.source_id)


@command(APP, "plain")
def plain(text: str, times: int = 2) -> str:
    return text * times


@pytest.fixture
def bench() -> Iterator[Workbench]:
    with Workbench() as bench:
        bench.learn((process_source, plain))
        yield bench


def test_a_submission_gives_an_id_and_a_line(bench: Workbench, caplog: pytest.LogCaptureFixture) -> None:
    """O3, O4, O5, O13, O14."""
    with caplog.at_level(logging.INFO, "stoker.surreal_commands"):
        id = asyncio.run(submit_command_job(APP, "process_source", {"source_id": "source:1"}))
    assert re.fullmatch(r"command:[a-z0-9]+", id)
    assert caplog.messages == [f"Queued command: benched.process_source → {id}"]
    seen = record(id)
    assert (seen["id"], seen["app"], seen["command"]) == (id, APP, "process_source")


def test_the_names_of_the_real_service_are_taken_too(bench: Workbench) -> None:
    """X9."""
    id = asyncio.run(
        submit_command_job(module_name=APP, command_name="process_source", command_args={"source_id": "source:1"})
    )
    assert record(id)["input"]["source_id"] == "source:1"
    with pytest.raises(TypeError, match="name of the app"):
        asyncio.run(submit_command_job(command_name="process_source"))


def test_input_may_be_a_model_or_plain_parameters(bench: Workbench) -> None:
    id = submit_command(APP, "process_source", Source(source_id="source:m", embed=False))
    assert record(id)["input"] == {"source_id": "source:m", "embed": False}
    assert execute_command_sync(APP, "plain", {"text": "x", "times": 3}, {"page": "inbox"}).result == "xxx"


def test_wrong_input_is_refused_at_submit_naming_the_field(bench: Workbench) -> None:
    """O15."""
    with pytest.raises(InvalidInput, match="source_id"):
        submit_command(APP, "process_source", {"embed": True})
    with pytest.raises(UnknownCommand, match="has no action 'never_heard_of'"):
        submit_command(APP, "never_heard_of", {})
    assert bench.jobs() == []


def test_a_record_tells_a_commands_whole_life(bench: Workbench) -> None:
    """O6 to O12."""
    id = submit_command(APP, "process_source", {"source_id": "source:1"})
    new = record(id)
    assert (new["status"], new["output"], new["error"], new["completed_at"]) == ("new", None, None, None)
    assert new["created"].endswith("+00:00")
    bench.clock.advance(3)
    bench.drain()
    done = record(id)
    assert set(done) == {
        "id", "app", "command", "status", "input", "output", "error", "created", "updated", "completed_at",
    }  # fmt: skip
    assert done["status"] == "completed"
    assert done["output"]["source_id"] == "source:1"
    assert done["created"] == new["created"] < done["updated"] == done["completed_at"]
    failed = record(
        wait_for_command_sync(submit_command(APP, "process_source", {"source_id": "source:raise"})).command_id
    )
    assert (failed["status"], failed["output"]) == ("failed", None)
    assert "Rate limit exceeded" in failed["error"]
    assert record(bench.job(id.removeprefix("command:"))) == done


def test_a_handler_may_say_that_it_was_not_well(bench: Workbench) -> None:
    """O19, X13."""
    result = execute_command_sync(APP, "process_source", {"source_id": "source:bad"})
    assert result.status is CommandStatus.COMPLETED
    assert result.output["success"] is False
    assert result.output["error_message"] == "Could not extract content: bad"


def test_results_have_both_families_of_names(bench: Workbench) -> None:
    id = submit_command(APP, "process_source", {"source_id": "source:raise"})
    waiting = get_command_status_sync(id)
    assert (waiting.status, waiting.is_complete(), waiting.is_success()) == (CommandStatus.NEW, False, False)
    result = asyncio.run(wait_for_command(id))
    assert (result.is_complete(), result.is_success()) == (True, False)
    assert result.error_message == result.error == "RuntimeError: Rate limit exceeded"
    assert result.result is result.output is None
    assert asyncio.run(get_command_status(id)) == result
    assert execute_command_sync(APP, "process_source", {"source_id": "source:1"}).is_success()


def test_cancelled_has_two_spellings_and_one_member(bench: Workbench) -> None:
    """X8."""
    assert CommandStatus("canceled") is CommandStatus("cancelled")
    assert [member.name for member in CommandStatus if member.value == "cancelled"] == ["CANCELLED"]
    assert getattr(CommandStatus, "CANCELED") is CommandStatus.CANCELLED  # noqa: B009 (mypy takes them for two)
    with pytest.raises(ValueError, match="lost"):
        CommandStatus("lost")
    id = submit_command(APP, "process_source", {"source_id": "source:1"})
    bench.client.job(id).cancel("not wanted")
    assert get_command_status_sync(id).status is CommandStatus.CANCELED


def test_waiting_ends_with_its_time(bench: Workbench) -> None:
    id = bench.client.submit("benched.plain", text="x", delay=60).id
    with pytest.raises(TimeoutError, match="has not ended yet"):
        wait_for_command_sync(id, timeout=0)
    with pytest.raises(TimeoutError):
        asyncio.run(wait_for_command(id, timeout=0))
    assert wait_for_command_sync(id, poll_interval=25).result == "xx", "three looks"


def test_what_is_not_there_is_told(bench: Workbench) -> None:
    with pytest.raises(UnknownJob):
        get_command_status_sync("command:nothere")


def test_without_a_daemon_commands_are_stored_and_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O1, O6, O49: also within a running loop, where the blocking calls are made by mistake."""
    settings = settings_module.load({"root": str(tmp_path)}, environ={})
    with Client(settings=settings) as client:
        monkeypatch.setattr(default, "client", lambda: client)
        with pytest.raises(DaemonUnavailable):
            get_command_status_sync("command:nothere")

        async def within() -> str:
            id = submit_command(APP, "process_source", {"source_id": "source:1"})
            assert get_command_status_sync(id).status is CommandStatus.NEW
            assert (await get_command_status(id)).status is CommandStatus.NEW
            return id

        id = asyncio.run(within())
        with pytest.raises(UnknownJob):
            get_command_status_sync("command:nothere")
        with pytest.raises(TimeoutError):
            wait_for_command_sync(id, timeout=0.05, poll_interval=0.01)
    with Workbench(store=settings.store_path) as bench:
        bench.learn((process_source,))
        bench.clock.jump(time.time() - bench.clock.wall())
        assert [one.id for one in bench.drain()] == [id.removeprefix("command:")]


# ── an application of the library, unchanged but for the import ──────────────────────────────────────────────────────

APPLICATION = """
import asyncio
import logging
import os
from typing import Any, Dict, List, Optional

from stoker.surreal_commands import command, CommandInput, CommandOutput, submit_command

logger = logging.getLogger(__name__)


class SourceProcessingInput(CommandInput):
    source_id: str
    content_state: Dict[str, Any]
    notebook_ids: List[str]
    transformations: List[str]
    embed: bool
    user_id: str


class SourceProcessingOutput(CommandOutput):
    success: bool
    source_id: str
    pid: int = 0
    most: int = 0
    error_message: Optional[str] = None


running = 0
most = 0


@command("open_notebook", "process_source", timeout=300)
async def process_source_command(
    input_data: SourceProcessingInput
) -> SourceProcessingOutput:
    global running, most
    running += 1
    most = max(most, running)
    try:
        await asyncio.sleep(0.3)
        if input_data.source_id == "source:bad":
            raise ValueError("no text in it")
        return SourceProcessingOutput(success=True, source_id=input_data.source_id, pid=os.getpid(), most=most)
    except Exception as e:
        logger.error(f"Source processing failed: {e}")
        return SourceProcessingOutput(success=False, source_id=input_data.source_id, error_message=str(e))
    finally:
        running -= 1


@command("open_notebook", "rebuild_embeddings")
async def rebuild_embeddings_command() -> str:
    return submit_command("open_notebook", "process_source", {
        "source_id": "source:sub", "content_state": {}, "notebook_ids": [], "transformations": [], "embed": False,
        "user_id": "user:abc",
    })
"""


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    daemon = Daemon("--import-modules", "commands", "--max-tasks", "5")
    (daemon.folder / "commands").mkdir()
    (daemon.folder / "commands" / "__init__.py").touch()
    (daemon.folder / "commands" / "source_commands.py").write_text(APPLICATION)
    with daemon:
        monkeypatch.setattr(default, "client", lambda: daemon.client)
        yield daemon


def given(source: str) -> dict[str, Any]:
    return {
        "source_id": source, "content_state": {"url": "https://example.com"}, "notebook_ids": [],
        "transformations": [], "embed": False, "user_id": "user:abc",
    }  # fmt: skip


def test_an_application_of_the_document_runs_unchanged(worker: Daemon) -> None:
    """O17, O18, O19, O22, X9: this process knows none of its commands."""

    async def use() -> tuple[list[CommandResult], CommandResult, CommandResult]:
        ids = [await submit_command_job(REAL, "process_source", given(f"source:{n}")) for n in range(12)]
        results = [await wait_for_command(id, timeout=60) for id in ids]
        bad = await wait_for_command(await submit_command_job(REAL, "process_source", given("source:bad")), 60)
        outer = await wait_for_command(await submit_command_job(REAL, "rebuild_embeddings", {}), 60)
        return results, bad, await wait_for_command(outer.result, timeout=60)

    results, bad, sub = asyncio.run(use())
    assert all(result.is_success() for result in results)
    pids = {result.output["pid"] for result in results}
    assert len(pids) == 1
    assert pids != {os.getpid()}
    assert max(result.output["most"] for result in results) == 5
    assert bad.is_success()
    assert bad.output["error_message"] == "no text in it"
    assert sub.output["source_id"] == "source:sub"
    with pytest.raises(InvalidInput, match="embed"):
        submit_command(REAL, "process_source", {**given("source:1"), "embed": "maybe"})


def test_a_command_outlives_its_daemon(worker: Daemon) -> None:
    """O1: stored before the id is there."""
    worker.kill()
    id = submit_command(REAL, "process_source", given("source:late"))
    assert get_command_status_sync(id).status is CommandStatus.NEW
    worker.start()
    assert wait_for_command_sync(id, timeout=60).output["source_id"] == "source:late"
    until(lambda: f"Command completed successfully  command={REAL}.process_source" in worker.log(), what="its log line")
