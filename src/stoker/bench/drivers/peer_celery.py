"""Celery on Redis: two workers with threads, acknowledged early, nothing kept."""

from __future__ import annotations

import os
import sys

import counting
from celery import Celery as App

address, _, timeout = os.environ["BENCH_ADDRESS"].partition("?socket_timeout=")
app = App("bench", broker=address.replace("unix:", "redis+socket:"))
app.conf.update(
    broker_transport_options={"socket_timeout": float(timeout)},
    broker_connection_retry_on_startup=True,
    task_ignore_result=True, task_acks_late=False, worker_prefetch_multiplier=100,
    worker_send_task_events=False, task_send_sent_event=False,
)  # fmt: skip


@app.task(name="noop")
def noop() -> None:
    counting.done()


@app.task(name="clock")
def clock() -> None:
    counting.begun()


class Celery:
    NAMES = ("celery", "redis")
    HOW = "2 workers with threads, early ack, results ignored"
    PROCESSES = 2

    def workers(self) -> list[list[str]]:
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
        argv = [sys.executable, "-m", "celery", "--quiet", "--app", "peer_celery", "worker", "--pool", "threads"]
        return [[*argv, *quiet, "--concurrency", "2", "--hostname", f"{name}@bench"] for name in ("one", "two")]

    def fill(self, count: int) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                noop.apply_async(producer=producer)

    def send(self) -> None:
        clock.apply_async()

    def free(self) -> bool:
        return True


PEER = Celery()
