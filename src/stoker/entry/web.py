"""Main of the bridge: ``python -m stoker.entry.web FD…``, started by ``stoker up`` with the sockets of
``web.listen``, and then of ``web.native``."""

from __future__ import annotations

import getpass
import os
import secrets
import signal
import socket
import sys

import setproctitle
import structlog
import uvloop

from stoker.entry import exits, logs
from stoker.entry.up import resolved
from stoker.model.errors import StokerError
from stoker.run import process
from stoker.settings import Settings
from stoker.web import serve, tokens
from stoker.web.identity import Identity

log = structlog.get_logger(role="web")

GREET = "STOKER_WEB_GREET"
"""Set for the first bridge of a daemon: it says where it is."""


def main() -> int:
    settings = resolved(os.environ)
    greet = os.environ.pop(GREET, None) is not None
    given = [socket.socket(fileno=int(fd)) for fd in sys.argv[1:]]
    plain = len(settings.web.listen)
    sockets, streams = given[:plain], given[plain:]
    logs.configure(settings)
    setproctitle.setproctitle(f"{settings.prefix}-web")
    process.die_with_parent(os.getppid(), signal.SIGTERM)
    process.raise_descriptor_limit()  # each browser needs one
    try:
        app = serve.application(settings, sockets)
        uvloop.run(serve.serve(app, sockets, streams, lambda: _ready(settings, sockets, streams, greet)))
    except StokerError as error:
        log.error(error.message)
        return exits.code(error)
    return exits.OK


def _ready(settings: Settings, sockets: list[socket.socket], streams: list[socket.socket], greet: bool) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # see `stoker up`: what came before is heard now
    places = [_shown(sock) for sock in sockets]
    log.info("browsers are served", at=places)
    if streams:
        log.info("streams are served", at=[_shown(sock) for sock in streams])
    if greet and not settings.web.auth:
        # whoever reads this is whoever started us
        user = Identity(getpass.getuser(), secrets.token_hex(8), level="admin")
        ticket = tokens.signer(settings).sign(user, tokens.LOGIN_LIFE, "login")
        for place in places:
            if place.startswith("http"):
                print(f"stoker: open {place}/login?ticket={ticket} (good once, within 15 minutes)", file=sys.stderr)


def _shown(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return str(name)
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"http://{host}:{name[1]}"


if __name__ == "__main__":
    sys.exit(main())
