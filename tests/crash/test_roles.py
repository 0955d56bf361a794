"""Roles of several real daemons on one PostgreSQL store, which are killed, frozen, cut off and stopped.

What is done in a role is written down with its term by whoever does it, so that "one holder at most" is a fact of a
file, not of what the nodes say: see :mod:`tests.apps.duties`.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.daemon import LOADED, Daemon, scaled, until
from tests.fixtures import Make
from tests.fleet import Fleet, freeze, started, thaw
from tests.net import Proxy
from tests.postgres import Server
from tests.terminal import typed

LEASE = 3.0
ROLES = ("notification", "database", "infrastructure", "toga", "togadesk", "sync", "catalog")
SEED = 20260331


class Act(NamedTuple):
    """One moment of somebody acting in a role."""

    at: float
    term: int
    root: str


class Crew:
    """The nodes of one test, and what they did."""

    def __init__(self, fleet: Fleet, folder: Path, *names: str, policy: str = "cover", lease: float = LEASE) -> None:
        self.fleet = fleet
        self.folder = folder
        self.environ = {
            "DUTIES": str(folder), "STOKER_ROLES_NAMES": " ".join(names), "STOKER_ROLES_POLICY": policy,
            "STOKER_ROLES_REAP_AFTER": str(lease), "STOKER_ROLES_CLAIM_AFTER": str(lease),
        }  # fmt: skip

    def node(self, name: str, **options: Any) -> Daemon:
        """One more, not started."""
        given = {"lease": LEASE, "look": 0.3, "consumers_max": 2, "spares": 0, "environ": self.environ, **options}
        return self.fleet.node(name, "duties", begin=False, **given)

    def nodes(self, *names: str, **options: Any) -> list[Daemon]:
        """So many at once."""
        return started(*(self.node(name, **options) for name in names))

    def rows(self) -> dict[str, tuple[str | None, int]]:
        """Who holds what, and in which term, as the store says."""
        if self.fleet.sql("SELECT to_regclass('stoker.roles')") == [(None,)]:
            return {}
        found = self.fleet.sql(
            "SELECT name, CASE WHEN owner IS NULL OR until < clock_timestamp() THEN NULL ELSE node END, term "
            "FROM stoker.roles"
        )
        return {name: (node, term) for name, node, term in found}

    def holders(self) -> dict[str, str | None]:
        return {name: node for name, (node, _) in self.rows().items()}

    def held_by(self, *names: str, roles: int, seconds: float = 30.0) -> dict[str, str | None]:
        """Wait until all roles are held, by these nodes."""

        def covered() -> dict[str, str | None]:
            found = self.holders()
            return found if len(found) == roles and set(found.values()) <= set(names) else {}

        return until(covered, seconds, f"{roles} roles held by {names}")

    def acts(self) -> list[Act]:
        path = self.folder / "acts"
        lines = [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []
        return [Act(float(at), int(term), root) for at, term, root in lines]

    def told(self) -> list[str]:
        path = self.folder / "told"
        return path.read_text().splitlines() if path.exists() else []

    def told_once(self) -> None:
        """Each thing that happened made one job for each hook; a killed node may have begun it, and another again."""
        twice = self.fleet.sql(
            "SELECT command, input FROM (SELECT command, input FROM stoker.jobs UNION ALL "
            "SELECT command, input FROM stoker.ended) j WHERE command <> 'duties.serve' "
            "GROUP BY command, input HAVING count(*) > 1"
        )
        assert twice == []

    def serving(self, root: Path) -> Any:
        """Wait until the role is acted in on this node."""
        return until(lambda: [act for act in self.acts() if act.root == str(root)], what=f"somebody acts on {root}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def in_turn(acts: list[Act]) -> None:
    """One holder at a time, and terms that only grow."""
    terms = [act.term for act in acts]
    assert terms == sorted(terms), "an old term acted after a new one"
    for _, group in itertools.groupby(acts, key=lambda act: act.term):
        assert len({act.root for act in group}) == 1, "two nodes in one term"


def test_a_killed_node_is_replaced_and_told_dead_once(fleet: Fleet, folder: Path) -> None:
    """P8: within the lease and a look. T40, T43, T48."""
    crew = Crew(fleet, folder, "mail", "sync", "toga")
    a, b, c = crew.nodes("a", "b", "c")
    until(lambda: sorted(crew.holders().values(), key=str) == ["a", "b", "c"], 30, "a role for each")
    victim = {"a": a, "b": b, "c": c}[str(crew.holders()["mail"])]
    name = victim.settings.node
    job = a.client.submit("duties.serve") if victim is not a else b.client.submit("duties.serve")
    crew.serving(victim.folder)
    term = crew.rows()["mail"][1]
    victim.kill()
    killed = time.monotonic()
    others = {"a", "b", "c"} - {name}
    crew.held_by(*others, roles=3)
    took = time.monotonic() - killed
    print(f"take-over after SIGKILL: {took:.2f} s, lease {LEASE} s")
    assert took < LEASE + LEASE / 3 + 5.0  # a look, and a loaded machine
    assert crew.rows()["mail"][1] == term + 1
    until(lambda: {act.term for act in crew.acts()} >= {term, term + 1}, 30, "the duty goes on elsewhere")
    (folder / "gate").touch()
    assert job.result(30) == term + 1
    in_turn(crew.acts())
    until(lambda: f"node_dead mail 0 {name}" in crew.told(), 20)
    until(lambda: f"role_lost mail {term} {name}" in crew.told(), 20)
    until(lambda: any(line.startswith(f"role_acquired mail {term + 1} ") for line in crew.told()), 20)
    assert {line for line in crew.told() if line.startswith("node_dead")} == {f"node_dead mail 0 {name}"}
    crew.told_once()
    assert fleet.sql("SELECT count(*) FROM stoker.role_nodes WHERE node = %s", name) == [(0,)], "its row is gone"


def test_a_clean_stop_hands_over_at_once(fleet: Fleet, folder: Path) -> None:
    """P8: immediate, however long the lease is."""
    crew = Crew(fleet, folder, "mail", "sync", lease=60.0)
    a = crew.node("a").start()
    crew.held_by("a", roles=2)
    b = crew.node("b").start()
    until(lambda: sorted(crew.holders().values(), key=str) == ["a", "b"], 30, "b has its share though a is well")
    assert a.client.ask("roles")["mine"] == [name for name, node in crew.holders().items() if node == "a"]
    before = {name: term for name, (_, term) in crew.rows().items()}
    ((asked,),) = fleet.sql("SELECT extract(epoch FROM clock_timestamp())::float8")
    a.stop()
    crew.held_by("b", roles=2, seconds=20)
    ((last,),) = fleet.sql("SELECT max(extract(epoch FROM since))::float8 FROM stoker.roles")
    print(f"hand-over after SIGTERM: {last - asked:.3f} s")
    assert last - asked < 1.0 + 4.0  # a loaded machine
    assert sum(term for _, term in crew.rows().values()) == sum(before.values()) + 1
    assert not any(line.startswith("node_dead") for line in crew.told())
    assert b.client.ask("roles")["mine"] == ["mail", "sync"]


def test_each_has_one_and_a_spare_waits(fleet: Fleet, folder: Path) -> None:
    """T30, T33: the 002 seed's rule."""
    crew = Crew(fleet, folder, "mail", "sync", policy="exclusive")
    a, b, c = crew.nodes("a", "b", "c")
    until(lambda: len(set(crew.holders().values()) - {None}) == 2, 20)
    spare = ({"a", "b", "c"} - set(crew.holders().values())).pop()
    nodes = {"a": a, "b": b, "c": c}
    assert nodes[spare].client.call("duties.who")[0] in (None, "mail", "sync")  # of whichever node runs it
    assert nodes[spare].client.ask("roles")["mine"] == []
    moved = crew.holders()["sync"]
    typed(a, "roles", "release", "sync")
    until(lambda: crew.holders()["sync"] == spare, 20, "the spare has it")
    until(lambda: nodes[str(moved)].client.ask("roles")["mine"] == [], 10)
    nodes[spare].kill()
    until(lambda: crew.holders()["sync"] == moved, 30, "who waits takes over")


