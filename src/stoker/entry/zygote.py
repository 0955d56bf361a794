"""Main of the zygote: ``python -m stoker.entry.zygote FD``, started by the router and by nobody else."""

from __future__ import annotations

import os
import socket
import sys

import msgspec

from stoker.run import process, zygote
from stoker.wire.channel import Channel
from stoker.wire.frames import TO_ZYGOTE


def main() -> int:
    # what is beyond 1024 breaks select(), and whatever closes all the descriptors that there may be
    process.limit_descriptors(int(os.environ.pop(process.DESCRIPTORS)))
    control = Channel(socket.socket(fileno=int(sys.argv[1])), TO_ZYGOTE, descriptors=True)
    plan = msgspec.json.decode(os.environ.pop("STOKER_PLAN"), type=zygote.Plan)
    return zygote.main(control, plan)


if __name__ == "__main__":
    sys.exit(main())
