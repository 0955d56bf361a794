"""A certificate for a server on 127.0.0.1, signed by itself and valid for two days."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.needs import need_tools


class Certificate(NamedTuple):
    cert: Path
    """Also what a client names as ``sslrootcert``."""
    key: Path


def certificate(folder: Path) -> Certificate:
    """Make one in ``folder``."""
    need_tools("openssl", hint="apt-get install openssl")
    made = Certificate(folder / "server.crt", folder / "server.key")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *subject, "-keyout", str(made.key), "-out", str(made.cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    made.key.chmod(0o600)
    return made