def test_a_frozen_node_acts_no_more_once_another_does(fleet: Fleet, folder: Path) -> None:
    """D16: SIGSTOP for three leases. What it had under way is ended when it goes on."""
    crew = Crew(fleet, folder, "mail")
    a = crew.node("a").start()
    crew.held_by("a", roles=1)
    b = crew.node("b").start()
    job = b.client.submit("duties.serve")
    crew.serving(a.folder)
    frozen = freeze(a)
    crew.held_by("b", roles=1)
    until(lambda: len([act for act in crew.acts() if act.root == str(b.folder)]) > 20, 30)
    thawed = time.monotonic()
    thaw(frozen)
    until(lambda: a.client.ask("roles")["mine"] == [], 20, "a knows")
    until(lambda: "a role is lost" in a.log(), 10)
    until(lambda: not [one for one in a.processes("consumer") if "duties.serve" in one.title], 10, "its job is ended")
    late = [act for act in crew.acts() if act.root == str(a.folder) and act.at > thawed]
    print(f"what a frozen node still did: {len(late)} moments, {late[-1].at - thawed if late else 0:.3f} s")
    assert all(act.term < crew.rows()["mail"][1] for act in late), "and all of it carries the old term"
    assert not late or late[-1].at - thawed < 5.0 + LOADED
    (folder / "gate").touch()
    assert job.result(30) == crew.rows()["mail"][1]
    assert a.client.call("duties.term") == crew.rows()["mail"][1]


