"""Names for things."""

from __future__ import annotations

import re
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.model import ids
from stoker.model.errors import RequestError


def test_a_new_id_is_a_uuid_of_version_7() -> None:
    found = uuid.UUID(ids.new_job_id())
    assert (found.version, found.variant) == (7, uuid.RFC_4122)


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [1_700_000_000_000_000_000 + step * 1_000_000 for step in range(50)]
    clock = iter(moments)
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    made = [ids.new_job_id() for _ in moments]
    assert made == sorted(made)
    assert int(made[0][:12], 16) == moments[0] // 1_000_000


def test_ids_of_one_moment_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({ids.new_job_id() for _ in range(1000)}) == 1000


def test_an_id_is_read_in_all_the_forms_people_have_it_in() -> None:
    id = ids.new_job_id()
    hyphens = str(uuid.UUID(id))
    assert [ids.job_id(text) for text in (id, f"command:{id}", hyphens, f"command:{hyphens}")] == [id] * 4
    assert ids.job_id("nightly-2024-05-01") == "nightly-2024-05-01"


WRONG = [
    "",
    "command:",
    "-a",
    "A",
    "a b",
    "a/b",
    "../etc/passwd",
    "a\n",
    "a" * 65,
    "caf\u00e9",
    "a:b",
    "\x00",
    "command:command:a",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_not_an_id_is_refused(text: str) -> None:
    """dbos#759: an empty id is an id to nobody."""
    with pytest.raises(RequestError, match="not a job id"):
        ids.job_id(text)


@given(st.text())
def test_any_text_is_an_id_or_refused(text: str) -> None:
    try:
        found = ids.job_id(text)
    except RequestError:
        return
    assert re.fullmatch("[a-z0-9][a-z0-9-]{0,63}", found)
    assert ids.job_id(found) == found


def test_a_jobs_own_jobs_have_ids_that_do_not_change() -> None:
    assert ids.child_id("nightly", 2) == "nightlys2"
    assert ids.child_id("a" * 64, 1) == ids.child_id("a" * 64, 1)


def test_a_long_line_of_descent_never_meets_itself() -> None:
    """Each job submits the next: an id cut off at its end would be that of its own parent."""
    seen = set()
    line = [ids.new_job_id()]
    for _ in range(200):
        line.append(ids.child_id(line[-1], 1))
        seen.add(ids.child_id(line[-1], 2))
        assert ids.job_id(line[-1]) == line[-1]
    assert len(seen | set(line)) == 401


def test_brothers_of_long_names_do_not_meet() -> None:
    assert len({ids.child_id("a" * 62 + end, 1) for end in ("-1", "-2", "-3")}) == 3


def test_a_boot_is_somebody_else_each_time() -> None:
    assert len({ids.new_boot_id() for _ in range(100)}) == 100
