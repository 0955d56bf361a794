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

import click
import msgspec
import pytest
import typer.main

import stoker
from stoker import settings as settings_module
from stoker._version import __version__
from stoker.client.aio import AsyncClient, AsyncJobHandle
from stoker.client.sync import Client, JobHandle
from stoker.entry import cli, exits
from stoker.model import errors
from stoker.model.command import define
from stoker.model.event import EventKind
from stoker.router import methods
from stoker.run.context import Context
from stoker.settings import ABOUT, Settings
from stoker.wire.records import JobRecord
from tests.daemon import Daemon

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/*.md"), *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING",
                                                                              "SECURITY"))])  # fmt: skip
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
WITHIN = 60.0

_BLOCK = re.compile(r"^(?:<!-- (?P<mark>[a-z]+)(?:: (?P<what>\S+))? -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
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


@pytest.mark.parametrize("page", [name for name in NAMES if any(one.mark in ("run", "console") for one in blocks(name))])
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