def test_a_node_that_is_cut_off_stops_before_another_begins(fleet: Fleet, folder: Path, postgres: Server) -> None:
    """D16: no connection, no wake-up, nothing refused: only silence. The trust ends by itself, before the lease."""
    crew = Crew(fleet, folder, "mail")
    with Proxy(postgres.port) as proxy:
        a = crew.node("a", store=fleet.url(port=proxy.port, host="127.0.0.1", password=postgres.password)).start()
        crew.held_by("a", roles=1)
        b = crew.node("b").start()
        b.client.submit("duties.serve")
        crew.serving(a.folder)
        proxy.block()
        crew.held_by("b", roles=1)
        crew.serving(b.folder)
        proxy.unblock()
        until(lambda: a.client.ask("roles")["mine"] == [], 20)
        (folder / "gate").touch()
    in_turn(sorted(crew.acts()))
    assert "its lease could not be renewed in time" in a.log()


def test_roles_may_be_kept_apart_from_the_jobs(fleet: Fleet, folder: Path, make: Make) -> None:
    """T28: nodes with job stores of their own share roles. When the store of roles is away jobs go on, but for those
    that ask for a role; when it comes back so do roles."""
    crew = Crew(fleet, folder, "mail", "sync", policy="exclusive")
    apart = {**crew.environ, "STOKER_ROLES_STORE": fleet.url(application_name="apart")}
    given = {"lease": LEASE, "look": 0.3, "spares": 0, "environ": apart}
    a = make("duties", node="a", **given)
    until(lambda: crew.rows().get("mail") == ("a", 1), 20, "a has the first")
    b = make("duties", node="b", **given)
    until(lambda: crew.rows().get("sync") == ("b", 1), 20, "b has the second")
    assert a.client.call("duties.term") == 1
    assert "waits for a" in str(b.client.submit("duties.term").record().why)
    until(lambda: "role_acquired mail 1 a" in crew.told(), 20)
    fleet.sql("ALTER TABLE stoker.roles RENAME TO hidden")
    until(lambda: a.client.call("duties.who") == [None, False, False], 20, "what cannot be renewed is given up")
    job = a.client.submit("duties.term")
    assert a.client.call("duties.who") == [None, False, False]
    assert job.record().status == "new"
    assert "who holds it cannot be said" in str(job.record().why)
    fleet.sql("ALTER TABLE stoker.hidden RENAME TO roles")
    assert job.result(20) == 2
    a.kill()
    until(lambda: "node_dead mail 0 a" in crew.told(), 30, "b says so")


