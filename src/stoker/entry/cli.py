"""The command line."""

from __future__ import annotations

import sys

from stoker import settings
from stoker.entry import up


def main() -> None:
    if sys.argv[1:2] == ["up"]:
        sys.exit(up.main(settings.load({"app": tuple(sys.argv[2:]) or None})))
