"""The kernel's side of running jobs: threads counted, descriptors closed, whole trees of processes ended.

Linux is the platform. Where a call does not exist (macOS, for development) the weaker thing is done, never nothing.
"""

from __future__ import annotations

# the calls themselves: what `signal` puts around them makes enums, which costs each child 250 µs of page faults
import _signal  # type: ignore[import-not-found]
import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CHANNEL_FD = 3
"""Where a child finds its channel; everything above is closed."""
HANDLED = tuple(map(int, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)))
"""Signals that a zygote treats otherwise than by default. SIGUSR1, which it ignores, its children ignore until they can
take it: a job that is to stop before its process is quite there stops by itself, once it is."""
ROUNDS_MAX = 20
"""How often a tree that grows while it is killed is walked again."""

_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)


def count_threads() -> int:
    """Threads of this process, by the kernel's count: also those Python knows nothing of."""
    if _LINUX:
        # a directory's links are its subfolders and two more: one system call, no list
        return os.stat("/proc/self/task").st_nlink - 2
    import psutil  # elsewhere only: a fork is slower for all that is loaded

    return int(psutil.Process().num_threads())


def thread_names() -> list[str]:
    """The threads of this process beside the main one: by their Python names, those of libraries by the kernel's."""
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    if not _LINUX:
        return [name for id, name in known.items() if id != threading.main_thread().native_id]
    others = [task for task in Path("/proc/self/task").iterdir() if int(task.name) != os.getpid()]
    return [known.get(int(task.name)) or (task / "comm").read_text().strip() for task in others]


def become_subreaper() -> None:
    """Orphans below this process become its children instead of init's, so that none is lost from sight."""
    if _LINUX:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Get a signal (0: none) when the parent dies; end at once if it already has. A backstop: the channel's end is the
    rule."""
    if _LINUX:
        _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def reset_signals() -> None:
    """Signals as a fresh process has them, all but SIGUSR1: nothing of the parent's handlers, wake-up descriptor or
    mask stays."""
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def on_signal(number: int, handler: Callable[[int, types.FrameType | None], None]) -> None:
    """Call ``handler`` when the signal comes."""
    _signal.signal(number, handler)


def signal_handler(number: int) -> object:
    """What :func:`on_signal`, or somebody after it, has put there."""
    found: object = _signal.getsignal(number)
    return found


def take_descriptors(null: int, channel: int, stdout: int, stderr: int) -> None:
    """Keep 0-2 and the channel; close every other descriptor the parent had."""
    os.dup2(null, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.dup2(channel, CHANNEL_FD, inheritable=False)
    os.closerange(CHANNEL_FD + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def channel() -> socket.socket:
    """The child's end of its channel. Family and kind are said, so that the kernel need not be asked for them."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=CHANNEL_FD)


def limit_memory(limit: int) -> None:
    """Let this process grow by ``limit`` bytes beyond what it has mapped now; what goes further raises MemoryError."""
    if not _LINUX:
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    ceiling = pages * resource.getpagesize() + limit
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or ceiling < hard:
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))


def raise_process_limit(wanted: int) -> int | None:
    """Raise the soft RLIMIT_NPROC to ``wanted`` where the hard limit lets; the soft limit if it stays lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    reach = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NPROC, (reach, hard))
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    return None if soft >= wanted else soft


DESCRIPTORS = "STOKER_DESCRIPTORS"
"""The variable by which a router tells its zygote the soft limit of descriptors that it was started with."""


def raise_descriptor_limit() -> int:
    """Let this process have as many descriptors as the hard limit lets; the soft limit that there was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def limit_descriptors(soft: int) -> None:
    """Set the soft limit again; the hard one stays."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def children(pid: int) -> list[int]:
    """The living and the unreaped children of a process."""
    if not _LINUX:
        import psutil

        with contextlib.suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children()]
        return []
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(word) for word in file.read().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Everything below a process, nearest first."""
    found: list[int] = []
    level = children(pid)
    while level:
        found += level
        level = [below for child in level for below in children(child)]
    return found


def send(pid: int, number: int, *, parent_in: Callable[[int], bool] | None = None) -> None:
    """Signal one process through a pidfd, so that a number used again never hits a stranger.

    ``parent_in`` is asked about the process's parent once the pidfd pins it; False means it is not the one we meant.
    """
    if not hasattr(os, "pidfd_open"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if parent_in is None or parent_in(_parent(pid)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


def signal_tree(pid: int, number: int) -> None:
    """Signal a process and all it started; ``pid`` must be an unreaped child of ours.

    SIGKILL goes from below upward, with the root stopped meanwhile and walked again until nothing new appears: the
    root adopts whatever loses its parent, so nothing slips out.
    """
    if number != signal.SIGKILL:
        for below in descendants(pid):
            send(below, number)
        send(pid, number)
        return
    send(pid, signal.SIGSTOP)
    for _ in range(ROUNDS_MAX):
        alive = [child for child in descendants(pid) if not _dead(child)]
        if not alive:
            break
        kill_all(alive, pid)
    send(pid, signal.SIGKILL)


def kill_all(pids: Iterable[int], root: int) -> None:
    """SIGKILL each, if its parent is still one of the tree."""
    tree = {root, *descendants(root)}
    for pid in pids:
        send(pid, signal.SIGKILL, parent_in=tree.__contains__)


def kill_strays(known: Iterable[int]) -> None:
    """End what jobs left behind: children of this process that it did not make itself, with all below them."""
    own = set(known)
    for pid in children(os.getpid()):
        if pid not in own and not _dead(pid):
            signal_tree(pid, signal.SIGKILL)


def clear_strays(known: Iterable[int]) -> bool:
    """Kill and collect what fell to this process because its own parent was killed; False when nothing is left.

    Call it again until then: whoever is killed may leave children of its own behind.
    """
    own = set(known)
    strays = [pid for pid in children(os.getpid()) if pid not in own]
    for pid in strays:
        if not _dead(pid):
            signal_tree(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return bool(strays)


def tree_rss(pid: int) -> int:
    """Resident bytes of a process and everything below it."""
    total = 0
    for member in (pid, *descendants(pid)):
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{member}/statm") as file:
            total += int(file.read().split()[1]) * resource.getpagesize()
    return total


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])
    return 0


def ending(code: int) -> str:
    """How a process ended, in words; ``code`` is negative for a signal."""
    if code >= 0:
        return f"exit {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = "; perhaps the machine ran out of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code} ({name}){hint}"


def is_stopped(pid: int) -> bool:
    """Whether somebody has stopped a process (SIGSTOP, a debugger)."""
    return _state(pid) in "Tt"


def _dead(pid: int) -> bool:
    return _state(pid) in "ZX"


def _state(pid: int) -> str:
    """One letter, as /proc has it; X for one that is not there."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