def test_lost_sessions_cost_no_role(fleet: Fleet, folder: Path) -> None:
    """Bugs good_job#989, concourse#6008: a lease is not a session."""
    crew = Crew(fleet, folder, "mail", "sync")
    a = crew.node("a", store=fleet.url(application_name="a")).start()
    crew.held_by("a", roles=2)
    for _ in range(3):
        fleet.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'a/%%'")
        until(lambda: fleet.backends("a/writer"), 10, "a new session")
    time_of = "SELECT max(until) FROM stoker.roles"
    before = fleet.sql(time_of)
    until(lambda: fleet.sql(time_of) > before, 10, "renewed")
    assert crew.rows() == {"mail": ("a", 1), "sync": ("a", 1)}
    assert "a role is lost" not in a.log()


def test_a_router_that_crashed_has_its_roles_back_at_once(fleet: Fleet, folder: Path) -> None:
    """T31: whoever starts it again knows that it has ended; nobody waits for its lease, and no node is dead."""
    crew = Crew(fleet, folder, "mail", lease=60.0)
    a = crew.node("a").start()
    crew.held_by("a", roles=1)
    until(lambda: fleet.sql("SELECT count(*) FROM stoker.ended") == [(2,)], 20, "its hooks have run")
    os.kill(a.router, signal.SIGKILL)
    until(lambda: crew.rows()["mail"] == ("a", 2), 20, "the next term")
    until(lambda: fleet.sql("SELECT count(*) FROM stoker.role_nodes") == [(1,)], 10)
    until(lambda: sorted(crew.told()) == ["role_acquired mail 1 a", "role_acquired mail 2 a", "role_lost mail 1 a"], 20)


def test_seven_roles_on_three_nodes_under_random_kills(fleet: Fleet, folder: Path) -> None:
    """The 002 story: whatever dies, every role comes back, each term is one node's, and each is told once."""
    chance = random.Random(SEED)
    crew = Crew(fleet, folder, "mail", *ROLES[:6])
    nodes = {daemon.settings.node: daemon for daemon in crew.nodes("a", "b", "c", grace=1)}
    spread = until(lambda: evenly(crew, 7), 40, "2, 2 and 3 roles")
    print(f"seed {SEED}: {spread}")
    job = nodes["a"].client.submit("duties.serve")
    until(crew.acts, 20, "somebody acts")
    for _ in range(scaled(3, 2)):
        name = chance.choice(sorted(nodes))
        how = chance.choice(["kill", "stop", "router"])
        victim = nodes[name]
        before = {role for role, node in crew.holders().items() if node == name}
        print(f"{how} {name}, which holds {sorted(before)}")
        if how == "router":
            os.kill(victim.router, signal.SIGKILL)
        else:
            victim.kill() if how == "kill" else victim.stop(seconds=60)
            crew.held_by(*(set(nodes) - {name}), roles=7, seconds=40)
            victim.start()
        until(lambda: evenly(crew, 7), 60, "an even spread again")
    (folder / "gate").touch()
    assert job.result(60) is not None
    in_turn(sorted(crew.acts()))
    crew.told_once()
    terms: dict[tuple[str, str], str] = {}
    for line in crew.told():
        event, role, term, node = line.split(" ")
        if event == "role_acquired":
            assert terms.setdefault((role, term), node) == node


def evenly(crew: Crew, roles: int) -> list[int]:
    """How many roles each of three nodes holds, once that is even."""
    found = list(crew.holders().values())
    counts = sorted(found.count(name) for name in ("a", "b", "c"))
    return counts if len(found) == roles and None not in found and counts[-1] - counts[0] <= 1 else []
