"""What people see of the bridge itself: short pages of words, for a browser that opens an address of ours."""

from __future__ import annotations

import html
from collections.abc import Mapping

from starlette.responses import HTMLResponse


def wanted(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a person looks, in a browser, and not a program."""
    return method == "GET" and "text/html" in headers.get("accept", "").lower()


def page(title: str, text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """A page that says this."""
    body = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><p>{html.escape(text)}"
    )
    return HTMLResponse(body, status, {"Cache-Control": "no-store", "Vary": "Accept", **(headers or {})})
