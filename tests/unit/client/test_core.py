"""Whose store a client may write to."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.client import core


def test_a_job_goes_into_a_store_only_when_it_is_surely_the_daemons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for project in (here, there):
        (project / ".stoker").mkdir(parents=True)
    monkeypatch.chdir(here)
    for name in ("STOKER_ROOT", "STOKER_SOCKET", "STOKER_STORE"):
        monkeypatch.delenv(name, raising=False)
    own, stores = core.settings_for(None)
    assert (own.root, stores) == (here, True)
    other, stores = core.settings_for(str(there / ".stoker" / "stoker.sock"))
    assert (other.root, stores) == (there, True)
    assert core.settings_for(str(tmp_path / "somewhere.sock"))[1] is False
    assert core.settings_for("tcp://127.0.0.1:1")[1] is False
    assert core.settings_for("tcp://127.0.0.1:1", own)[1] is False
