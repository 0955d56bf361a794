"""Who may ask what: every route and every method, as everybody there can be, against a matrix that is checked in.

When a route or a method is new, its line is missing: ``STOKER_WRITE_MATRIX=1 pytest tests/web/test_access.py`` writes
it, to be read before it is committed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.model.access import DOES, LEVELS, LOOKS, OWNS, RULES, SEES
from stoker.router.methods.table import TABLE
from tests.web.site import Site, submit
from tests.web.test_security import ask, routes

MATRIX = Path(__file__).with_name("access.txt")
NOBODY, EXPIRED, FOREIGN = "nobody", "expired", "foreign"
COLUMNS = (NOBODY, EXPIRED, FOREIGN, *LEVELS)
READS = ("audit", "settings")
"""Methods that change nothing though few may call them."""
MACHINES = ("heartbeat",)
"""Methods that are no deed of anybody."""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def found(site: Site) -> dict[str, list[int]]:
    """The matrix as it is."""
    made = {f"{method} {template}": [_route(site, method, template, one) for one in COLUMNS] for method, template
            in sorted(routes())}  # fmt: skip
    return {**made, **{f"call {name}": [_method(site, name, one) for one in COLUMNS] for name in TABLE}}


def _headers(site: Site, column: str) -> dict[str, str]:
    # a session of its own each time: one of the routes logs out
    name = f"m{next(_numbers)}"
    if column == NOBODY:
        return {}
    if column == EXPIRED:
        return {"Authorization": f"Bearer {site.token(name, life=-1)}"}
    if column == FOREIGN:
        return {"Authorization": f"Bearer {site.token(name)}", "Origin": "http://evil.example"}
    return {"Authorization": f"Bearer {site.token(name, level=column)}"}  # type: ignore[arg-type]


def _route(site: Site, method: str, template: str, column: str) -> int:
    return ask(site, method, template, _headers(site, column))


def _method(site: Site, name: str, column: str) -> int:
    """A call with a parameter that no method has: who may call it is told so, and nothing happens."""
    client = site.client(None, headers=_headers(site, column))
    return client.post(f"/methods/{name}", json={"no such parameter": 0}).status_code


def _written(found: dict[str, list[int]]) -> Iterator[str]:
    width = max(map(len, found))
    yield f"{'':{width}}  " + "  ".join(f"{column:>8}" for column in COLUMNS)
    for name, statuses in found.items():
        yield f"{name:{width}}  " + "  ".join(f"{status:8}" for status in statuses)


def test_the_matrix_is_the_one_that_is_checked_in(found: dict[str, list[int]]) -> None:  # E2.2
    told = [line.rstrip() for line in _written(found)]
    if os.environ.get("STOKER_WRITE_MATRIX"):
        MATRIX.write_text("\n".join(told) + "\n")
    known = MATRIX.read_text().splitlines()
    assert [line for line in told if line not in known] == [line for line in known if line not in told]


def test_a_level_is_let_in_where_the_table_says_so_and_nowhere_else(found: dict[str, list[int]]) -> None:
    for name, method in TABLE.items():
        for level, status in zip(LEVELS, found[f"call {name}"][-len(LEVELS) :], strict=True):
            inner = name in ("messages", "spend", "revocations")
            assert (status == 403) == (inner or level not in method.levels), (name, level, status)


def test_whoever_only_looks_changes_nothing(site: Site, found: dict[str, list[int]]) -> None:
    """Each route that changes something says 403 to a viewer; but who one is, and what one listens to, is one's own."""
    own = ("/auth/", "/events/{stream}", "/socket.io/", "/heartbeat/", "/methods/{name}")
    changing = [name for name in found if name.startswith(("POST", "DELETE")) and not any(one in name for one in own)]
    assert len(changing) >= 7
    viewer = COLUMNS.index("viewer")
    # this one reads its body first
    asked = {"app": "story", "command": "double", "input": {"number": 1}}
    status = site.client("v", level="viewer").post("/commands/jobs", json=asked).status_code
    told = {name: found[name][viewer] for name in changing} | {"POST /commands/jobs": status}
    assert told == dict.fromkeys(changing, 403)


def test_levels_go_up_and_every_deed_is_kept() -> None:
    for kind in (SEES, DOES, LOOKS, RULES):
        assert set(OWNS) <= set(kind)
    for name, method in TABLE.items():
        changes = method.levels in (DOES, RULES, OWNS) and name not in READS
        assert changes == (method.act is not None and name != "revoke") or name in MACHINES, name


def test_jobs_of_others(site: Site) -> None:
    """To a user they are not there; others see them; who rules touches them."""
    job = submit(site, "double", "owner", number=1)
    site.client("owner").get(f"/jobs/{job}/wait")
    expected = {"user": (404, 404, 404), "viewer": (200, 403, 403)} | dict.fromkeys(RULES, (200, 200, 200))
    for level in LEVELS:
        me = site.client("other", level=level)
        got = (
            me.get(f"/jobs/{job}").status_code,
            me.post(f"/jobs/{job}/retry").status_code,
            me.post(f"/jobs/{job}/cancel").status_code,
        )
        assert got == expected[level], level
        site.client("owner").get(f"/jobs/{job}/wait")
        listed = me.get("/jobs", params={"user": "owner"})
        assert listed.status_code == (403 if level == "user" else 200)
        for_another = me.post("/jobs", json={"command": "story.double", "input": {"number": 2}, "user": "owner"})
        assert for_another.status_code == (201 if level in RULES else 403)
        called = me.post("/call/story.double", json={"number": 2})
        assert called.status_code == (403 if level == "viewer" else 200)


def test_a_refusal_says_what_is_needed(site: Site) -> None:
    refused = site.client("ann", level="operator").post("/methods/stop", json={})
    assert (refused.status_code, refused.json()["error"]) == (403, "not_allowed")
    assert refused.json()["message"] == "stop needs the level admin; 'ann' is operator"
    assert "bridge itself" in site.client("ann", level="admin").post("/methods/spend", json={}).json()["message"]
