"""A private environment: what one job sets, no other job sees, nor C code, nor any child process."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from stoker.run.environ import PrivateEnviron, install, private

KEY = "STOKER_UNIT_KEY"
OTHER = "STOKER_UNIT_OTHER"


def everything() -> dict[str, str]:
    """The environment, but for what pytest itself changes."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture
def shared() -> Iterator[dict[str, str]]:
    """The environment as it was, and again after the test."""
    real = os.environ
    before = everything()
    assert KEY not in before
    yield before
    os.environ = real  # noqa: B003  to put back what install() replaced
    assert everything() == before


@pytest.fixture
def installed(shared: dict[str, str]) -> dict[str, str]:
    install()
    return shared


def in_c(name: str) -> bytes | None:
    """What C code of this process sees."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    found: bytes | None = getenv(name.encode())
    return found


def in_a_child(name: str) -> str:
    code = f"import os; print(os.environ.get({name!r}, 'absent'))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


# ── a process of one's own ───────────────────────────────────────────────────────────────────────────────────────────


def test_variables_are_there_within_the_block_and_as_before_after_it(shared: dict[str, str]) -> None:
    with private({KEY: "one", "PATH": "/nowhere", "HOME": None}):
        assert (os.environ[KEY], os.environ["PATH"], "HOME" in os.environ) == ("one", "/nowhere", False)
        assert in_c(KEY) == b"one"
        os.environ[KEY] = "changed inside"
        with private({KEY: "two"}):
            assert os.environ[KEY] == "two"
        assert os.environ[KEY] == "changed inside"
    assert everything() == shared


def test_an_exception_puts_them_back_too(shared: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="inside"), private({KEY: "one"}):
        raise ValueError("inside")
    assert everything() == shared


@pytest.mark.parametrize("wrong", [5, "nul\0"])
def test_a_value_that_cannot_be_set_leaves_nothing_behind(shared: dict[str, str], wrong: object) -> None:
    with pytest.raises((TypeError, ValueError)), private({KEY: "one", OTHER: wrong}):  # type: ignore[dict-item]
        pass
    assert everything() == shared


# ── a process shared with others ─────────────────────────────────────────────────────────────────────────────────────


def test_two_threads_never_see_each_others(installed: dict[str, str]) -> None:
    both = threading.Barrier(2, timeout=20)
    seen: dict[str, list[str | None]] = {}

    def job(mine: str) -> None:
        before = os.environ.get(KEY)
        with private({KEY: mine}):
            both.wait()
            found = [before, os.environ.get(KEY), os.getenv(KEY)]
            both.wait()
        seen[mine] = [*found, os.environ.get(KEY)]

    threads = [threading.Thread(target=job, args=(name,)) for name in ("user-1", "user-2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {mine: [None, mine, mine, None] for mine in ("user-1", "user-2")}
    assert everything() == installed


def test_two_tasks_never_see_each_others(installed: dict[str, str]) -> None:
    """The fault of 003's user_provider_context: tasks of one process, one user's keys in another user's job."""

    async def job(mine: str, turns: int) -> list[str | None]:
        found = []
        with private({KEY: mine}):
            for _ in range(turns):
                await asyncio.sleep(0)
                found.append(os.environ.get(KEY))
        return found

    async def both() -> list[list[str | None]]:
        return await asyncio.gather(*(job(f"user-{number}", 5 + number) for number in range(5)))

    assert asyncio.run(both()) == [[f"user-{number}"] * (5 + number) for number in range(5)]
    assert everything() == installed


def test_what_a_task_starts_sees_what_it_has(installed: dict[str, str]) -> None:
    async def job() -> tuple[str, str]:
        with private({KEY: "mine"}):
            task = asyncio.create_task(asyncio.to_thread(lambda: os.environ[KEY]))
            return os.environ[KEY], await task

    assert asyncio.run(job()) == ("mine", "mine")


def test_neither_c_code_nor_a_child_sees_it(installed: dict[str, str]) -> None:
    with private({KEY: "mine", "PATH": None}):
        assert os.environ[KEY] == "mine"
        assert in_c(KEY) is None
        assert in_c("PATH") == installed["PATH"].encode()
        assert in_a_child(KEY) == "absent"
        # who wants a child to have it says so
        code = f"import os; print(os.environ[{KEY!r}])"
        done = subprocess.run(
            [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "mine"


def test_it_is_a_mapping_like_the_real_one(installed: dict[str, str]) -> None:
    own = {name: value for name, value in os.environ.items() if name != "HOME"} | {KEY: "mine"}
    with private({KEY: "mine", "HOME": None}):
        assert dict(os.environ) == os.environ.copy() == dict(os.environ.items()) == own
        assert len(os.environ) == len(own)
        assert (KEY in os.environ, "HOME" in os.environ, OTHER in os.environ) == (True, False, False)
        assert os.environ.get("HOME", "none") == "none"
        assert os.environ | {OTHER: "x"} == {**own, OTHER: "x"}
        assert {OTHER: "x", KEY: "y"} | os.environ == {**own, OTHER: "x"}
        assert os.path.expandvars(f"${KEY}") == "mine"


def test_a_key_that_is_renewed_stays_private(installed: dict[str, str]) -> None:
    """A library that refreshes the user's token writes it where it found it."""
    with private({KEY: "mine"}):
        os.environ[KEY] = "renewed"
        os.environ.update({KEY: "renewed again"})
        assert os.environ[KEY] == "renewed again"
        assert in_c(KEY) is None
    assert everything() == installed


def test_a_key_that_is_deleted_stays_private(installed: dict[str, str]) -> None:
    with private({KEY: "mine", "HOME": "mine too"}):
        del os.environ[KEY]
        assert os.environ.pop("HOME") == "mine too"
        assert (KEY in os.environ, "HOME" in os.environ) == (False, False)
        with pytest.raises(KeyError):
            del os.environ[KEY]
        assert in_c("HOME") == installed["HOME"].encode()
    assert everything() == installed


def test_what_is_not_private_is_everybodys(installed: dict[str, str]) -> None:
    os.environ[OTHER] = "for all"
    with private({KEY: "mine"}):
        assert os.environ[OTHER] == "for all"
        assert in_c(OTHER) == b"for all"
        os.environ |= {OTHER: "changed"}
    assert os.environ.pop(OTHER) == "changed"
    assert in_c(OTHER) is None


def test_blocks_within_blocks(installed: dict[str, str]) -> None:
    with private({KEY: "one", OTHER: "outer"}):
        with private({KEY: "two"}):
            assert (os.environ[KEY], os.environ[OTHER]) == ("two", "outer")
            os.environ[OTHER] = "changed inside"
        assert (os.environ[KEY], os.environ[OTHER]) == ("one", "outer")


def test_installing_twice_is_installing_once(installed: dict[str, str]) -> None:
    first = os.environ
    install()
    assert os.environ is first
    assert isinstance(os.environ, PrivateEnviron)
