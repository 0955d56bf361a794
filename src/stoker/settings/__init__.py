"""What can be set, and where it is read from."""

from stoker.settings.about import ABOUT, FIXED
from stoker.settings.current import Current
from stoker.settings.fields import (
    FILE,
    FOLDER,
    KINDS,
    POSTGRES,
    PRODUCTS,
    SECRET_LEAST,
    SOCKET_PATH_MAX,
    SQLITE,
    WEB_LISTEN,
    Schedules,
    Settings,
    Web,
    value,
    variable,
    with_values,
)
from stoker.settings.reading import as_environ, find_root, flat, is_loopback, load

__all__ = [
    "ABOUT", "FILE", "FIXED", "FOLDER", "KINDS", "POSTGRES", "PRODUCTS", "SECRET_LEAST", "SOCKET_PATH_MAX", "SQLITE",
    "WEB_LISTEN", "Current", "Schedules", "Settings", "Web", "as_environ", "find_root", "flat", "is_loopback", "load",
    "value", "variable", "with_values",
]  # fmt: skip
