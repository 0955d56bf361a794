"""What the package shows to the outside, and that it agrees with what is written about it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import types
from pathlib import Path

import stoker

ROOT = Path(__file__).parents[2]


def test_each_public_name_can_be_imported() -> None:
    assert stoker.__all__ == sorted(stoker.__all__)
    space: dict[str, object] = {}
    exec("from stoker import *", space)
    assert set(space) - {"__builtins__"} == set(stoker.__all__)


def test_nothing_else_looks_public() -> None:
    fresh = importlib.import_module("stoker")
    seen = {
        name
        for name, value in vars(fresh).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    asked_for_late = set(stoker._LATE)
    helpers = {"TYPE_CHECKING", "Any"}
    assert seen - helpers == set(stoker.__all__) - asked_for_late - {"__version__"}


def test_a_name_that_is_not_there_is_told_as_python_does() -> None:
    assert not hasattr(stoker, "Nothing")


def test_every_public_name_is_documented_and_typed() -> None:
    for name in stoker.__all__:
        assert getattr(stoker, name).__doc__, name
    assert (Path(stoker.__file__).parent / "py.typed").is_file()


def test_the_version_is_the_newest_in_the_changelog() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(heading for heading in headings if heading != "Unreleased") == stoker.__version__


def test_an_application_that_needs_neither_asyncio_nor_pydantic_does_not_pay_for_them() -> None:
    """Every fork copies the page tables of what is loaded; see the comments where these are imported late."""
    code = """
import sys
from stoker import Context, Product
product = Product("app")
@product.command
def work(path: str, ctx: Context) -> int: return 1
print([name for name in ("asyncio", "pydantic", "apsw", "hashlib", "ssl") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_imported_late_is_listed_at_once() -> None:
    assert set(stoker.__all__) <= set(dir(stoker))
