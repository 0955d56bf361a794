"""What comes out of a pipe as ``multiprocessing`` sends it: ``python -m stoker.bench.floors.pickled FD``. Each piece is
answered by a line with its size."""

from __future__ import annotations

import contextlib
import sys
from multiprocessing.connection import Connection


def main() -> None:
    pipe = Connection(int(sys.argv[1]), writable=False)
    with contextlib.suppress(EOFError):
        while True:
            print(len(pipe.recv()), flush=True)


if __name__ == "__main__":
    main()
