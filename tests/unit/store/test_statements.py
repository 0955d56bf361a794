"""SQL in files: named once, described, and migrations without gaps."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from stoker.store import statements


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "sql" / "odd" / "migrations"
    made.mkdir(parents=True)
    monkeypatch.setattr(resources, "files", lambda _package: tmp_path)
    return made.parent


def test_a_file_is_cut_into_its_statements(folder: Path) -> None:
    (folder / "a.sql").write_text("-- name: one\n-- The first.\nSELECT 1;\n\n-- name: two\nSELECT\n  2;\n")
    (folder / "notes.txt").write_text("-- name: three\n")
    assert statements.load("odd") == {"one": "-- The first.\nSELECT 1;", "two": "SELECT\n  2;"}


def test_a_name_in_two_files_is_refused(folder: Path) -> None:
    (folder / "a.sql").write_text("-- name: one\nSELECT 1;")
    (folder / "b.sql").write_text("-- name: one\nSELECT 2;")
    with pytest.raises(ValueError, match=r"b\.sql: the statement one is there twice"):
        statements.load("odd")


def test_migrations_come_in_order_and_without_gaps(folder: Path) -> None:
    for name in ("0002_more.sql", "0001_jobs.sql"):
        (folder / "migrations" / name).write_text(name)
    assert statements.migrations("odd") == [(1, "0001_jobs.sql"), (2, "0002_more.sql")]
    (folder / "migrations" / "0004_later.sql").write_text("")
    with pytest.raises(ValueError, match="not numbered"):
        statements.migrations("odd")


def test_each_statement_of_ours_says_what_it_is_for_unless_it_is_plain() -> None:
    found = statements.load("sqlite")
    assert len(found) > 30
    for name, text in found.items():
        assert text.startswith("-- ") or text.count("\n") <= 1, name


def test_no_other_module_holds_statements_of_its_own() -> None:
    package = Path(str(resources.files("stoker")))
    writes = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b")
    guilty = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] != "bench"  # bare SQL is what it measures beside
        and any(writes.search(line) for line in path.read_text().splitlines())
    }
    # the fixed conditions of the list, and the look at a file before it is ours
    assert guilty <= {"store/sqlite/reading.py", "store/sqlite/connection.py"}


def test_a_migration_is_for_what_its_first_sentence_says() -> None:
    assert statements.purpose("-- It does this,\n-- and that. More.\nCREATE") == "It does this, and that."
    assert statements.purpose("-- One thing\nCREATE") == "One thing"
    scripts = [script for driver in ("sqlite", "postgres") for _, script in statements.migrations(driver)]
    assert all(statements.purpose(script).endswith(".") for script in scripts), "no sentence is cut"
