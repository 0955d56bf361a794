"""What somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

LONGEST = 100
"""Characters of a wrong name that are looked at."""


def did_you_mean(word: str, known: Collection[str]) -> str:
    """To be put behind a sentence that says that there is no such name."""
    near = difflib.get_close_matches(word[:LONGEST], known, n=1)
    return f" (did you mean {near[0]}?)" if near else f"; known are {', '.join(sorted(known))}"
