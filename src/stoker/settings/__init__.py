"""What can be set, and where it is read from."""

from stoker.settings.fields import (
    ABOUT,
    FILE,
    FIXED,
    FOLDER,
    KINDS,
    POSTGRES,
    PRODUCTS,
    SOCKET_PATH_MAX,
    SQLITE,
    Current,
    Settings,
    Web,
    value,
    variable,
)
from stoker.settings.reading import as_environ, find_root, flat, load

__all__ = [
    "ABOUT", "FILE", "FIXED", "FOLDER", "KINDS", "POSTGRES", "PRODUCTS", "SOCKET_PATH_MAX", "SQLITE", "Current",
    "Settings", "Web", "as_environ", "find_root", "flat", "load", "value", "variable",
]  # fmt: skip
