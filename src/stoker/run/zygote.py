"""The zygote: loads the application once, then does nothing but fork and reap.

    router ══ control channel ══► zygote ── fork ──► consumer ══ its own channel ══► router
      Fork + 3 descriptors          │                  (data never passes through here)
      Kill, Leave                   └─ reap ──► Died(status, peak memory, cpu)

Rules, each of which keeps a fork safe (part F of the reliability notes; each has a test):

* one thread, asked of the kernel before every fork; with two it refuses and names them;
* no event loop, no epoll, no store, no sockets but the control channel;
* garbage collection is off and everything loaded is frozen, so that a collection in a child copies next to no pages;
* the child's first acts: its own process group, death with its parent, default signals, and every descriptor closed
  but its own four;
* the zygote is a subreaper, and each child too: whatever a job starts stays below the job while it lives, and falls to
  the zygote when it is gone, where a process that the zygote did not make has no business and is killed;
* signals go to children that are not reaped yet, so a number used again never hits a stranger;
* it ends when the control channel does, and takes all children with it: no router, nobody to take results.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import setproctitle

from stoker.model.errors import AppError
from stoker.model.hook import Program
from stoker.model.pool import RESIDENT
from stoker.run import consumer, joblog, process
from stoker.run.executor import ENDS_A_PROCESS, Run, execute, outcome_of
from stoker.run.line import NoAnswers
from stoker.run.preload import Application
from stoker.run.rehearsal import rehearse
from stoker.wire.channel import Channel
from stoker.wire.frames import Announce, Assign, Born, Died, Fork, Kill, Leave, Refused, Unborn

DESCRIPTORS = 3
PAGES = 1
"""Descriptors more for a process that stays: its page of shared memory."""
REHEARSALS = 32


class Plan(msgspec.Struct, frozen=True):
    """What the router tells a zygote at birth."""

    targets: tuple[str, ...]
    root: str
    prefix: str
    level: str
    result_max: int
    residents: bool = False
    """Whether a file asks for workers that stay, whatever the code says."""
    watch: bool = True
    """Whether changed source is seen by the next job."""
    hooks: tuple[Program, ...] = ()
    """Programs that the settings name as hooks."""
    crons: tuple[str, tuple[str, ...]] | None = None
    """Where there are schedule files: the name of this node, and the roles there are."""
    alerts: bool = False
    """Whether schedules are watched."""


class ControlLine(NoAnswers):
    """The line of an inline run: frames go back over the control channel."""

    def __init__(self, control: Channel) -> None:
        self._control = control

    def send(self, frame: Any) -> None:
        self._control.send(frame)


class Zygote:
    """One per router. ``run`` is its whole life."""

    def __init__(self, control: Channel, plan: Plan, application: Application) -> None:
        self._control = control
        self._plan = plan
        self._application = application
        self._children: dict[int, int] = {}
        self._workers: dict[int, int] = {}
        self._leaving = False
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> None:
        """Announce the commands, then serve until told to leave or left alone."""
        announced = Announce(
            tuple(command.spec for command in self._application.commands.values()),
            self._application.seconds,
            len(sys.modules),
            self._application.pools(),
        )
        with contextlib.suppress(OSError):  # a router that died meanwhile is found gone below
            self._control.send(announced)
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not (self._leaving and not self._children):
            poll.poll()
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
            for frame in self._control.waiting():
                self._obey(frame)
            self._reap()
            if self._control.closed:
                self._end_all()
                return

    def _obey(self, frame: Any) -> None:
        match frame:
            case Fork():
                self._fork(frame)
            case Kill():
                pid = self._workers.get(frame.worker)
                if pid is not None and frame.tree:
                    process.signal_tree(pid, frame.signal)
                elif pid is not None:
                    process.send(pid, frame.signal)
            case Assign():
                self._run_inline(frame)
            case Leave():
                self._leaving = True

    def _fork(self, order: Fork) -> None:
        fds = self._control.take_fds(DESCRIPTORS + (0 if order.isolation == "fork" else PAGES))
        try:
            self.check_threads()
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._child(order, fds, parent)
        except (OSError, AppError) as error:
            self._say(Unborn(order.worker, f"cannot fork: {error}"))
            return
        finally:
            for fd in fds:
                os.close(fd)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self._children[pid] = order.worker
        self._workers[order.worker] = pid
        self._say(Born(order.worker, pid))

    def _child(self, order: Fork, fds: list[int], parent: int) -> NoReturn:
        """What the forked process does; leaves only by ``os._exit``, whatever happens."""
        status = 1
        try:
            os.setpgid(0, 0)
            process.reset_signals()
            if order.isolation == "fork":
                self._prepare(fds, parent)
                consumer.main(self._application, self._plan.prefix, self._plan.result_max)
            else:
                from stoker.run import page, resident

                shared = page.Page(fds[DESCRIPTORS])
                self._prepare(fds[:DESCRIPTORS], parent)
                resident.main(self._application, self._plan.prefix, self._plan.result_max, order, shared)
            status = 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
        finally:
            os._exit(status)

    def _prepare(self, fds: list[int], parent: int) -> None:
        """Nothing of the parent's stays open but what the child was given."""
        process.take_descriptors(self._null, *fds)
        process.die_with_parent(parent)
        gc.enable()

    def check_threads(self) -> None:
        if process.count_threads() != 1:
            names = ", ".join(process.thread_names())
            raise AppError(
                f"the zygote has more than one thread ({names}); importing the application started one, "
                "and a fork would copy its locks. Start it in the handler, or at first use"
            )

    def _run_inline(self, assign: Assign) -> None:
        run = Run(assign, ControlLine(self._control), self._plan.result_max)
        try:
            execute(run, self._application.current)
        except ENDS_A_PROCESS as error:
            run.outcome = outcome_of(error, run)
        consumer.flush()
        self._say(run.ended)

    def _say(self, frame: Any) -> None:
        """To the router; that it is gone is found when its channel is read next, and then all children are ended."""
        with contextlib.suppress(OSError):
            self._control.send(frame)

    def _reap(self) -> None:
        """Collect whoever ended; one SIGCHLD may stand for many."""
        reaped = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            worker = self._children.pop(pid, None)
            if worker is None:
                continue
            reaped = True
            del self._workers[worker]
            self._say(Died(worker, pid, status, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime))
        if reaped:
            process.kill_strays(self._children)

    def _end_all(self) -> None:
        for pid in list(self._children):
            process.signal_tree(pid, signal.SIGKILL)
        while self._children:
            self._reap()
            select.select([self._wake], [], [], 0.05)


