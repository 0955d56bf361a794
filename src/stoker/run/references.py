"""References to secrets, resolved in the process that needs them and nowhere else.

``${env:NAME}`` is a variable of the daemon, ``${file:/path}`` the text of a file, ``${credential:NAME}`` a file in the
folder that systemd names in ``CREDENTIALS_DIRECTORY``. A message names the reference, never what it stands for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

FILE_MAX = 64 << 10
_REFERENCE = re.compile(r"\$\{(?P<kind>[a-z]+):(?P<name>[^}]{1,1000})\}")


class Unresolved(Exception):
    """A reference leads nowhere."""


def resolve(values: Mapping[str, str]) -> dict[str, str]:
    """The values with every reference replaced. Raises :class:`Unresolved`."""
    return {name: _REFERENCE.sub(_value, value) for name, value in values.items()}


def _value(found: re.Match[str]) -> str:
    kind, name = found["kind"], found["name"]
    match kind:
        case "env":
            if name not in os.environ:
                raise Unresolved(f"{found[0]}: the daemon has no such variable")
            return os.environ[name]
        case "file":
            return _file(Path(name), found[0])
        case "credential":
            folder = os.environ.get("CREDENTIALS_DIRECTORY")
            if not folder or "/" in name or name in (".", ".."):
                raise Unresolved(f"{found[0]}: there is no such credential of the service manager")
            return _file(Path(folder) / name, found[0])
    raise Unresolved(f"{found[0]}: env, file and credential are known")


def _file(path: Path, shown: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise Unresolved(f"{shown}: cannot be read: {error.strerror}") from None
    if len(data) > FILE_MAX:
        raise Unresolved(f"{shown}: has more than {FILE_MAX >> 10} KB")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Unresolved(f"{shown}: is not UTF-8 text") from None
