"""How long after the model has said its first word a browser's connection has it, and how long before that it begins.

    python -m examples.chat.first_word http://127.0.0.1:8000 20

The daemon and the application run on this computer, started in this folder.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any, NamedTuple

import httpx

from examples.chat.logins import Logins


class Round(NamedTuple):
    """Milliseconds."""

    start: float
    """From the request until the job runs."""
    model: float
    """From there to the model's first word."""
    way: float
    """From the first word to this client."""


def main(url: str, rounds: int) -> None:
    password = dict(line.split() for line in Logins().file.read_text().splitlines())["ann"]
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=120, trust_env=False) as http:
        http.post("/login", data={"user": "ann", "password": password})
        found = [one for one in (measure(http) for _ in range(rounds)) if one]
    print(f"{len(found)} of {rounds} answers")
    if found:
        for name, values in zip(Round._fields, zip(*found, strict=True), strict=True):
            ordered = sorted(values)
            tail = ordered[max(0, round(0.95 * len(ordered)) - 1)]
            print(f"{name:6} median {statistics.median(ordered):8.1f} ms   p95 {tail:8.1f} ms")


def measure(http: httpx.Client) -> Round | None:
    """One answer; None when its first word was there before we listened."""
    asked = time.time()
    question = {"question": "Why is the sky blue?", "documents": False}
    id = http.post("/stoker/jobs", json={"command": "chat.llm_chat", "input": question}).raise_for_status().json()["id"]
    received = 0.0
    with http.stream("GET", f"/stoker/jobs/{id}/stream") as stream:
        listening = time.time()
        for line in stream.iter_lines():
            if line == "event: chunk" and not received:
                received = time.time()
            if line == "event: end":
                break
    answer: dict[str, Any] = http.get(f"/stoker/jobs/{id}").json()["output"]
    begun, first = answer["begun_at"], answer["first_word_at"]
    if listening > first:
        return None
    return Round(1000 * (begun - asked), 1000 * (first - begun), 1000 * (received - first))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20)
