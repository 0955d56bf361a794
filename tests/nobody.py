"""Being somebody else: a daemon, or a piece of a test, under another uid. Needs root; without it, says so."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
REPO = Path(__file__).resolve().parent.parent

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; run the tests as root")


def wrapper(uid: int = NOBODY) -> list[str]:
    """What to put before a command line to run it as ``uid``, with Python and this repository in reach.

    Both may lie in a folder that only root may enter, so they are mounted again under an open one, in a mount
    namespace that nobody else sees.
    """
    needed = [Path(sys.base_prefix), Path(sys.prefix), REPO]
    hidden = {first for path in needed if (first := _first_closed(path)) is not None}
    lines = ["set -e", "mount -t tmpfs none /mnt"]
    for number, path in enumerate(needed):
        lines += [f"mkdir /mnt/{number}", f"mount --bind {shlex.quote(str(path))} /mnt/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(path))}" for path in sorted(hidden)]
    for number, path in enumerate(needed):
        if any(path.is_relative_to(closed) for closed in hidden):
            quoted = shlex.quote(str(path))
            lines += [f"mkdir -p {quoted}", f"mount --bind /mnt/{number} {quoted}"]
    lines.append(f'exec setpriv --reuid {uid} --regid {uid} --clear-groups -- "$@"')
    return ["unshare", "--mount", "sh", "-c", "; ".join(lines), "sh"]


def _first_closed(path: Path) -> Path | None:
    """The first folder on the way that others may not enter."""
    for folder in [*reversed(path.parents), path]:
        if not stat.S_IMODE(folder.stat().st_mode) & stat.S_IXOTH:
            return folder
    return None


def as_other(action: Callable[[], Any], uid: int = NOBODY) -> Any:
    """Run ``action`` in a child under another uid; what it returns (as JSON), or the name of what it raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            try:
                value = action()
            except Exception as error:
                value = type(error).__name__
            os.write(write, json.dumps(value).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(answer)
