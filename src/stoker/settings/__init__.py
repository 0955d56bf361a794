"""What can be set, and where it is read from."""

from stoker.settings.about import ABOUT, FIXED, SECRETS
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
from stoker.settings.reading import altered, as_environ, find_root, flat, is_loopback, load
from stoker.settings.shown import Setting, listed, origin

__all__ = [
    "ABOUT", "FILE", "FIXED", "FOLDER", "KINDS", "POSTGRES", "PRODUCTS", "SECRETS", "SECRET_LEAST", "SOCKET_PATH_MAX",
    "SQLITE", "WEB_LISTEN", "Current", "Schedules", "Setting", "Settings", "Web", "altered", "as_environ",
    "find_root", "flat", "is_loopback", "listed", "load", "origin", "value", "variable", "with_values",
]  # fmt: skip
