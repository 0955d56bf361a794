"""RQ with its default worker, a fork for each job: ``python rq_drain.py REDIS_SOCKET FOLDER``, in the peers' venv.

It keeps one worker on the queue "1" and two on the queue "2". A line "QUEUE COUNT" is answered by the jobs a second
from the moment all are in the queue until all have ended; "version" by what is measured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import rq
from redis import Redis
from rq.registry import FailedJobRegistry, FinishedJobRegistry

QUEUES = ("1", "2", "2")


def drain(redis: Redis, name: str, count: int) -> float:
    queue = rq.Queue(name, connection=redis)
    finished = FinishedJobRegistry(queue=queue).key
    wanted = redis.zcard(finished) + count
    jobs = [rq.Queue.prepare_data("rq_app.noop") for _ in range(count)]
    queue.enqueue_many(jobs)
    begun = time.perf_counter()
    while redis.zcard(finished) < wanted:
        if redis.zcard(FailedJobRegistry(queue=queue).key):
            raise SystemExit("a job of RQ failed")
        time.sleep(0.005)
    return count / (time.perf_counter() - begun)


def main() -> None:
    address, folder = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    redis = Redis(unix_socket_path=address)
    worker = [sys.executable, "-m", "rq.cli", "worker", "--quiet", "--url", f"unix://{address}"]
    environ = {**os.environ, "PYTHONPATH": folder}
    workers = [subprocess.Popen([*worker, name], env=environ, stdout=subprocess.DEVNULL) for name in QUEUES]
    try:
        while len(rq.Worker.all(connection=redis)) < len(QUEUES):
            if any(one.poll() is not None for one in workers):
                raise SystemExit("a worker of RQ ended")
            time.sleep(0.05)
        for line in sys.stdin:
            if line.strip() == "version":
                info = redis.info("server")
                server = "valkey " + info["valkey_version"] if "valkey_version" in info else info["redis_version"]
                print(f"rq {rq.VERSION}, {server}", flush=True)
                continue
            name, count = line.split()
            print(drain(redis, name, int(count)), flush=True)
    finally:
        for one in workers:
            one.terminate()
        for one in workers:
            one.wait()


if __name__ == "__main__":
    main()
