"""Schedule files: which are read, what each key may say, and everything that is wrong told with its place."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from stoker import settings as settings_module
from stoker.model.schedule import Entry, command_of
from stoker.model.schedule_keys import Kind, Overlap
from stoker.schedule import crontab, files
from stoker.schedule.files import Book

SAMPLE = {"active": 1, "name": "graceful", "schedule": "*/5 * * * *", "command": "apachectl -k graceful"}


def entry(**more: Any) -> dict[str, Any]:
    return {"name": "one", "schedule": "0 3 * * *", "cron": "sub/x.py", **more}


def put(folder: Path, name: str, found: Any) -> None:
    path = folder / "schedules" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(found if isinstance(found, str) else json.dumps(found, indent=1), "utf-8")
    path.chmod(0o644)


def load(folder: Path, env: str = "", *, thorough: bool = False, **more: Any) -> Book:
    return files.load(settings(folder, env, **more), thorough=thorough)


def settings(folder: Path, env: str = "", **more: Any) -> settings_module.Settings:
    given = {f"schedules.{name}": value for name, value in more.items()}
    return settings_module.load({"root": folder, "schedules.env": env, **given}, environ={})


def said(book: Book) -> list[str]:
    return [str(problem) for problem in book.problems]


def only(folder: Path, **more: Any) -> Entry:
    put(folder, "cron.json", [entry(**more)])
    book = load(folder)
    assert said(book) == []
    return book.entries["one"]


# ── which files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_files_of_the_seed_as_they_stand(tmp_path: Path) -> None:
    """Rows T2, T12, T13: base on every node, a role's file for its holder, other environments left alone."""
    put(tmp_path, "cron.worker.json", [SAMPLE, {**entry(), "name": "heartbeat", "cron": "worker/worker_heartbeat.php"}])
    put(
        tmp_path,
        "cron.worker.sync.json",
        [{**entry(), "name": "netsuite", "cron": "../ontrack/crons/tickets_prod.php"}],
    )
    put(tmp_path, "cron.demo.json", [{**entry(), "name": "demo", "url": "/tick"} | {"cron": "x"}])
    book = load(tmp_path, "worker", profile="002")
    assert said(book) == []
    assert {name: (one.role, one.every_node) for name, one in book.entries.items()} == {
        "graceful": ("", True), "heartbeat": ("", True), "netsuite": ("sync", False),
    }  # fmt: skip
    assert {one.tz for one in book.entries.values()} == {"America/Chicago"}
    assert command_of(book.entries["graceful"], "alpha", ("sync",)) == "cron.argv@alpha"
    assert command_of(book.entries["netsuite"], "alpha", ("sync",)) == "cron.script/sync"
    assert command_of(book.entries["netsuite"], "alpha", ()) == "cron.script"


def test_an_environment_without_roles_runs_on_one_node(tmp_path: Path) -> None:
    put(tmp_path, "cron.stage.json", [SAMPLE])
    assert load(tmp_path, "stage").entries["graceful"].every_node is False


def test_no_environment_or_an_unknown_one_is_an_error_that_names_those_there_are(tmp_path: Path) -> None:
    """Row T11."""
    put(tmp_path, "cron.demo.json", [SAMPLE])
    assert "no environment is named" in said(load(tmp_path))[0]
    assert "there is no cron.prod.json; there are demo" in said(load(tmp_path, "prod"))[0]
    assert load(tmp_path, "prod").fatal


def test_the_variable_of_the_seed_names_the_environment(tmp_path: Path) -> None:
    found = settings_module.load({"root": tmp_path}, environ={"ENVIRONMENT": "demo"})
    assert found.schedules.env == "demo"
    found = settings_module.load({"root": tmp_path}, environ={"ENVIRONMENT": "demo", "STOKER_SCHEDULES_ENV": "beta"})
    assert found.schedules.env == "beta"


def test_toml_says_the_same(tmp_path: Path) -> None:
    put(
        tmp_path,
        "cron.toml",
        '[[schedule]]\nname = "one"\nschedule = "@daily"\njob = "shop.sync"\ninput = {full = true}\n',
    )
    book = load(tmp_path)
    assert said(book) == []
    one = book.entries["one"]
    assert (one.kind, one.what, one.input, one.where) == (
        Kind.JOB,
        "shop.sync",
        {"full": True},
        "schedules/cron.toml:1",
    )


def test_no_folder_is_no_schedule(tmp_path: Path) -> None:
    assert load(tmp_path) == Book({}, [], [], {})


