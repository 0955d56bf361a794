"""What a store guarantees. Two drivers keep these promises; one contract suite checks both.

Common to every method:

* it returns only after what it wrote is committed and will survive the loss of power (SQLite: WAL with FULL);
* it judges time by the store's own clock, :meth:`Store.now`; callers never bring a "now" of their own;
* writes about an attempt carry its fence and do nothing when the fence is no longer the job's newest;
* it raises a :class:`~stoker.model.errors.StoreError` for trouble of the store and a
  :class:`~stoker.model.errors.RequestError` for a request that is refused; either way nothing was written for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from stoker.model.event import Event, NewEvent
from stoker.model.job import Claimed, Job, Progress, State, Submission, Submitted
from stoker.model.node import Beat, Node
from stoker.model.settle import Ending
from stoker.store.audit import Audit
from stoker.store.messages import Messages
from stoker.store.proofs import Proofs
from stoker.store.roles import Roles
from stoker.store.schedules import Schedules
from stoker.store.stats import Stats


class Quota(msgspec.Struct, frozen=True):
    """How many jobs of one command may be claimed now.

    ``room`` is what this node has slots for. ``limit`` bounds the jobs of the command that run anywhere at one time,
    ``interval`` is the least number of seconds between two starts.
    """

    command: str
    room: int
    limit: int | None = None
    interval: float | None = None


class Settlement(msgspec.Struct, frozen=True):
    """The end of one attempt. ``key`` is the job's concurrency key, as it was claimed."""

    seq: int
    fence: int
    ending: Ending
    key: str | None


class Report(msgspec.Struct, frozen=True):
    """News of a running attempt. Nothing is stored when the fence is old."""

    seq: int
    fence: int
    events: tuple[NewEvent, ...] = ()
    progress: Progress | None = None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list. ``before`` is the ``seq`` of the last job of the page before: pages by key, newest first."""

    state: State | None = None
    command: str | None = None
    product: str | None = None
    user: str | None = None
    tag: str | None = None
    before: int | None = None
    limit: int = 10


class Counts(msgspec.Struct, frozen=True):
    """How many jobs are in each state; ``ready``, ``scheduled`` and ``held`` split the new ones; ended ones are those
    still kept. ``ready_since`` says of each command with ready jobs since when the first in line could have run."""

    new: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    ready: int = 0
    scheduled: int = 0
    held: int = 0
    ready_since: dict[str, float] = {}

    @property
    def oldest_ready(self) -> float | None:
        """Since when a job could have run, of whichever command."""
        return min(self.ready_since.values(), default=None)


class CommandStats(msgspec.Struct, frozen=True):
    """What the kept, ended jobs of a command say. ``seconds`` is the mean from creation to end of completed ones,
    ``run_seconds`` from start to end; ``unwell`` counts completed jobs whose output says ``success: false``."""

    command: str
    total: int
    completed: int
    failed: int
    cancelled: int
    unwell: int
    seconds: float | None
    run_seconds: float | None


class Held(msgspec.Struct, frozen=True):
    """An attempt that a node works on."""

    seq: int
    fence: int


class Cursor(msgspec.Struct, frozen=True):
    """A place in the events of a job: those with a ``seq`` greater than ``after`` are wanted, up to ``limit``; with 0
    only whether the job has ended."""

    job: str
    after: int = 0
    limit: int = 500


class News(msgspec.Struct, frozen=True):
    """What there is beyond a :class:`Cursor`. ``ended`` is the whole job once it has ended; it is never told before the
    last event is: while ``events`` are as many as the limit there may be more, and ``ended`` waits for those."""

    events: list[Event]
    ended: Job | None = None
    gone: bool = False
    """There is no such job any more."""


class Look(msgspec.Struct, frozen=True):
    """A store seen from outside: the version of its tables, the newest this code knows, and a few words."""

    version: int
    newest: int
    about: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A job and everything that is kept of it, on its way to another store."""

    job: Job
    round: int
    key_limit: int
    holds_unique: bool
    """Whether it is the holder of its unique key, until ``unique_until`` where that has a window."""
    unique_until: float | None
    events: list[Event]