def warm_up(application: Application, plan: Plan) -> None:
    """Import what children of this application will need, so that they import nothing; and nothing else, because each
    megabyte here makes every fork slower (measured: about 0.06 ms).

    Then rehearse a job's way: what Python prepares at first use (specialised bytecode, type and method caches) is
    prepared here once, instead of in every child.
    """
    commands = application.commands.values()
    stay = any(command.spec.is_async or command.spec.isolation in RESIDENT for command in commands)
    if stay or plan.residents or any(pool.most for pool in application.pools()):
        importlib.import_module("stoker.run.resident")
    if any(command.spec.script for command in commands):
        importlib.import_module("stoker.run.script")
    joblog.install(plan.level)
    rehearse(REHEARSALS, plan.result_max)


def main(control: Channel, plan: Plan) -> int:
    """Load the application and be its zygote; the exit code."""
    setproctitle.setproctitle(f"{plan.prefix}-zygote")
    gc.disable()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    process.become_subreaper()
    router = os.getppid()
    process.die_with_parent(router)  # while it imports it would not see its channel close
    application = Application(
        plan.targets, Path(plan.root), watch=plan.watch, hooks=plan.hooks, crons=plan.crons, alerts=plan.alerts
    )
    zygote = Zygote(control, plan, application)
    try:
        application.load()
        zygote.check_threads()
    except AppError as error:
        control.send(Refused(error.message))
        return 4
    process.die_with_parent(router, 0)
    warm_up(application, plan)
    consumer.flush()
    gc.collect()
    gc.freeze()
    zygote.run()
    return 0
