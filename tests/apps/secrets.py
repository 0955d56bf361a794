"""A command that is given secrets, and does everything by which they could get out."""

from __future__ import annotations

import logging
import os
from typing import Any

from stoker import Context, Product

vault = Product("vault")


@vault.command(secret=("password", "token"))
def connect(host: str, password: str, ctx: Context, token: str = "", how: str = "well") -> dict[str, Any]:
    with open("/proc/self/cmdline", "rb") as file:
        argv = file.read().decode(errors="replace")
    with open("/proc/self/environ", "rb") as file:
        environ = file.read().decode(errors="replace")
    ctx.progress(50, f"connecting to {host}")
    logging.getLogger("driver").debug("connecting to %s", host)
    if how == "refuses":
        raise ConnectionError(f"{host} refused")
    if how == "crashes":
        os.abort()
    leaks = [name for name in ("argv", "environ") if password in {"argv": argv, "environ": environ}[name]]
    return {"host": host, "leaks": leaks, "secrets": [name for name in os.environ if "TOKEN" in name]}
