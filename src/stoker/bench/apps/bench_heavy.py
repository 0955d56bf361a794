"""The same commands in an application of 150 MB: libraries as a web team has them, and many small objects."""

from __future__ import annotations

import contextlib
import importlib
import resource

from bench_app import bench

__all__ = ["bench"]
SIZE = 150 << 20
LIBRARIES = (
    "asyncio", "concurrent.futures", "csv", "decimal", "email.mime.multipart", "html.parser", "http.client",
    "http.server", "logging.config", "multiprocessing", "numpy", "pydantic", "rich.console", "statistics",
    "unittest.mock", "urllib.request", "wsgiref.simple_server", "xml.etree.ElementTree", "zipfile",
)  # fmt: skip

for name in LIBRARIES:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


BALLAST: list[dict[str, object]] = []
while resident() < SIZE:
    for number in range(len(BALLAST), len(BALLAST) + 1000):
        BALLAST.append({"id": number, "name": f"record {number}", "tags": [f"t{number % 97}", "all"], "at": number / 7})