class Wake(StrEnum):
    """Why a daemon should look into the store."""

    JOBS = "jobs"
    """Something may have become ready."""
    NEWS = "news"
    """A job said something, or ended."""
    ORDERS = "orders"
    """A running job is to be cancelled, something was paused or resumed, a node cordoned or freed."""
    MESSAGES = "messages"
    """Something was pushed."""


PATIENCE = 10.0
"""Seconds that whoever asks something waits for a server that does not answer."""
NODES_KEPT = 86400.0
"""Seconds that a silent node stays on the roster."""


class Store(Protocol):
    """Jobs and everything that is kept of them."""

    shared: bool
    """Whether several daemons may work on this store at one time."""
    stats: Stats
    """Figures over time."""
    messages: Messages
    """What was pushed to people."""
    proofs: Proofs
    """What was used up or taken back of that which says who somebody is."""
    audit: Audit
    """Who did what."""
    roles: Roles
    """Who holds which role."""
    schedules: Schedules
    """Schedules, and what became of their slots."""

    async def open(self, patience: float = PATIENCE) -> None:
        """Make ready: create or migrate the tables. Idempotent. A server that does not answer is tried for so many
        seconds (``math.inf``: for ever); one that refuses us is not."""

    async def close(self) -> None:
        """Write what is pending and let go. Idempotent; safe unopened."""

    def now(self) -> float:
        """The store's clock, seconds since the epoch, UTC."""

    def submit(
        self, submissions: Sequence[Submission], *, together: bool = False
    ) -> Awaitable[list[Submitted | Exception]]:
        """Store new jobs; each is taken or refused by itself, in order. ``together``: all or none, and the first
        refusal is raised.

        The same id again with the same command and input is the same job (``created`` False); with another it is
        :class:`IdConflict`. A taken unique key is answered as its ``on_duplicate`` says.
        """

    def claim(self, owner: str, lease: float, quotas: Sequence[Quota], total: int) -> Awaitable[list[Claimed]]:
        """Take up to ``total`` ready jobs for ``owner``, highest priority first, then in order of submission.

        A job is ready when it is new, due, and waits neither for its key nor for a paused command. Each claimed job's
        attempt and fence go up in the same transaction; no two claims ever return the same attempt. A job whose
        ``expires`` is past is not claimed; one that was claimed before has had its slot and expires no more.
        """

    def settle(self, settlements: Sequence[Settlement]) -> Awaitable[list[bool]]:
        """Write endings, all in one transaction. False where the fence was old or the job no longer running: nothing
        is written for those. An ending that frees a concurrency key makes the next job under it ready. A job that
        somebody asked to cancel is cancelled, whatever the ending says."""

    def report(self, reports: Sequence[Report]) -> Awaitable[list[bool]]:
        """Store events and progress of running attempts; False where the fence was old."""

    def renew(self, owner: str, lease: float, held: Sequence[Held]) -> Awaitable[list[bool]]:
        """Extend the leases of attempts that ``owner`` works on; False for each that is not its own any more, which it
        must end. What it does not name is not renewed: a claim whose answer was lost runs out by itself."""

    def abandoned(self, owner: str, limit: int = 500) -> Awaitable[list[Claimed]]:
        """Running jobs that nobody works on: their lease is over, or, where the store belongs to one daemon at a
        time, their owner is not ``owner``. Only reads; :meth:`settle` with the fence decides who mends it."""

    def promote(self) -> Awaitable[float | None]:
        """Make due jobs ready. The moment the next one is due, or None."""

    def expire(self) -> Awaitable[list[str]]:
        """Fail new jobs whose ``expires`` is past; their ids."""

    def orphan(self, known: Sequence[str]) -> Awaitable[list[str]]:
        """Fail ready jobs of commands that are not in ``known``; their ids."""

    def orders(self, owner: str) -> Awaitable[list[tuple[str, str]]]:
        """Running jobs of ``owner`` that somebody, anywhere, asked to cancel: id and reason."""

    def cancel(self, id: str, reason: str) -> Awaitable[Job]:
        """Cancel a new job at once; mark a running one (``cancel`` is set) for its owner to end. An ended job is left
        as it is. The job as it is afterwards. Raises :class:`UnknownJob`."""

    def retry(self, id: str) -> Awaitable[Job]:
        """Make an ended job new again, with its attempts counted from the start; it takes its unique key again. Raises
        :class:`UnknownJob`, :class:`WrongState` for a job that has not ended, and :class:`DuplicateJob` while another
        job has its key."""

    def get(self, id: str) -> Awaitable[Job]:
        """Raises :class:`UnknownJob`."""

    def jobs(self, filter: Filter) -> Awaitable[list[Job]]:
        """Newest first. Large inputs and outputs are included; ask for few."""

    def ahead(self, job: Job) -> Awaitable[int]:
        """How many ready jobs of the same command will be claimed before this one, counted up to 10,000."""

    def holders(self, key: str) -> Awaitable[list[str]]:
        """The ids of the jobs that take up a concurrency key, up to 100."""

    def events(self, id: str, after: int = 0, limit: int = 1000) -> Awaitable[list[Event]]:
        """Events of a job with a ``seq`` greater than ``after``, in order. Raises :class:`UnknownJob`."""

    def news(self, cursors: Sequence[Cursor]) -> Awaitable[list[News]]:
        """Look beyond many cursors at once; one answer for each.

        A cursor never skips an event: within a job the order of ``seq`` is the order in which events became visible,
        because whoever writes them holds the job's row until they are committed. Between jobs there is no such order.
        """

    def counts(self, *, ended: bool = True) -> Awaitable[Counts]:
        """Totals of the whole store. Ended jobs are many, and each is counted; without ``ended`` theirs are 0, and the
        answer is quick however many there are."""

    def command_stats(self) -> Awaitable[list[CommandStats]]:
        """One row per command that has ended jobs."""

    def pause(self, name: str) -> Awaitable[None]:
        """Claim nothing more of a command, of a product (its name), or of everything (``*``)."""

    def resume(self, name: str) -> Awaitable[bool]:
        """Take a pause back; whether there was one."""

    def pauses(self) -> Awaitable[frozenset[str]]:
        """What is paused."""

    def listen(self, on_wake: Callable[[Wake], None]) -> None:
        """Have ``on_wake`` called, on the loop of :meth:`open`, when somebody else changed the store. It is told soon,
        several reasons may come as one, and a wake may be lost: look from time to time. To be called before
        :meth:`open`."""

    def beat(self, beat: Beat) -> Awaitable[bool]:
        """A node's heartbeat, its first one enters it in the roster; whether its name is cordoned."""

    def leave(self, boot: str) -> Awaitable[None]:
        """Take a node off the roster. Its jobs stay what they are."""

    def nodes(self) -> Awaitable[list[Node]]:
        """The roster, by name and start; nodes silent for longer than a day are left out."""

    def cordon(self, name: str) -> Awaitable[None]:
        """Let nodes of this name begin no new jobs."""

    def uncordon(self, name: str) -> Awaitable[bool]:
        """Take that back; whether it was so."""

    def cordons(self) -> Awaitable[frozenset[str]]:
        """The names that are cordoned, whether or not a node of that name is on the roster."""

    def dump(self, after: int, limit: int) -> Awaitable[list[Kept]]:
        """Jobs with a ``seq`` greater than ``after``, in order, with all that is kept of them. For a move: nobody
        should be working on the store."""

    def restore(self, jobs: Sequence[Kept]) -> Awaitable[int]:
        """Store what another store kept, in its order and all or nothing; how many were not there yet, by their id. A
        running one is taken over as it was and will be found abandoned."""

    def purge(self, keep_jobs: float, keep_events: float, limit: int = 1000) -> Awaitable[int]:
        """Delete ended jobs and events older than so many seconds, up to ``limit`` of each; how many went. Keeps its
        transactions short: call again while it returns ``limit`` or more. The newest job may stay, and, where whole
        days are dropped, what is old enough for up to a day more. A ``seq`` is never used twice, of a job as of an
        event."""
