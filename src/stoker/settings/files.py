"""The files that settings are read from: small, UTF-8, and files indeed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stoker.model.errors import SettingsError


def is_there(path: Path) -> bool:
    """Whether there is such a file. Raises :class:`SettingsError` for what has the name and is none: a folder that was
    mounted by mistake, a link to nothing, a pipe that would be read for ever."""
    try:
        kind = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise SettingsError(f"{path} is a link to {os.readlink(path)}, which is not there") from None
        return False
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "a pipe" if stat.S_ISFIFO(kind) else "something else"
        raise SettingsError(f"{path} is {what}, and a file is needed; take it away, or put a file in its place")
    return True


def text(path: Path) -> str:
    """What stands in it. Raises :class:`SettingsError`."""
    try:
        if is_there(path):
            return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    raise SettingsError(f"cannot read {path}: No such file or directory")
