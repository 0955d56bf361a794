"""The files of the browser side, out of the package."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from stoker.web.refusal import Refusal

KINDS = {
    "js": "text/javascript; charset=utf-8",
    "ts": "text/plain; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "svg": "image/svg+xml",
}


class Static:
    """The files of one folder, each read once."""

    def __init__(self, folder: str) -> None:
        self._folder: Traversable = files("stoker.web").joinpath("static", folder)
        self._known: dict[str, tuple[bytes, str]] = {}

    async def serve(self, request: Request) -> Response:
        """A browser asks each time whether its copy is still good, so that an upgrade is seen at once."""
        name = request.path_params["name"]
        kind = KINDS.get(name.rpartition(".")[2])
        found = self._read(name) if kind is not None else None
        if found is None:
            raise Refusal(404, "not_found", f"there is no file {name[:100]!r}")
        data, tag = found
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=kind)

    def _read(self, name: str) -> tuple[bytes, str] | None:
        if name not in self._known:
            if not name.replace(".", "").replace("-", "").replace("_", "").isalnum():
                return None
            try:
                data = self._folder.joinpath(name).read_bytes()
            except OSError:
                return None
            self._known[name] = data, f'"{hashlib.sha256(data).hexdigest()[:20]}"'
        return self._known[name]
