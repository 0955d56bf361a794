"""Products: what an application registers is what the daemon can do; the daemon itself knows no product."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import stoker
from stoker import InvalidInput, JobFailed
from tests.apps import notes
from tests.daemon import Daemon
from tests.story.conftest import Make


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon("notes", "story") as daemon:
        yield daemon


def test_one_daemon_for_several_products(daemon: Daemon) -> None:
    """P15, P17, O16, O30: two modules, several products; the same name in two products goes to the right one."""
    names = set(daemon.client.stats()["commands"])
    assert {"notes.process", "shop.process", "open_notebook.process_source", "story.echo"} <= names
    assert daemon.client.call("shop.process", number=7) == "order 7"
    assert daemon.client.call("notes.process", path="abc")["chunks"] == 3


def test_typed_input_and_output(daemon: Daemon) -> None:
    """O7, O8, O15: models, structs, dataclasses and plain parameters, in the types that were declared."""
    client = daemon.client
    indexed = client.call(notes.process, notes.Source(path="abc", depth=2))
    assert indexed == notes.Indexed(chunks=6, source=notes.Source(path="abc", depth=2))
    assert client.call(notes.move, notes.Point(1, 2)) == notes.Point(2, 3)
    assert client.call(notes.area, notes.Size(3)) == 15
    assert client.call("notes.coroutine", value=4) == 5


def test_wrong_input_names_the_field(daemon: Daemon) -> None:
    """O15: whatever the kind of type, and whoever checks it."""
    for wrong, field in (({"path": 5}, "path"), ({}, "path"), ({"path": "x", "depth": 99}, "depth")):
        with pytest.raises(InvalidInput, match=field):
            daemon.client.submit(notes.process, **wrong)
        with pytest.raises(InvalidInput, match=field):
            daemon.client.submit("notes.process", wrong)
    with pytest.raises(InvalidInput, match="x"):
        daemon.client.submit("notes.move", {"x": "one"})
    with pytest.raises(InvalidInput, match="width"):
        daemon.client.submit("notes.area", {"height": 1})


def test_wrong_output_is_the_handlers_error(daemon: Daemon) -> None:
    """O33: a result that is not what was declared, or cannot be written down, fails the job with a sentence."""
    with pytest.raises(JobFailed, match="InvalidOutput: the handler returned what it does not declare"):
        daemon.client.call("notes.lies")
    with pytest.raises(JobFailed, match="InvalidOutput"):
        daemon.client.call("notes.not_json")


def test_both_spellings_of_the_decorator(daemon: Daemon) -> None:
    """O4, O5, O16, O18, X6: ``@command("app", "name", timeout=)`` and ``@command("name", app=, retry=)``."""
    found = daemon.client.call("open_notebook.process_source", path="a.pdf")
    assert (found["success"], found["path"]) == (True, "a.pdf")
    job = daemon.client.submit("open_notebook.embed", {"item": "x"})
    assert job.result(20) == {"item": "x"}
    record = job.record()
    assert (record.app, record.command, record.attempt) == ("open_notebook", "embed", 2)
    commands = {one["name"]: one for one in daemon.client.ask("commands")}
    assert commands["open_notebook.process_source"]["timeout"] == 300


def test_a_decorated_function_is_still_a_function() -> None:
    """O20: tests call it with no daemon anywhere."""
    assert notes.process_order(3) == "order 3"
    assert asyncio.run(notes.coroutine(1)) == 2


def test_a_result_that_says_it_failed(daemon: Daemon) -> None:
    """O19, O69, X13: completed all the same, and counted apart."""
    job = daemon.client.submit("notes.unwell")
    assert job.result(20) == {"success": False, "error_message": "Could not extract content: encrypted"}
    assert job.status() == "completed"
    rows = {row["command"]: row for row in daemon.client.ask("command_stats")}
    assert rows["notes.unwell"]["unwell"] == rows["notes.unwell"]["completed"] == 1
    assert rows["notes.unwell"]["failed"] == 0


def test_an_idempotent_command_may_say_that_it_skipped(daemon: Daemon) -> None:
    """O84: its word is in the result."""
    assert daemon.client.call("notes.skips", done=True) == {"skipped": True}


def test_a_job_of_a_command_that_is_gone_fails_by_name(make: Make) -> None:
    """O31: stored while nobody knew it, or taken away since: failed, naming it; the daemon lives."""
    daemon = make("story", begin=False, look=0.2)
    job = daemon.client.submit("shop.vanished", {"number": 1})
    daemon.start()
    with pytest.raises(JobFailed, match=r"UnknownCommand: no product registers 'shop\.vanished'"):
        job.result(20)
    assert daemon.client.call("story.double", number=1) == 2


def test_one_product_of_a_module(make: Make) -> None:
    """P17: ``module:attribute`` takes that product alone."""
    daemon = make("notes:shop", begin=False)
    daemon.copy("notes")
    daemon.start()
    assert daemon.client.stats()["commands"] == ["shop.process"]


def test_a_package_of_modules(make: Make) -> None:
    """O21: a package is searched with all its modules."""
    daemon = make("commands", begin=False)
    package = daemon.file("commands")
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "deep" / "__init__.py").touch()
    for place, name in ((package, "one"), (package / "deep", "two")):
        text = "from stoker import Product\nx = Product('NAME')\n@x.command\ndef go() -> str: return 'NAME'\n"
        (place / f"{name}.py").write_text(text.replace("NAME", name))
    daemon.start()
    assert [daemon.client.call(f"{name}.go") for name in ("one", "two")] == ["one", "two"]
    assert "commands=2" in daemon.log()


def test_the_core_names_no_product() -> None:
    """P15, P27: no word of any application in the package."""
    source = Path(stoker.__file__).parent
    words = ("open_notebook.", "process_image", "convertPdf", "llmChat", "elaborateRag")
    core = [path for path in source.rglob("*.py") if not {"entry", "surreal_commands"} & set(path.parts)]
    assert [path for path in core for word in words if word in path.read_text()] == []