def test_marks_tell_what_changed(tmp_path: Path) -> None:
    put(tmp_path, "cron.json", [SAMPLE])
    book = load(tmp_path)
    assert book.marks == files.marks(settings(tmp_path))
    put(tmp_path, "cron.json", [SAMPLE, entry()])
    assert book.marks != files.marks(settings(tmp_path))


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_key_is_read(tmp_path: Path) -> None:
    one = only(
        tmp_path, active=0, cron="sub/x.py a 'b c'", tz="America/Chicago", timeout="10m", overlap="queue", jitter=30,
        catch_up="all", priority="critical", retries=2, memory="1GB", role="sync", environment={"K": "${env:KEY}"},
    )  # fmt: skip
    assert (one.active, one.what, one.tz, one.timeout) == (False, ("sub/x.py", "a", "b c"), "America/Chicago", 600.0)
    assert (one.overlap, one.jitter, one.catch_up, one.priority) == (Overlap.QUEUE, 30.0, 1000, 20)
    assert (one.retries, one.memory, one.role, one.environment) == (2, 1 << 30, "sync", {"K": "${env:KEY}"})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"active": "yes"}, "active: 1 or 0 is needed"),
        ({"active": 2}, "active: 1 or 0 is needed"),
        ({"activ": 1}, "did you mean active?"),
        ({"url": "/x"}, "; it has cron and url"),
        ({"schedule": "60 24 32 13 8"}, "is not right for minute"),
        ({"schedule": "0 0 30 2 *"}, "is not right for day of month"),
        ({"tz": "Mars"}, "tz: 'Mars' is not a time zone"),
        ({"name": ""}, "name: a text is needed"),
        ({"name": "x" * (1 << 20)}, "name: has 1048576 characters"),
        ({"name": "a\x00b"}, "control character"),
        ({"overlap": "maybe"}, "overlap: skip, queue, replace are known"),
        ({"overlap": "queue", "waiting": 0}, "waiting: a whole number from 1 to 1000 is needed, not 0"),
        ({"schedule": "@reboot", "jitter": 5}, "@reboot is no moment that could be waited for"),
        ({"waiting": 3}, "waiting means nothing where overlap is skip; it is for queue"),
        ({"catch_up": -1}, "catch_up: skip, one, all"),
        ({"catch_up": 10**400}, "catch_up"),
        ({"timeout": 0}, "timeout: must be more than 0"),
        ({"timeout": float("1e300")}, "timeout"),
        ({"jitter": "2d"}, "is the most"),
        ({"priority": 1000}, "priority"),
        ({"memory": "lots"}, "memory"),
        ({"input": {}}, "input means nothing for a cron"),
        ({"shell": True}, "shell means nothing for a cron"),
        ({"cron": ""}, "cron: "),
        ({"cron": "x 'y"}, "cron:"),
        ({"cron": "x.py ${env:TOKEN}"}, "put what ${…} stands for into environment"),
        ({"cron": ["x"] * 1000}, "more than 200 words"),
        ({"environment": {"A=B": "c"}}, "a name has no '='"),
        ({"environment": "x"}, "an object is needed"),
        ({"every_node": 1, "role": "sync"}, "has no role"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_with_its_line_and_name(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    put(tmp_path, "cron.json", json.dumps([entry(**more)]).replace("[", "[\n\n", 1))
    (problem,) = said(load(tmp_path))
    assert problem.startswith("schedules/cron.json:3: ")
    assert message in problem
    assert len(problem) < 600


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[\n {"name": tru}]', ":2:11: is not JSON"),
        ("[{}, 2", "exactly one of"),
        ("[", ":1:2: is not JSON"),
        ("[]]", ":1:3: is not JSON"),
        ('[{"name": "a", "name": "b"}]', ":1: the key 'name' is there twice"),
        ('{"other": []}', ": is a list of entries"),
        ("[NaN]", ":1: is not JSON: NaN is no number"),
        ("[" * 100_000, "nested too deep"),
        ('"text"', ": is a list of entries"),
        ("", ":1:1: is not JSON"),
        ("[" + "9" * 10_000 + "]", ":1: is not JSON"),
        ("[3]", "an entry is an object"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_with_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    put(tmp_path, "cron.json", text)
    book = load(tmp_path)
    assert place in said(book)[0]
    assert book.fatal


def test_toml_that_cannot_be_read_is_said_with_line_and_column(tmp_path: Path) -> None:
    put(tmp_path, "cron.toml", "[[schedule]]\nname = \n")
    (problem,) = said(load(tmp_path))
    assert problem.startswith("schedules/cron.toml:2:8: is not TOML")


def test_names_are_there_once_over_all_files(tmp_path: Path) -> None:
    put(tmp_path, "cron.json", [entry()])
    put(tmp_path, "cron.demo.json", [entry()])
    (problem,) = said(load(tmp_path, "demo"))
    assert "the name is there twice; the first is at schedules/cron.json:2" in problem


def test_a_shell_is_there_only_when_it_is_asked_for(tmp_path: Path) -> None:
    """Row T7."""
    piped = {"name": "one", "schedule": "@daily", "command": "a | b > c"}
    put(tmp_path, "cron.json", [piped])
    assert '"shell": true' in said(load(tmp_path))[0]
    assert load(tmp_path, profile="002").entries["one"].what == "a | b > c"
    put(tmp_path, "cron.json", [{**piped, "shell": True}])
    assert load(tmp_path).entries["one"].what == "a | b > c"
    put(tmp_path, "cron.json", [{**piped, "command": "a 'b|c' d"}])
    assert load(tmp_path).entries["one"].what == ("a", "b|c", "d")


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "cron.json", [SAMPLE])
    path = tmp_path / "schedules/cron.json"
    path.chmod(0o666)
    assert "may be written by everybody" in load(tmp_path).fatal[0].message
    path.chmod(0o664)
    book = load(tmp_path)
    assert book.fatal == []
    assert "its group" in said(book)[0]


def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    (tmp_path / "schedules").mkdir()
    os.mkfifo(tmp_path / "schedules/cron.json", 0o600)
    assert "is not a file" in said(load(tmp_path))[0]


def test_a_hostile_file_costs_little(tmp_path: Path) -> None:
    put(tmp_path, "cron.json", [entry(name=f"n{n}", schedule=f"0 0 */{20 + n % 9} * {n % 7}L") for n in range(5000)])
    begun = time.thread_time()
    book = load(tmp_path)
    assert len(book.problems) == files.PROBLEMS_MAX
    assert time.thread_time() - begun < 2


def test_a_hundred_thousand_entries(tmp_path: Path) -> None:
    many = [{**SAMPLE, "name": f"n{n}", "schedule": f"{n % 60} {n % 24} * * *"} for n in range(100_000)]
    put(tmp_path, "cron.json", json.dumps(many))
    begun = time.thread_time()
    book = load(tmp_path)
    assert len(book.entries) == 100_000
    assert time.thread_time() - begun < 10  # measured: 1.5 s on an idle machine


# ── what only check looks at ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_literal_credential_is_told_with_its_line_and_not_shown(tmp_path: Path) -> None:
    """Row T75, and the note of the seed."""
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    put(tmp_path, "cron.json", [
        {**SAMPLE, "name": "a", "command": f"push {key}"},
        {**SAMPLE, "name": "b", "command": "x", "environment": {"DB_PASSWORD": "hunter22"}},
        {**SAMPLE, "name": "c", "command": ["psql", "postgres://me:" + "hunter22@db/x"]},
        {**SAMPLE, "name": "d", "command": "x", "environment": {"API_TOKEN": "${env:API_TOKEN}"}},
    ])  # fmt: skip
    found = [problem for problem in load(tmp_path, thorough=True).problems if "written out" in problem.message]
    assert [problem.where.rpartition(":")[2] for problem in found] == ["6", "14", "23"]
    assert not any(problem.fatal for problem in found)
    assert "hunter22" not in str(found)
    assert key not in str(found)


def test_scripts_that_are_not_there_that_sleep_and_that_are_dead(tmp_path: Path) -> None:
    """Rows T18, T23, T74."""
    for name in ("sub/x.py", "idle.py", "DOA/old.py"):
        (tmp_path / "crons" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "crons" / name).touch()
    put(tmp_path, "cron.json", [entry(), entry(name="two", cron="gone.py"), entry(name="three", cron="DOA/old.py")])
    book = load(tmp_path, thorough=True)
    assert any("there is no" in one and "gone.py" in one for one in said(book))
    assert any("what lies in DOA is kept, not run" in one for one in said(book))
    assert files.dormant(settings(tmp_path), book) == ["idle.py"]


# ── the crontab ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_crontab_of_the_seed(tmp_path: Path) -> None:
    """Rows T1, T4, T6, T10, T12, T16."""
    put(tmp_path, "cron.worker.json", [SAMPLE, {**entry(), "name": "off", "active": 0}])
    put(tmp_path, "cron.worker.sync.json", [entry(name="sync it", cron="sub/x.php", schedule="@daily")])
    put(tmp_path, "cron.worker.catalog.json", [entry(name="start", cron="sub/x.php", schedule="@reboot")])
    put(tmp_path, "cron.worker.toga.json", [{"name": "ping", "schedule": "1 2 3 4 5", "url": "/x?a=100%"}])
    how = settings(tmp_path, "worker", profile="002", interpreter="php", crons="/var/www/html/crons")
    entries = files.load(how).entries.values()
    assert crontab.crontab(entries, how, "sync").splitlines()[1:] == [
        "CRON_TZ=America/Chicago", "# graceful", "*/5 * * * * apachectl -k graceful", "# off: off",
        "# sync it", "0 0 * * * php /var/www/html/crons/sub/x.php",
    ]  # fmt: skip
    assert "1 2 3 4 5 wget -q -O /dev/null 'http://localhost/x?a=100\\%'" in crontab.crontab(entries, how, None)
    assert "# start\n@reboot php /var/www/html/crons/sub/x.php\n" in crontab.crontab(entries, how, "catalog")
    assert crontab.crontab(entries, how, None) == crontab.crontab(entries, how, None)


@pytest.mark.parametrize("more", [{"schedule": "* * * * * *"}, {"schedule": "0 0 L * *"}, {"environment": {"A": "b"}}])
def test_what_cron_cannot_do_is_left_out_aloud(tmp_path: Path, more: dict[str, Any]) -> None:
    put(tmp_path, "cron.json", [entry(**more)])
    how = settings(tmp_path)
    (line,) = crontab.crontab(files.load(how).entries.values(), how).splitlines()[1:]
    assert line.startswith("# not for cron")
