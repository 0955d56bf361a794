"""Memory files that come over a Unix socket, mapped and read whole: ``python -m stoker.bench.floors.handover PATH``.

The reading is that of the application's handler: a search for a byte that is not there.
"""

from __future__ import annotations

import mmap
import os
import socket
import sys


def main() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(sys.argv[1])
        listening.listen()
        sys.stdin.readline()
        print("ready", flush=True)
        with listening.accept()[0] as sock:
            while True:
                _, fds, _, _ = socket.recv_fds(sock, 1, 1)
                if not fds:
                    return
                with mmap.mmap(fds[0], os.fstat(fds[0]).st_size) as memory:
                    memory.find(b"\x01")
                    sock.send(b"x")
                os.close(fds[0])


if __name__ == "__main__":
    main()
