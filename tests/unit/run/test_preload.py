"""Loading the application: every way it can fail told by name, and changed source seen by the next job."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker.model.errors import AppError
from stoker.run.preload import Application, Watched

GOOD = """
    from stoker import Product
    product = Product("shop")

    @product.command
    def sell(count: int) -> int:
        return count + 1
"""
MOMENT = 1_700_000_000_000_000_000


@pytest.fixture(autouse=True)
def imports_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports is gone after it; bytecode is written, as it is in a real application's folder."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        del sys.modules[name]
    sys.modules.update(before)


class Root:
    """An application's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.edits = 0

    def write(self, name: str, text: str = "") -> Path:
        """Write a file; each time a millisecond after the last, so all within one second."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        self.edits += 1
        moment = MOMENT + self.edits * 1_000_000
        os.utime(path, ns=(moment, moment))
        return path

    def application(self, *targets: str) -> Application:
        return Application(targets, self.path)

    def loaded(self, *targets: str) -> Application:
        application = self.application(*targets)
        application.load()
        return application


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path.resolve())


def run(application: Application, *args: Any, command: str = "shop.sell") -> Any:
    return application.commands[command](*args)


# ── what is found ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", ["shop", "shop:product", "shop:sell", "shop:Box.inner", "shop:Box.inner.sell"])
def test_a_module_or_something_in_it(root: Root, target: str) -> None:
    root.write("shop.py", GOOD + "\n    class Box:\n        inner = product\n    product.sell = sell\n")
    application = root.loaded(target)
    assert list(application.commands) == ["shop.sell"]
    assert run(application, 1) == 2
    assert application.seconds > 0


def test_several_targets_together(root: Root) -> None:
    root.write("shop.py", GOOD)
    root.write("bank.py", GOOD.replace('"shop"', '"bank"'))
    assert sorted(root.loaded("shop", "bank:product").commands) == ["bank.sell", "shop.sell"]


def test_a_package_with_all_its_modules_but_not_its_program(root: Root) -> None:
    root.write("shop/__init__.py")
    root.write("shop/deep/__init__.py")
    root.write("shop/deep/till.py", GOOD)
    root.write("shop/__main__.py", "raise SystemExit('this is the program')")
    assert list(root.loaded("shop").commands) == ["shop.sell"]


def test_commands_written_without_a_product_at_hand(root: Root) -> None:
    root.write("shop.py", """
        from stoker import command

        @command("shop", "sell", timeout=5)
        def one(count: int) -> int: return count

        @command("buy", app="shop")
        def two(count: int) -> int: return count
    """)  # fmt: skip
    application = root.loaded("shop")
    assert sorted(application.commands) == ["shop.buy", "shop.sell"]
    assert application.commands["shop.sell"].spec.timeout == 5.0


def test_the_working_folder_is_where_modules_are_found(root: Root) -> None:
    root.write("helper.py", "VALUE = 7")
    root.write("shop.py", GOOD + "\n    import helper\n")
    root.loaded("shop")
    assert sys.path[0] == str(root.path)
    root.loaded("shop")
    assert sys.path.count(str(root.path)) == 1


# ── every way it can fail ────────────────────────────────────────────────────────────────────────────────────────────

BROKEN: list[tuple[str, str, str]] = [
    ("", "nowhere", r"nowhere: there is no module 'nowhere'; looked in /"),
    ("", "nowhere.inner:product", r"there is no module 'nowhere'"),
    (GOOD, "shop.inner", r"there is no module 'shop.inner'"),
    ("import not_installed_anywhere", "shop", r"No module named 'not_installed_anywhere' \(.*shop\.py, line 1\)"),
    ("import shop.missing", "shop", r"shop: .*No module named 'shop.missing'"),
    ("from json import no_such_name", "shop", r"ImportError: cannot import name 'no_such_name'.*line 1"),
    ("def (:\n", "shop", r"SyntaxError: .*shop\.py, line 1\)"),
    ("x = '\x00'", "shop", r"shop: (SyntaxError|ValueError)"),
    ("1 / 0", "shop", r"ZeroDivisionError: division by zero \(.*shop\.py, line 1\)"),
    ("import sys; sys.exit(3)", "shop", r"ends the program when imported: SystemExit: 3 \(.*shop\.py, line 1\)"),
    (GOOD, "shop:products", r"the module shop has no 'products'"),
    (GOOD, "shop:product.nothing", r"the module shop has no 'product.nothing'"),
    ("product = 5", "shop:product", r"shop:product: is an int, not a Product or a command"),
    ("", "shop", r"no product with a command found"),
    ("from stoker import Product; product = Product('shop')", "shop:product", r"no product with a command found"),
    (GOOD.replace("command\n", "command(timeout='soon')\n"), "shop", r"command shop\.sell: .*'soon' is not a duration"),
    (
        "    from __future__ import annotations" + GOOD.replace(": int)", ": Nowhere)"),
        "shop",
        r"command shop\.sell: .*Nowhere",
    ),
    (GOOD, "./shop.py", r"'./shop.py' is not module or module:attribute \(a dotted name, no path and no .py\)"),
    (GOOD, "dir/shop", r"no path and no .py"),
    (GOOD, "shop.py", r"shop\.py"),
    (GOOD, "", r"'' is not module"),
    (GOOD, ":product", r"':product' is not module"),
    (GOOD, "shop..inner", r"is not module"),
    (GOOD, "my-shop", r"'my-shop' is not module"),
]


@pytest.mark.parametrize(
    ("text", "target", "words"), BROKEN, ids=[f"{row[1]}-{number}" for number, row in enumerate(BROKEN)]
)
def test_what_cannot_be_loaded_is_told_by_name(root: Root, text: str, target: str, words: str) -> None:
    root.write("shop.py", text)
    with pytest.raises(AppError, match=words) as caught:
        root.loaded(target)
    assert "\n" not in caught.value.message


def test_nothing_to_load_is_told_with_what_to_do(root: Root) -> None:
    with pytest.raises(AppError, match=r"stoker up package\.module:product"):
        root.loaded()


def test_a_broken_module_deep_in_a_package_is_told(root: Root) -> None:
    """gunicorn's and forkserver's mistake: what cannot be imported is passed over in silence."""
    root.write("shop/__init__.py", GOOD)
    root.write("shop/deep.py", "1 / 0")
    with pytest.raises(AppError, match=r"ZeroDivisionError.*deep\.py, line 1"):
        root.loaded("shop")


def test_one_name_in_two_modules_is_told(root: Root) -> None:
    root.write("shop.py", GOOD)
    root.write("other.py", GOOD)
    with pytest.raises(AppError, match=r"shop\.sell is registered twice: in shop\.sell and in other\.sell"):
        root.loaded("shop", "other")


def test_a_command_that_two_modules_import_is_there_once(root: Root) -> None:
    root.write("shop.py", GOOD)
    root.write("other.py", "from shop import product, sell")
    assert list(root.loaded("shop", "other").commands) == ["shop.sell"]


# ── changed source ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_changed_is_nothing_done(root: Root) -> None:
    root.write("shop.py", GOOD)
    application = root.loaded("shop")
    before = sys.modules["shop"]
    assert application.changed() == []
    assert application.refresh() is False
    assert sys.modules["shop"] is before


def test_v65_an_edit_within_the_same_second_and_of_the_same_size_is_seen(root: Root) -> None:
    """Bytecode is trusted by whole seconds and size, so the old one must not be taken for the new one's."""
    root.write("shop.py", GOOD)
    application = root.loaded("shop")
    for number in (2, 3, 4):
        root.write("shop.py", GOOD.replace("count + 1", f"count + {number}"))
        assert application.changed() == ["shop"]
        assert application.refresh() is True
        assert run(application, 0) == number
        assert application.refresh() is False


