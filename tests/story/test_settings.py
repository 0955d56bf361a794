"""What a running daemon works by: shown without secrets, some of it changed until the next start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stoker.model.errors import AppError, RequestError
from stoker.settings import ABOUT, FIXED
from tests.daemon import Daemon
from tests.terminal import answer, typed

SECRET = "-".join(("canary", "of", "a", "token"))


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with Daemon(
        "story", token=SECRET, consumers_max=2, environ={"STOKER_MONITORS_WEBHOOK": f"https://h.test/{SECRET}"}
    ) as one:
        yield one


def told(daemon: Daemon) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in answer(daemon, "settings", "--json")}


def slots(daemon: Daemon) -> int:
    (node,) = daemon.client.ask("nodes", list[dict[str, Any]])
    return int(node["slots"])


def test_every_setting_is_shown_with_its_source_and_no_secret(daemon: Daemon) -> None:  # V102
    daemon.file("stoker.toml").write_text("kill_grace = '7s'\nlook = '2s'\n")
    found = told(daemon)
    assert list(found) == list(ABOUT)
    assert found["socket"]["value"] == str(daemon.folder / ".stoker" / "stoker.sock")
    assert (found["consumers_max"]["value"], found["consumers_max"]["source"]) == (2, "STOKER_CONSUMERS_MAX")
    assert (found["max_clients"]["value"], found["max_clients"]["source"]) == (1000, "default")
    assert found["memory"]["about"] == ABOUT["memory"]
    assert {name for name, one in found.items() if not one["reload"]} == FIXED
    assert (found["token"]["value"], found["monitors.webhook"]["value"]) == ("***", "https://h.test/***")
    shown = typed(daemon, "settings").stdout
    assert "consumers_max" in shown
    assert SECRET not in shown + str(found)
    daemon.file("stoker.toml").unlink()


def test_a_change_is_in_force_at_once_and_stays_over_a_reload_until_the_next_start() -> None:
    with Daemon("story", consumers_max=2, prefix="before") as daemon:
        assert slots(daemon) == 2
        changed = answer(daemon, "settings", "set", "consumers-max=3", "keep_jobs=2h", "--json")
        assert {one["name"]: (one["value"], one["source"]) for one in changed} == {
            "consumers_max": (3, "changed"), "keep_jobs": (7200.0, "changed")
        }  # fmt: skip
        typed(daemon, "reload")
        assert (told(daemon)["consumers_max"]["value"], told(daemon)["keep_jobs"]["source"]) == (3, "changed")
        gates = [daemon.client.submit("story.wait", gate="three", tag=str(n)) for n in range(3)]
        daemon.wait_here("three", 3)
        daemon.open_gate("three")
        assert [job.wait(20).status for job in gates] == ["completed"] * 3
        (row,) = answer(daemon, "audit", "--method", "settings_set", "--json")
        assert (row["object"], row["after"]) == ("consumers_max, keep_jobs", '{"consumers_max":3,"keep_jobs":7200.0}')
        assert row["before"].startswith('{"consumers_max":2')
        daemon.stop()
        daemon.start()
        assert (told(daemon)["consumers_max"]["value"], told(daemon)["keep_jobs"]["source"]) == (2, "default")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"socket": "/x"}, "socket cannot be changed while the daemon runs"),
        ({"consumers_max": 4, "node": "x", "log_level": "debug"}, "log_level, node cannot be changed"),
        ({"consumer_max": 4}, "there is no setting 'consumer_max'; did you mean consumers_max"),
        ({"reap_after": 4}, "there is no setting 'reap_after'; did you mean roles.reap_after"),
        ({"consumers_max": 0}, "consumers_max: must be 1 or more"),
        ({"consumers_max": 2.5}, "consumers_max: a whole number is needed"),
        ({"consumers_max": True}, "consumers_max: a whole number is needed"),
        ({"lease": "soon"}, "lease: "),
        ({"mode": None}, "mode: text is needed"),
        ({"products": {}}, "`stoker pools set`"),
        ({}, "name the settings to change"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_changes_nothing(daemon: Daemon, values: dict[str, Any], words: str) -> None:
    before = told(daemon)
    with pytest.raises(RequestError, match=words):
        daemon.client.ask("settings_set", values=values)
    assert told(daemon) == before


def test_what_cannot_be_loaded_leaves_the_settings_as_they_were(daemon: Daemon) -> None:
    before = told(daemon)
    with pytest.raises(AppError, match="nowhere"):
        daemon.client.ask("settings_set", values={"app": "nowhere", "consumers_max": 5})
    assert told(daemon) == before
    assert daemon.client.call("story.echo", value=1) == 1


def test_words_that_are_no_settings_are_told(daemon: Daemon) -> None:
    assert "'five' is not name=value" in typed(daemon, "settings", "set", "five", code=2).stderr
