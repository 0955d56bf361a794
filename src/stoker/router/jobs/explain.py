"""Why does my job not run? One sentence for any job."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.model.command import CommandSpec
from stoker.model.job import Job, Waits
from stoker.model.node import Node
from stoker.model.product import unknown
from stoker.model.quantities import show_seconds
from stoker.router.jobs.claimer import Claimer
from stoker.router.pools.lanes import FORK, SHARED
from stoker.router.pools.pool import Pool
from stoker.store.base import Store

SHOWN = 3
"""Jobs named at most when many hold the slots or the key."""


async def why(job: Job, store: Store, pool: Pool, claimer: Claimer) -> str | None:
    """What a new job waits for, and what is the matter with the worker of one that runs; else None."""
    if job.state == "running":
        return pool.silence(job.id)
    if job.state != "new":
        return None
    if job.waits is Waits.TIME:
        ago = f" after attempt {job.attempt} ended with: {job.fault}" if job.fault and job.attempt else ""
        return f"waits for its time, in {show_seconds(max(0.0, job.run_at - store.now()))}{ago}"
    if job.waits is Waits.KEY:
        assert job.key is not None
        held = [id for id in await store.holders(job.key) if id != job.id]
        more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
        return f"waits for its concurrency key {job.key!r}, held by {', '.join(held[:SHOWN])}{more}"
    return await _slot(job, store, pool, claimer)


async def _slot(job: Job, store: Store, pool: Pool, claimer: Claimer) -> str:
    spec = pool.commands.get(job.command)
    if claimer.stopped:
        return "the daemon is stopping; it runs when one starts again"
    if claimer.is_paused(job.command):
        names = claimer.paused & {"*", job.command, job.product}
        return f"paused: {', '.join(sorted(names))}; `stoker resume {min(names)}` lets it run"
    if spec is not None and (missing := claimer.missing(spec)):
        return await _labels(missing, spec, store)
    if spec is not None and claimer.roles is not None and not claimer.holds(spec.role):
        return await claimer.roles.whereabouts(spec.role)
    if claimer.cordoned and (spec is not None or not store.shared):
        return await _cordoned(claimer.node, spec, store)
    if pool.fork_refused is not None:
        return f"no process can be made: {pool.fork_refused}"
    if not pool.ready:
        return "the application is not loaded; see the daemon's log"
    if spec is None and store.shared:
        return f"no product of this node registers {job.command}; it waits for a node that does"
    if spec is None:
        return f"{unknown(job.command, pool.commands)}; it fails at the next look"
    ahead = await store.ahead(job)
    line = f"; {ahead} of the same command go first" if ahead else ""
    return f"{_room(job.command, spec, pool)}{line}"


async def _labels(missing: frozenset[str], spec: CommandSpec, store: Store) -> str:
    """Who could run a command that this node may not."""
    wanted = ", ".join(sorted(missing))
    able = await _able(spec, store)
    if not able:
        return f"needs a node with the label {wanted}, and none is alive; start one with `stoker up --label {wanted}`"
    free = [node.name for node in able if not node.cordoned]
    if not free:
        (name, *_) = (node.name for node in able)
        return f"needs a node with the label {wanted}: {name} is cordoned; `stoker nodes uncordon {name}` lets it work"
    return f"needs a node with the label {wanted}: waits for {', '.join(free[:SHOWN])}"


async def _cordoned(name: str, spec: CommandSpec | None, store: Store) -> str:
    """Who could run it while this node does not."""
    free = [node.name for node in await _able(spec, store) if not node.cordoned] if spec and store.shared else []
    if free:
        return f"this node is cordoned; waits for {', '.join(free[:SHOWN])}"
    return f"this node is cordoned; `stoker nodes uncordon {name}` lets it work"


async def _able(spec: CommandSpec, store: Store) -> list[Node]:
    """The living nodes that have what a command asks for."""
    living = [node for node in await store.nodes() if node.alive and set(spec.labels) <= set(node.labels)]
    return sorted(living, key=lambda node: node.name)


def _room(command: str, spec: CommandSpec, pool: Pool) -> str:
    running = [attempt for attempt in pool.running if attempt.job.command == command]
    if spec.concurrency is not None and len(running) >= spec.concurrency:
        return f"{command} runs {len(running)} of {spec.concurrency} allowed at a time"
    shut = pool.why(spec)
    if shut is not None:
        return shut
    if pool.room(spec) <= 0:
        return slots(pool, spec)
    if spec.interval is not None:
        return f"rate limit: one start of {command} every {show_seconds(spec.interval)}"
    return "about to start"


def slots(pool: Pool, spec: CommandSpec) -> str:
    """How full it is, and who holds the slots longest."""
    lane = pool.lanes.of(spec)
    holders = [a for a in pool.running if pool.lanes.of(a.spec) == lane]
    longest = sorted(holders, key=lambda a: a.born)[:SHOWN]
    names = ", ".join(f"{a.job.command} {a.job.id}" for a in longest)
    isolation = spec.isolated(pool.default)
    kind = "slots" if lane == FORK else f"{isolation} slots" if lane in SHARED.values() else f"slots of the pool {lane}"
    silence = "".join(f"; {told}" for told in dict.fromkeys(pool.silence(a.job.id) for a in longest) if told)
    return f"all {len(holders)} {kind} are busy (longest: {names}){silence}"


def is_for_us(command: str, store: Store, pool: Pool, claimer: Claimer) -> bool:
    """Whether a ready job of this command would begin here if there were room; what is paused, disabled, or for another
    node to do waits with good reason."""
    spec = pool.commands.get(command)
    if spec is None:
        return not store.shared
    held_back = claimer.is_paused(command) or claimer.missing(spec) or not claimer.holds(spec.role)
    return pool.lanes.pools[spec.product].enabled and not held_back


def idle_reason(pool: Pool, claimer: Claimer, commands: Mapping[str, CommandSpec]) -> str | None:
    """Why nothing is claimed though jobs wait; None when work goes on."""
    if not pool.ready:
        return pool.fork_refused or "the application is not loaded"
    if claimer.stopped:
        return "the daemon is stopping"
    if claimer.cordoned:
        return "this node is cordoned"
    if commands and all(claimer.is_paused(name) for name in commands):
        return "everything is paused"
    return None