def test_a_changed_helper_changes_what_uses_it(root: Root) -> None:
    root.write("helper.py", "STEP = 1")
    root.write(
        "shop.py",
        GOOD.replace("count + 1", "count + helper.STEP").replace("from stoker", "import helper\n    from stoker"),
    )
    application = root.loaded("shop")
    root.write("helper.py", "STEP = 5")
    assert application.refresh() is True
    assert run(application, 1) == 6


def test_a_new_command_is_there_after_the_edit_and_a_deleted_one_is_gone(root: Root) -> None:
    root.write("shop.py", GOOD)
    application = root.loaded("shop")
    root.write("shop.py", GOOD.replace("sell", "buy"))
    application.refresh()
    assert list(application.commands) == ["shop.buy"]


def test_a_broken_edit_is_told_and_mending_it_is_enough(root: Root) -> None:
    root.write("shop.py", GOOD)
    application = root.loaded("shop")
    root.write("shop.py", "def (:\n")
    for _ in range(2):
        with pytest.raises(AppError, match="SyntaxError"):
            application.refresh()
    root.write("shop.py", GOOD.replace("count + 1", "count + 9"))
    assert application.refresh() is True
    assert run(application, 0) == 9


def test_a_file_that_went_away_is_told(root: Root) -> None:
    path = root.write("shop.py", GOOD)
    application = root.loaded("shop")
    path.unlink()
    with pytest.raises(AppError, match="no module 'shop'"):
        application.refresh()


