"""D25: what a forked child has of its parent, and what it must not have (part F of the reliability notes)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import Make
from tests.daemon import Daemon, alive, scaled, until


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    secrets = {"STOKER_TOKEN": "t" * 40, "NOTIFY_SOCKET": "/nonexistent"}
    with Daemon("hygiene", consumers_max=4, environ=secrets) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def seen(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = daemon.client.call("hygiene.looks")
    return found


def descriptors(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed between the listing and the look
            found.append(os.readlink(path))
    return found


def test_a_child_has_exactly_its_four_descriptors(seen: dict[str, Any]) -> None:
    """Nothing on standard input, two pipes, its channel, which no program that it starts inherits."""
    assert seen["fds"] == {"0": "/dev/null", "1": "pipe", "2": "pipe", "3": "socket"}
    assert seen["cloexec"]


def test_signals_are_as_in_a_fresh_process(seen: dict[str, Any]) -> None:
    """Nothing blocked, no wake-up descriptor, no handler but the one by which it is told to stop, nothing ignored but
    what Python itself ignores; and SIGTERM has its default."""
    assert (seen["blocked"], seen["wakeup"]) == (0, -1)
    assert set(seen["ignored"]) <= {signal.SIGPIPE, signal.SIGXFSZ}
    assert set(seen["caught"]) <= {signal.SIGUSR1, signal.SIGINT}


def test_a_child_is_on_its_own(seen: dict[str, Any]) -> None:
    """A process group of its own, one thread, killed with its parent, and its own orphans come to it."""
    pid, group = seen["group"]
    assert pid == group
    assert seen["threads"] == 1
    assert (seen["pdeathsig"], seen["subreaper"]) == (signal.SIGKILL, 1)


def test_no_store_and_no_router_in_a_child(seen: dict[str, Any]) -> None:
    """The zygote never imports the store or the loop, so no child can have their connections and locks."""
    assert seen["forbidden"] == []


def test_what_was_loaded_is_frozen(daemon: Daemon, seen: dict[str, Any]) -> None:
    """A collection in the child looks at nothing of the parent's, so it copies next to no pages of it."""
    assert seen["frozen"] > 200_000
    assert seen["collecting"]
    memory = daemon.client.call("hygiene.private_memory")
    print(f"D25: private memory of a child {memory['before']} kB, after a full collection {memory['after']} kB")
    assert memory["after"] - memory["before"] < 2048


def test_a_child_knows_the_way_back_and_no_secret(seen: dict[str, Any]) -> None:
    """O36, D36: of the daemon's own variables only those that lead back to it."""
    assert "STOKER_TOKEN" not in seen["environ"]
    assert not {"STOKER_RESOLVED", "STOKER_PLAN", "NOTIFY_SOCKET"} & set(seen["environ"])
    assert {"STOKER_ROOT", "STOKER_SOCKET"} <= set(seen["environ"])


def test_the_zygote_is_bare(daemon: Daemon) -> None:
    """One thread, no epoll, no database, and one socket only: its channel."""
    assert len(os.listdir(f"/proc/{daemon.zygote}/task")) == 1
    held = descriptors(daemon.zygote)
    assert not [name for name in held if "eventpoll" in name or "stoker.db" in name]
    # that of a child it has through the fork
    until(lambda: len([name for name in descriptors(daemon.zygote) if name.startswith("socket:")]) == 1)


def test_random_numbers_differ(daemon: Daemon) -> None:
    """A copied generator would give every job the same numbers (numpy#9650 in kind)."""
    rolled = [tuple(daemon.client.call("hygiene.rolls")) for _ in range(20)]
    assert len({one[0] for one in rolled}) == len({one[1] for one in rolled}) == 20


def test_a_signal_to_a_child_is_the_childs(make: Make) -> None:
    """asyncio's wake-up descriptor, inherited, would tell the parent (cpython#94454): nobody else hears of it."""
    daemon = make("story")
    before = daemon.router, daemon.zygote
    jobs = [daemon.client.submit("story.wait", {"gate": "signal"}) for _ in range(5)]
    for pid in daemon.wait_here("signal", 5):
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            if alive(pid):
                os.kill(pid, number)
    assert {job.wait(20).status for job in jobs} == {"failed"}
    assert (daemon.router, daemon.zygote) == before
    assert "stopping" not in daemon.log()
    assert "reloaded" not in daemon.log()
    daemon.open_gate("after")
    daemon.client.call("story.wait", gate="after")


def test_many_forks_leave_nothing(daemon: Daemon) -> None:
    """No child hangs on a lock, and neither router nor zygote keeps a descriptor of those that went."""
    daemon.client.call("hygiene.probes")
    until(lambda: len(daemon.pids("spare")) == daemon.settings.spares)
    router, zygote = len(descriptors(daemon.router)), len(descriptors(daemon.zygote))
    jobs = daemon.client.submit_many("hygiene.probes", [{}] * scaled(200, 50))
    assert {job.result(60) for job in jobs} == {"free"}
    until(lambda: len(descriptors(daemon.router)) <= router, what="no descriptor more than before in the router")
    until(lambda: len(descriptors(daemon.zygote)) <= zygote, what="no descriptor more than before in the zygote")
    zombies = [one for one in os.listdir("/proc") if one.isdigit() and _zombie_of(one, daemon.zygote)]
    assert zombies == []


def _zombie_of(pid: str, parent: int) -> bool:
    try:
        state, above = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return state == "Z" and int(above) == parent


def test_a_thread_at_import_is_refused_by_name(make: Make) -> None:
    """F: forking with a second thread copies its locks; such an application is not run, and told which thread it is."""
    daemon = make("threaded", begin=False)
    daemon.file("threaded.py").write_text(
        "import threading, time\nfrom stoker import Product\nbad = Product('bad')\n"
        "threading.Thread(target=time.sleep, args=(60,), name='metrics-pusher', daemon=True).start()\n"
        "@bad.command\ndef go() -> None: ...\n"
    )
    daemon.start(wait=False)
    assert daemon.exit_code() == 4
    assert "more than one thread" in daemon.log()
    assert "metrics-pusher" in daemon.log()
    assert "Traceback" not in daemon.log()


def test_a_thread_later_stops_the_forking_until_a_reload(make: Make) -> None:
    """F: started by a job inside the zygote it is found before the next fork; jobs wait with the reason, unharmed."""
    daemon = make("hygiene", look=0.2)
    daemon.client.call("hygiene.starts_a_thread", name="late-one")
    jobs = [daemon.client.submit("hygiene.rolls") for _ in range(5)]
    why = until(lambda: [str(job.record().why) for job in jobs if "no process can be made" in str(job.record().why)])
    assert "late-one" in why[0]
    daemon.client.ask("reload")
    for job in jobs:
        assert job.wait(20).attempt == 1
