"""Duties of which each is one node's: what is done in a role, and what is told of it, is written into one folder for
all nodes, which the variable DUTIES names."""

from __future__ import annotations

import os
import time
from pathlib import Path

from stoker import Backoff, Context, Product, get_worker_name, is_primary_worker

duties = Product("duties")
QUICK = Backoff(base=0.05, cap=0.2)
BREATH = 0.02


def note(file: str, *words: object) -> None:
    """One line, whole, whoever else writes."""
    path = Path(os.environ["DUTIES"]) / file
    line = " ".join(map(str, words)).encode() + b"\n"
    there = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(there, line)
    finally:
        os.close(there)


@duties.on_role_acquired(backoff=QUICK)
def acquired(event: str, role: str, term: int, node: str) -> None:
    note("told", event, role, term, node)


@duties.on_role_lost(backoff=QUICK)
def lost(event: str, role: str, term: int, node: str) -> None:
    note("told", event, role, term, node)


@duties.on_node_dead(backoff=QUICK)
def dead(event: str, node: str, roles: list[str]) -> None:
    note("told", event, ",".join(sorted(roles)), 0, node)


@duties.on_role_acquired("mail", backoff=QUICK)
def mine(term: int, node: str, ctx: Context) -> None:
    """Runs where the role is held."""
    note("mine", term, ctx.role_term, node, os.environ["STOKER_ROOT"])


@duties.command(role="mail", retries=50, backoff=QUICK)
def serve(ctx: Context) -> int | None:
    """Act in the role until the gate is open: a line for every moment of it."""
    gate = Path(os.environ["DUTIES"]) / "gate"
    while not gate.exists():
        note("acts", time.monotonic(), ctx.role_term, os.environ["STOKER_ROOT"])
        time.sleep(BREATH)
    return ctx.role_term


@duties.command(role="mail")
def term(ctx: Context) -> int | None:
    return ctx.role_term


@duties.command(role="sync")
def sync(ctx: Context) -> int | None:
    return ctx.role_term


@duties.command
def who() -> tuple[str | None, bool, bool]:
    return get_worker_name(), is_primary_worker(), is_primary_worker("sync")