def test_libraries_are_never_dropped(root: Root, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = Root(tmp_path_factory.mktemp("elsewhere").resolve())
    elsewhere.write("library_of_others.py", "STATE = []")
    sys.path.append(str(elsewhere.path))
    root.write("shop.py", "    import json, library_of_others, msgspec, stoker.model.job\n" + GOOD)
    application = root.loaded("shop")
    kept = {name: sys.modules[name] for name in ("json", "library_of_others", "msgspec", "stoker", "stoker.model.job")}
    elsewhere.write("library_of_others.py", "STATE = [1]")
    root.write("shop.py", "    import json, library_of_others\n" + GOOD)
    assert application.refresh() is True
    assert {name: sys.modules[name] for name in kept} == kept
    assert sys.modules["json"] is json


def test_a_virtual_environment_within_the_folder_holds_libraries(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(root.path / ".venv"))
    root.write(".venv/lib/library_in_here.py", "STATE = []")
    root.write("shop.py", "    import library_in_here\n" + GOOD)
    sys.path.append(str(root.path / ".venv" / "lib"))
    application = root.loaded("shop")
    before = sys.modules["library_in_here"]
    root.write("shop.py", GOOD.replace("count + 1", "count + 2"))
    assert application.refresh() is True
    assert sys.modules["library_in_here"] is before


def test_a_folder_whose_name_only_begins_like_that_of_the_libraries_holds_none(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/opt/python and /opt/python-app are neighbours."""
    monkeypatch.setattr(sys, "prefix", str(root.path)[:-1])
    root.write("helper_of_ours.py", "STEP = 1")
    root.write("shop.py", "    import helper_of_ours\n" + GOOD)
    application = root.loaded("shop:product")
    root.write("helper_of_ours.py", "STEP = 2")
    assert application.changed() == ["helper_of_ours"]
    assert application.refresh() is True
    assert sys.modules["helper_of_ours"].STEP == 2


def test_a_failed_reload_leaves_the_commands_of_before(root: Root) -> None:
    """In a resident other jobs are looking their handlers up meanwhile."""
    root.write("shop.py", GOOD)
    application = root.loaded("shop")
    before = application.commands
    root.write("shop.py", "1 / 0")
    with contextlib.suppress(AppError):
        application.refresh()
    assert application.commands is before


# ── where many jobs share a process ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def looks(root: Root, monkeypatch: pytest.MonkeyPatch) -> tuple[Watched, list[int]]:
    """An application that is watched, and a list that grows with each look at its source."""
    root.write("shop.py", GOOD)
    application = root.loaded("shop")
    found: list[int] = []

    def look() -> list[str]:
        found.append(1)
        return []

    monkeypatch.setattr(application, "changed", look)
    return Watched(application), found


def test_jobs_that_came_together_pay_for_one_look(looks: tuple[Watched, list[int]]) -> None:
    watched, found = looks
    for _ in range(3):
        watched.came()
    assert {name for _ in range(3) for name in watched.current()} == {"shop.sell"}
    assert len(found) == 1


def test_each_job_that_comes_later_is_owed_a_look(looks: tuple[Watched, list[int]]) -> None:
    watched, found = looks
    for _ in range(3):
        watched.came()
        watched.current()
    assert len(found) == 3


def test_a_job_that_comes_during_a_look_is_owed_another(
    looks: tuple[Watched, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its source may have been changed after it was looked at."""
    watched, found = looks
    before = watched._application.changed

    def meanwhile() -> list[str]:
        watched.came()
        monkeypatch.setattr(watched._application, "changed", before)
        return before()

    monkeypatch.setattr(watched._application, "changed", meanwhile)
    watched.current()
    watched.current()
    assert len(found) == 2
