"""``stoker install``: the units as systemd itself reads them, and what is called to start them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from stoker import settings as stoker_settings
from stoker.entry import cli
from stoker.entry import install as installing
from stoker.entry.session import Session
from stoker.model.errors import SettingsError

UNITS = Path("etc/systemd/system")
EXPOSURE_MAX = 3.0


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Machine:
    """A machine to install on: a folder for DESTDIR, projects below a web root, a systemctl that only takes notes."""

    def __init__(self, folder: Path) -> None:
        self.dest = folder / "dest"
        self.web = folder / "web"
        self.bin = folder / "bin"
        self.calls = folder / "calls.txt"
        self.web.mkdir()
        self.bin.mkdir()

    def project(self, name: str, toml: str = 'app = "shop:jobs"\n') -> Path:
        path = self.web / name
        path.mkdir(parents=True)
        (path / "stoker.toml").write_text(toml)
        return path

    def have_systemctl(self, fail: str = "nothing") -> None:
        script = self.bin / "systemctl"
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {shlex.quote(str(self.calls))}\n'
            f'[ "$1" = {fail} ] && {{ echo "Access denied." >&2; exit 4; }}\nexit 0\n'
        )
        script.chmod(0o755)

    def install(self, *words: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Ended:
        given = {"DESTDIR": str(self.dest), "PATH": str(self.bin), **(environ or {})}
        done = subprocess.run(
            [sys.executable, "-m", "stoker", "install", "--root", str(self.web), *words],
            cwd=cwd or self.web, env={**os.environ, **given}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def unit(self, name: str) -> Path:
        return self.dest / UNITS / name

    def values(self, name: str) -> dict[str, list[str]]:
        """The settings of a unit, each with every value given."""
        found: dict[str, list[str]] = {}
        for line in self.unit(name).read_text().splitlines():
            if "=" in line and not line.startswith("#"):
                key, _, value = line.partition("=")
                found.setdefault(key, []).append(value)
        return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    """In a folder with a short name: the path of a socket has its limit."""
    with tempfile.TemporaryDirectory(prefix="st-") as folder:
        yield Machine(Path(folder))


def analyze(*words: str) -> str:
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_the_units_say_nothing_to_verify(machine: Machine) -> None:
    """V84."""
    machine.project("shop/api-v2")
    assert machine.install("shop/api-v2").code == 0
    for name in ("stoker@.service", "stoker@.socket"):
        assert machine.unit(name).stat().st_mode & 0o777 == 0o644
        assert analyze("verify", str(machine.unit(name))) == ""
    folder = machine.unit("")
    for name in ("stoker@.service", "stoker@.socket"):
        shutil.copy(machine.unit(name), folder / name.replace("@", "@shop-api\\x2dv2"))
    written = [str(folder / f"stoker@shop-api\\x2dv2.{kind}") for kind in ("service", "socket")]
    assert analyze("verify", *written) == ""


def test_what_the_service_may_do_is_little(machine: Machine) -> None:
    """E2.11: the exposure figure, and the settings it does not know."""
    machine.project("shop")
    machine.install("shop")
    told = analyze("security", "--offline=true", "--no-pager", str(machine.unit("stoker@.service")))
    match = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert match, told
    assert float(match[1]) <= EXPOSURE_MAX
    values = machine.values("stoker@.service")
    assert values["Type"] == ["notify"]
    assert values["KillMode"] == ["mixed"]
    assert values["OOMPolicy"] == ["continue"]
    assert values["NoNewPrivileges"] == ["yes"]
    assert values["CapabilityBoundingSet"] == [""]
    assert values["ProtectSystem"] == ["strict"]
    assert values["ReadWritePaths"] == [f'"{machine.web}/%I"']
    assert int(values["TasksMax"][0]) >= 1010
    assert {"WatchdogSec", "MemoryMax", "RestrictAddressFamilies", "SystemCallFilter"} <= set(values)
    assert values["User"] == ["www-data"]


def test_the_socket_is_where_clients_look(machine: Machine) -> None:
    """V10, V86: one template for every project below the root."""
    project = machine.project("a-b/deep")
    told = json.loads(machine.install("--json", cwd=project).out)
    values = machine.values("stoker@.socket")
    instance = re.fullmatch(r"stoker@(.+)\.socket", told["socket_unit"])
    assert instance
    unescaped = subprocess.run(
        ["systemd-escape", "--unescape", instance[1]], capture_output=True, text=True, check=True
    ).stdout.rstrip("\n")
    assert unescaped == "a-b/deep"
    listens = values["ListenStream"][0].replace("%I", unescaped)
    assert listens == told["socket"] == str(stoker_settings.load(environ={}, cwd=project).socket_path)
    assert values["SocketMode"] == ["0600"]
    assert values["DirectoryMode"] == ["0700"]
    assert machine.values("stoker@.service")["WorkingDirectory"] == [f"{machine.web}/%I"]


def test_the_service_runs_this_very_installation(machine: Machine) -> None:
    machine.project("shop")
    machine.install("shop")
    program, command = shlex.split(machine.values("stoker@.service")["ExecStart"][0])
    assert command == "up"
    assert Path(program).is_absolute()
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("stoker ")


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_names_are_escaped_as_systemd_does(text: str) -> None:
    told = subprocess.run(["systemd-escape", "--", text], capture_output=True, check=True).stdout
    assert os.fsencode(installing.escape(text)) == told.rstrip(b"\n")


def test_enable_comes_before_start(machine: Machine) -> None:
    """V85; and nothing is called for a package unless it is told to."""
    machine.project("my-shop")
    machine.have_systemctl()
    done = machine.install("my-shop")
    assert (done.code, machine.called()) == (0, [])
    assert "systemctl enable --now 'stoker@my\\x2dshop.socket'" in done.out
    done = machine.install("my-shop", "--start")
    assert done.code == 0
    assert machine.called() == ["enable stoker@my\\x2dshop.socket", "start stoker@my\\x2dshop.socket"]


def test_a_second_time_changes_nothing(machine: Machine) -> None:
    machine.project("shop")
    machine.have_systemctl()
    machine.install("shop")
    before = machine.unit("stoker@.service").stat()
    told = json.loads(machine.install("shop", "--start", "--json").out)
    assert told["units"] == {"stoker@.service": "unchanged", "stoker@.socket": "unchanged"}
    assert told["started"] is True
    after = machine.unit("stoker@.service").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_units_that_differ_are_left_alone_unless_forced(machine: Machine) -> None:
    machine.project("shop")
    machine.have_systemctl()
    machine.install("shop")
    ours = machine.unit("stoker@.service").read_text()
    machine.unit("stoker@.service").write_text(ours.replace("TasksMax=4096", "TasksMax=50"))
    machine.unit("stoker@.socket").unlink()
    refused = machine.install("shop", "--start")
    assert refused.code == 2
    assert "-TasksMax=50\n+TasksMax=4096" in refused.err
    assert "--force" in refused.err
    assert "TasksMax=50" in machine.unit("stoker@.service").read_text()
    assert not machine.unit("stoker@.socket").exists(), "all or none"
    assert machine.called() == []
    done = machine.install("shop", "--start", "--force")
    assert done.code == 0
    assert machine.unit("stoker@.service").read_text() == ours
    assert [line.split()[0] for line in machine.called()] == ["daemon-reload", "enable", "start"]


def test_without_systemctl_it_says_what_to_do(machine: Machine) -> None:
    machine.project("shop")
    done = machine.install("shop", "--start")
    assert done.code == 3
    assert "systemctl is not here" in done.err
    assert "systemctl daemon-reload && systemctl enable --now stoker@shop.socket" in done.err
    assert machine.unit("stoker@.socket").exists()


def test_a_systemctl_that_fails_is_quoted(machine: Machine) -> None:
    machine.project("shop")
    machine.have_systemctl(fail="enable")
    done = machine.install("shop", "--start")
    assert done.code == 3
    assert "systemctl enable stoker@shop.socket: Access denied. The units are written" in done.err
    assert machine.called() == ["enable stoker@shop.socket"]


def test_a_socket_elsewhere_is_refused_naming_both(machine: Machine) -> None:
    project = machine.project("shop", 'app = "shop:jobs"\nsocket = "/run/shop.sock"\n')
    done = machine.install("shop")
    assert done.code == 2
    assert str(project / ".stoker" / "stoker.sock") in done.err
    assert "/run/shop.sock" in done.err
    assert not machine.unit("stoker@.socket").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("/srv/shop",), "does not lie below"),
        (("..",), "does not lie below"),
        (("shop", "--user", "root"), "must not be root"),
        (("sh op",), "cannot stand in a unit"),
        (("x" * 200 + "/" + "y" * 60,), "too long"),
    ],
)
def test_what_cannot_be_is_refused(machine: Machine, words: tuple[str, ...], says: str) -> None:
    done = machine.install(*words)
    assert done.code == 2
    assert says in done.err
    assert not machine.dest.exists()


def test_what_will_keep_it_from_starting_is_told(machine: Machine) -> None:
    machine.project("bare", "")
    done = machine.install("bare")
    assert done.code == 0
    assert 'write app = "module:product"' in done.err
    done = machine.install("absent")
    assert done.code == 0
    assert f"there is no folder {machine.web / 'absent'} yet" in done.err


def test_another_user_is_who_it_is_for(machine: Machine) -> None:
    project = machine.project("shop")
    os.chown(project, 65534, 65534)
    machine.install("shop")
    values = machine.values("stoker@.service")
    assert (values["User"], values["Group"]) == (["nobody"], ["nogroup"])
    assert machine.values("stoker@.socket")["SocketUser"] == ["nobody"]


def test_only_root_may(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told with the command that would do, before anything is written."""
    machine.project("shop")
    monkeypatch.delenv("DESTDIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(cli.app, ["install", "shop", "--root", str(machine.web)], obj=Session())
    assert isinstance(result.exception, SettingsError)
    assert f"sudo {shlex.join(installing.executable())} install {machine.web / 'shop'}" in str(result.exception)
