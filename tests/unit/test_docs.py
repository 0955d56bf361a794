"""The documents are true: their code runs, their tables are those of the code, their links lead somewhere.

Comments that a web page does not show say what to do with the block that follows:

    <!-- file: app.py -->   a part of this file of the project that the daemon runs
    <!-- run -->            Python, run in that project; blocks that follow each other are one program
    <!-- console -->        commands after ``$``, and what they print; ``...`` stands for anything

A page is done from top to bottom, in one shell.
"""

from __future__ import annotations

import ast
import doctest
import inspect
import itertools
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

import stoker
from stoker import settings as settings_module
from stoker._version import __version__
from stoker.client.aio import AsyncClient, AsyncJobHandle
from stoker.client.sync import Client, JobHandle
from stoker.entry import cli, exits
from stoker.model import errors, packing
from stoker.model.access import BRIDGE
from stoker.model.definition import define
from stoker.model.event import EventKind
from stoker.router.methods import table as methods
from stoker.run.context import Context
from stoker.settings import ABOUT, Settings
from stoker.wire.records import JobRecord
from tests.daemon import Daemon

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/*.md"), *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING",
                                                                              "SECURITY"))])  # fmt: skip
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
WITHIN = 60.0

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[a-z]+)(?:: (?P<what>\S+))? -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<place>[^)\s]+)\)")
_HOSTS = re.compile(r"pypi\.|pythonhosted|npmjs|conda|crates\.io|/work/|/tmp/|/root/|/home/\w", re.I)


class Block(NamedTuple):
    """A fenced block. ``line`` is where its text begins."""

    page: str
    line: int
    kind: str
    mark: str
    what: str
    text: str


def blocks(page: str) -> list[Block]:
    source = (ROOT / page).read_text("utf-8")
    return [
        Block(page, source[: found.start("text")].count("\n"), found["kind"], found["mark"] or "", found["what"] or "",
              found["text"])
        for found in _BLOCK.finditer(source)
    ]  # fmt: skip


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    level = heading.index(" ")
    text = (ROOT / page).read_text("utf-8")
    begin = text.index(f"\n{heading}\n")
    following = re.search(rf"^#{{1,{level}}} ", text[begin + len(heading) + 2 :], re.M)
    return text[begin:] if following is None else text[begin : begin + len(heading) + 2 + following.start()]


def rows(page: str, first: str) -> list[list[str]]:
    """The cells of the table whose head begins with ``first``; a bar within code is written ``\\|``."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        found.append([cell.strip().replace("\\|", "|") for cell in cells])
    return found


def code(cell: str) -> str:
    """What stands between backticks."""
    return cell.strip("`")


# ── what is shown runs ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def project() -> Iterator[Daemon]:
    """A daemon that runs every product of every page."""
    files: dict[str, dict[str, str]] = {}
    for block in (block for name in NAMES for block in blocks(name) if block.mark == "file"):
        page = files.setdefault(block.what, {})
        page[block.page] = page.get(block.page, "") + block.text
    daemon = Daemon(*(name.removesuffix(".py") for name in files))
    for name, pages in files.items():
        longest = max(pages.values(), key=len)
        shorter = [page for page, text in pages.items() if not longest.startswith(text)]
        assert not shorter, f"{shorter} show another {name} than the page that shows most of it"
        (daemon.folder / name).write_text(longest, "utf-8")
    try:
        yield daemon.start()
    finally:
        daemon.close()


def program(page: str, part: list[Block], folder: Path) -> str:
    """Python blocks that follow each other, as the command that runs them; a traceback names the page's lines."""
    text = ""
    for block in part:
        text += "\n" * (block.line - text.count("\n")) + block.text
    script = folder / f"{Path(page).stem}-{part[0].line}.py"
    script.write_text(text, "utf-8")
    return f"{shlex.quote(sys.executable)} -W error {shlex.quote(str(script))} || exit 99"


def steps(page: str, folder: Path) -> Iterator[tuple[str, str | None, int]]:
    """What a page does, in order: a command, what it shall print (None: whatever it likes), the line."""
    marked = [block for block in blocks(page) if block.mark in ("run", "console")]
    for mark, part in itertools.groupby(marked, lambda block: block.mark):
        if mark == "run":
            python = list(part)
            yield program(page, python, folder), None, python[0].line
            continue
        for block in part:
            before, *parts = re.split(r"^\$ (.*)$", block.text, flags=re.M)
            assert not before.strip(), f"{page}:{block.line} begins with something that is no command"
            for command, output in zip(parts[::2], parts[1::2], strict=True):
                yield command, output.lstrip("\n"), block.line


@pytest.mark.parametrize(
    "page", [name for name in NAMES if any(one.mark in ("run", "console") for one in blocks(name))]
)
def test_what_is_shown_runs(project: Daemon, page: str) -> None:
    shown = list(steps(page, project.folder))
    script = "".join(f"{command}\nprintf '\\0'\n" for command, _, _ in shown)
    environ = {**project.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=project.folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=WITHIN, check=False, text=True,
    )  # fmt: skip
    *said, rest = done.stdout.split("\0")
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for (command, output, line), found in zip(shown, said, strict=False):
        if output is not None and not checker.check_output(output, found, flags):
            difference = checker.output_difference(doctest.Example(command, output), found, flags)
            raise AssertionError(f"{page}:{line}: {command}\n{difference}")
    assert done.returncode == 0, f"{page}:{shown[len(said)][2]}:\n{rest}\n{project.log()[-2000:]}"
    assert len(said) == len(shown)


@pytest.mark.parametrize("page", NAMES)
def test_python_is_python(page: str) -> None:
    for block in blocks(page):
        assert block.mark in ("", "run", "file", "console"), f"{page}:{block.line}: {block.mark}"
        if block.kind == "python":
            ast.parse(textwrap.dedent(block.text), f"{page}:{block.line}")


# ── what is listed is what there is ──────────────────────────────────────────────────────────────────────────────────


def test_every_setting_is_explained_as_the_code_explains_it() -> None:
    table = {code(name): (default, about, late) for name, default, about, late in rows("docs/settings.md", "setting")}
    assert list(table) == list(settings_module.KINDS)
    assert {name: about for name, (_, about, _) in table.items()} == dict(ABOUT)
    assert {name for name, (_, _, late) in table.items() if late == "no"} == settings_module.FIXED
    plain = Settings(root=ROOT)
    for name in settings_module.KINDS:
        default, set_to = table[name][0], settings_module.value(plain, name)
        if re.fullmatch(r"`[^`]+`", default):
            shown = settings_module.load({name: code(default)}, environ={})
            assert settings_module.value(shown, name) == set_to, f"{name}: {default}"
        else:
            assert not set_to or name == "root", f"{name}: {default}"


def test_every_command_of_the_cli_with_every_option() -> None:
    found: Any = typer.main.get_command(cli.app)  # a group of whichever click this typer brings
    documented = re.findall(r"^### stoker (\S+)$", (ROOT / "docs/cli.md").read_text("utf-8"), re.M)
    assert sorted(documented) == sorted(found.commands)
    for name, command in found.commands.items():
        text = section("docs/cli.md", f"### stoker {name}")
        options = {
            option for param in command.params for option in (*param.opts, *param.secondary_opts) if option[0] == "-"
        }
        told = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
        assert options - told - {"--help", "-h"} == set(), f"stoker {name} has options that are not told"
        lines = [line for line in text.splitlines() if line.startswith("| `--")]
        invented = {option for line in lines for option in re.findall(r"--[a-z-]+", line.split("|")[1])} - options
        assert invented == set(), f"stoker {name} has no such options"


def test_every_exit_code() -> None:
    table = {int(number) for number, _ in rows("docs/cli.md", "code")}
    assert table == {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}


def test_every_method_with_its_parameters_and_roles() -> None:
    table = {code(name): (params, told, who) for name, params, _, told, who in rows("docs/protocol.md", "method")}
    assert list(table) == list(methods.TABLE)
    for name, method in methods.TABLE.items():
        params, told, who = table[name]
        assert re.findall(r"`(\w+)`", params) == list(method.params.__struct_encode_fields__), name
        assert told == ", ".join(method.roles), name
        assert who.replace("the bridge itself", BRIDGE).split(", ") == (
            [level for level in method.levels if level != BRIDGE] or [*method.levels] or [""]
        ), name


def test_every_error_code() -> None:
    def tree(kind: type[errors.StokerError]) -> Iterator[type[errors.StokerError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    text = section("docs/protocol.md", "## Error codes")
    told = set(re.findall(r"`([a-z_]+)`", text)) - {"reload", "submit_many"}
    assert told == {kind.code for kind in tree(errors.StokerError)}
    drawn = section("docs/client.md", "## Errors")
    assert [kind.__name__ for kind in tree(errors.StokerError) if kind.__name__ not in drawn] == []


def test_every_kind_of_event() -> None:
    told = [kind for cell, _ in rows("docs/protocol.md", "kind") for kind in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted(EventKind)


def test_every_option_of_a_command() -> None:
    options = [name for name in inspect.signature(define).parameters if name not in ("product", "handler")]
    assert sorted(code(name) for name, _, _ in rows("docs/commands.md", "option")) == sorted(options)


def test_every_option_of_a_submission() -> None:
    told = {name for cell, _ in rows("docs/client.md", "option") for name in re.findall(r"`(\w+)`", cell)}
    assert told == packing.OPTIONS


@pytest.mark.parametrize(
    ("page", "kinds"),
    [
        ("docs/commands.md", [Context]),
        ("docs/client.md", [Client, JobHandle, AsyncClient, AsyncJobHandle, JobRecord]),
    ],
)
def test_every_method_of_what_users_hold(page: str, kinds: list[Any]) -> None:
    told = set(re.findall(r"[\w.]*?(\w+)", " ".join(re.findall(r"`[^`\n]+`", (ROOT / page).read_text("utf-8")))))
    # what only our own code calls, or what needs no word
    internal = {"run_deferred", "checked", "close", "print", "connected"}
    for kind in kinds:
        missing = {name for name in dir(kind) if not name.startswith("_")} - told - internal
        assert missing == set(), f"{kind.__name__} has what {page} does not tell"


def test_every_public_name_is_mentioned() -> None:
    text = " ".join((ROOT / name).read_text("utf-8") for name in NAMES if name != "CHANGELOG.md")
    assert [name for name in stoker.__all__ if name not in text] == ["__version__"]


# ── what is linked is there ──────────────────────────────────────────────────────────────────────────────────────────


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings make, as the web shows them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", NAMES)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    for found in _LINK.finditer(text):
        place, _, fragment = found["place"].partition("#")
        if place.startswith("https://"):
            continue
        target = (ROOT / page).parent / place if place else ROOT / page
        assert target.exists(), f"{page}: {found[0]}"
        assert target.resolve().is_relative_to(ROOT), f"{page}: {found[0]} leaves the repository"
        if fragment:
            assert fragment in anchors(target), f"{page}: {found[0]}"
        if found["text"].startswith("test_"):
            assert re.search(rf"^(async )?def {found['text']}\(", target.read_text("utf-8"), re.M), (
                f"{page}: {found[0]}"
            )


def test_every_page_is_in_the_table_of_contents() -> None:
    linked = {found["place"] for found in _LINK.finditer((ROOT / "docs/index.md").read_text("utf-8"))}
    assert {page.name for page in ROOT.glob("docs/*.md")} - linked == {"index.md"}


def test_every_promise_is_in_the_readme_with_a_test() -> None:
    told = {cells[0]: cells[2] for cells in rows("README.md", "|")}
    assert list(told) == re.findall(r"^## (P\d+):", (ROOT / "docs/promises.md").read_text("utf-8"), re.M)
    assert all("](tests/" in proof for proof in told.values())


def test_the_changelog_tells_this_version() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert next(heading for heading in headings if heading != "Unreleased") == __version__


def test_the_figures_have_their_place() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.count("<!-- figures -->") == text.count("<!-- /figures -->") == 1
    assert text.index("<!-- figures -->") < text.index("<!-- /figures -->")


@pytest.mark.parametrize("page", NAMES)
def test_no_page_names_a_registry_or_this_machine(page: str) -> None:
    assert _HOSTS.findall((ROOT / page).read_text("utf-8")) == []
