"""Fork, exit, wait, again and again, with the modules of a zygote and of the application loaded, and frozen.

``python -m stoker.bench.floors.forks FOLDER APP``; a line with a count is answered by the forks a second.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path

from stoker.run import zygote
from stoker.run.preload import Application


def rate(count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return count / (time.perf_counter() - begun)


def main() -> None:
    assert zygote
    gc.disable()
    folder, app = sys.argv[1:]
    Application((app,), Path(folder)).load()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(rate(int(line)), flush=True)


if __name__ == "__main__":
    main()
