"""Work that nobody has to wait for, done by one thread beside the others: giving many pages back to the kernel.

One thread, and not one for each piece of work: to make a thread takes the lock of the whole address space, and the
kernel holds that lock while it unmaps, so whoever made the second thread would wait for what the first one does.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable

IDLE = 5.0
"""Seconds without work after which the thread ends: a program that does not dispatch any more has none."""

Work = Callable[[], None]


class Aside:
    """A thread that lives while there is work, and a little longer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._lives = False

    def do(self, work: Work) -> None:
        """Soon, in the order asked for; here and now where no thread can be made, because the program ends."""
        with self._lock:
            self._work.put(work)
            if not self._lives:
                # one that waits for work must not keep the program from its end
                thread = threading.Thread(target=self._serve, name="stoker-buffers", daemon=True)
                try:
                    thread.start()
                    self._lives = True
                except RuntimeError:
                    self._drain()

    def _serve(self) -> None:
        try:
            self._work_on()
        except BaseException:
            with self._lock:
                self._lives = False
            raise

    def _work_on(self) -> None:
        while True:
            try:
                work = self._work.get(timeout=IDLE)
            except queue.Empty:
                with self._lock:
                    if self._work.empty():
                        self._lives = False
                        return
                continue
            work()
            del work  # what it holds is not to stay until the next one comes

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._work.get_nowait()()


_aside = Aside()


def do(work: Work) -> None:
    """Have this process's own thread do it; see :meth:`Aside.do`."""
    _aside.do(work)


def _after_fork() -> None:
    global _aside
    _aside = Aside()  # the thread stayed behind, and perhaps the lock was held


os.register_at_fork(after_in_child=_after_fork)
