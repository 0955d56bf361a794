"""``stoker install``: the daemon of a project as a service of systemd, started by the first connection to its socket.

Two template units serve every project below one folder; the instance is the project's path below it, escaped as systemd
wants it:

    /var/www/html/shop/api   ──►   stoker@shop-api.socket, stoker@shop-api.service

The units are package data (``units/``); what differs between machines is written in place of ``@NAME@``.
"""

from __future__ import annotations

import difflib
import grp
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from stoker import settings as settings_module
from stoker.entry import exits, session, show
from stoker.entry.options import Json
from stoker.model.errors import SettingsError
from stoker.settings import FOLDER

WEB_ROOT = Path("/var/www/html")
UNIT_FOLDER = Path("etc/systemd/system")
TEMPLATES = ("stoker@.service", "stoker@.socket")
DEFAULT_USER = "www-data"
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""Folders that ``ProtectHome=yes`` hides."""
NAME_MAX = 255
"""Characters of a unit's name (systemd.unit(5))."""

_PLAIN = re.compile(rb"[A-Za-z0-9:_.]")
_AWKWARD = re.compile(r"[\s\"'\\%$]")
"""What would have to be quoted in a unit file, in each place by other rules."""


class Place(msgspec.Struct, frozen=True):
    """Where a project is, and who runs its daemon."""

    root: Path
    instance: str
    user: str
    group: str

    @property
    def project(self) -> Path:
        return self.root / self.instance

    def unit(self, kind: str) -> str:
        """The unit's name for this project."""
        return f"stoker@{escape(self.instance)}.{kind}"


def install(
    ctx: typer.Context,
    instance: Annotated[
        str, typer.Argument(metavar="[PROJECT]", help="The project's folder below --root; the current one by default.")
    ] = "",
    root: Annotated[
        Path, typer.Option("--root", metavar="FOLDER", help="The folder that the projects lie in.")
    ] = WEB_ROOT,
    user: Annotated[
        str, typer.Option(metavar="USER", help="Who runs the daemon; the owner of the project's folder by default.")
    ] = "",
    destdir: Annotated[
        Path | None, typer.Option(envvar="DESTDIR", metavar="FOLDER", help="Write below this folder, for packaging.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace units that are there and differ.")] = False,
    start: Annotated[
        bool | None,
        typer.Option("--start/--no-start", help="Enable and start the socket; yes by default, no with DESTDIR."),
    ] = None,
    json: Json = False,
) -> None:
    """Make the daemon of a project a service of systemd: write the units, then enable and start the socket.

    The daemon itself starts with the first connection to the socket.
    """
    place = find(instance, root, user, Path(session.of(ctx).root or "."))
    target = destdir if destdir is not None and str(destdir) else None
    if target is None and os.geteuid() != 0:
        command = shlex.join(["sudo", *executable(), "install", str(place.project), "--root", str(place.root)])
        raise SettingsError(f"only root may write to /{UNIT_FOLDER}; use: {command}")
    check_socket(place)
    found = write((target or Path("/")) / UNIT_FOLDER, render(place), force=force)
    for note in notes(place):
        print(f"stoker: {note}", file=sys.stderr)
    wanted = start if start is not None else target is None
    problem = activate(place, reload="replaced" in found.values()) if wanted else None
    tell(place, found, started=wanted and problem is None, json=json)
    if problem is not None:
        print(f"stoker: {problem}", file=sys.stderr)
        raise typer.Exit(exits.NO_DAEMON)


def find(instance: str, root: Path, user: str, cwd: Path) -> Place:
    """The project that is meant: by its path below ``root``, or from here when it begins with a dot or a slash.

    Raises :class:`SettingsError` when it does not lie below ``root``.
    """
    root = Path(os.path.abspath(root))
    if not instance:
        project = settings_module.find_root(cwd.absolute())
    elif instance.startswith((".", "/")):
        project = cwd / instance
    else:
        project = root / instance
    project = Path(os.path.abspath(project))
    if project == root or not project.is_relative_to(root):
        raise SettingsError(
            f"{project} does not lie below {root}; name the folder that it lies in with --root, "
            f"for example: stoker install {project.name} --root {project.parent}"
        )
    for path in (project, *executable()):
        if _AWKWARD.search(str(path)):
            raise SettingsError(f"{path}: a path with such characters cannot stand in a unit; use a plain one")
    place = Place(root, str(project.relative_to(root)), user, "")
    if len(place.unit("service")) > NAME_MAX:
        raise SettingsError(f"{place.instance} is too long for the name of a unit, which has {NAME_MAX} characters")
    owner, group = account(user, project)
    return msgspec.structs.replace(place, user=owner, group=group)


def account(user: str, project: Path) -> tuple[str, str]:
    """Who runs the daemon, and their group. Raises :class:`SettingsError` for root: jobs are not for root."""
    if not user:
        try:
            owner = project.stat().st_uid
            user = DEFAULT_USER if owner == 0 else _user_name(owner)
        except FileNotFoundError:
            user = DEFAULT_USER
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        return user, user  # not known here; the machine it is packaged for may know it
    if entry.pw_uid == 0:
        raise SettingsError("a daemon that runs other people's jobs must not be root; give another --user")
    try:
        return user, grp.getgrgid(entry.pw_gid).gr_name
    except KeyError:
        return user, str(entry.pw_gid)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_socket(place: Place) -> None:
    """The socket unit listens where clients look, or this raises :class:`SettingsError` naming both."""
    if not place.project.is_dir():
        return
    unit = place.project / FOLDER / "stoker.sock"
    configured = settings_module.load({"root": str(place.project)}, environ={}, products=False).socket_path
    if os.path.realpath(configured) != os.path.realpath(unit):
        raise SettingsError(
            f"systemd would listen on {unit}, but {place.project / settings_module.FILE} tells clients {configured}; "
            "take `socket` out of it, or write `ListenStream` into the unit by hand and use `stoker up`"
        )


def notes(place: Place) -> list[str]:
    """What will keep the daemon from starting, as far as it can be seen from here."""
    found = []
    python = Path(sys.executable).resolve()
    closed = [folder for folder in python.parents if not _may_enter(folder, place.user)]
    if closed:
        found.append(
            f"{place.user} may not enter {closed[-1]}, where the interpreter lies ({python}); the daemon cannot run"
        )
    if not place.project.is_dir():
        found.append(f"there is no folder {place.project} yet; the daemon starts when there is one, with a stoker.toml")
    elif not settings_module.load({"root": str(place.project)}, environ={}, products=False).app:
        file = place.project / settings_module.FILE
        found.append(f'the daemon will not know what to run: write app = "module:product" into {file}')
    return found


def _may_enter(folder: Path, user: str) -> bool:
    found = folder.stat()
    return bool(found.st_mode & stat.S_IXOTH) or _user_name(found.st_uid) == user


def escape(text: str) -> str:
    """A path as it stands in the name of a unit; what ``systemd-escape`` prints."""
    data = os.fsencode(text)
    found = []
    for number, value in enumerate(data):
        byte = bytes((value,))
        if byte == b"/":
            found.append("-")
        elif _PLAIN.match(byte) and not (byte == b"." and number == 0):
            found.append(byte.decode())
        else:
            found.append(f"\\x{value:02x}")
    return "".join(found)


def executable() -> list[str]:
    """How this very installation is run, with absolute paths: its script, or its interpreter where it has none."""
    script = Path(sysconfig.get_path("scripts")) / "stoker"
    return [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-P", "-m", "stoker"]


def render(place: Place) -> dict[str, str]:
    """The units' text by their file name."""
    command = executable()
    seen = (place.root, Path(command[0]), Path(sys.base_prefix))
    homely = any(path.is_relative_to(home) for path in seen for home in HOMES)
    values = {
        "@ROOT@": str(place.root).rstrip("/"),
        "@USER@": place.user,
        "@GROUP@": place.group,
        "@EXEC@": " ".join(command),
        "@HOME@": "read-only" if homely else "yes",
    }
    found = {}
    for name in TEMPLATES:
        text = resources.files("stoker.entry").joinpath("units", name).read_text("utf-8")
        for mark, value in values.items():
            text = text.replace(mark, value)
        found[name] = text
    return found


def write(folder: Path, units: dict[str, str], *, force: bool) -> dict[str, str]:
    """Put the units there, all or none: ``written``, ``unchanged`` or ``replaced`` by name.

    Raises :class:`SettingsError` with the difference when one is there already and says something else.
    """
    before = {name: _read(folder / name) for name in units}
    if not force:
        for name, text in units.items():
            there = before[name]
            if there is not None and there != text:
                raise SettingsError(_differs(folder / name, there, text))
    found = {}
    for name, text in units.items():
        path = folder / name
        if before[name] == text:
            found[name] = "unchanged"
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{name}.new")
            fresh.write_text(text, "utf-8")
            fresh.chmod(0o644)
            fresh.replace(path)
        except OSError as error:
            raise SettingsError(f"cannot write {path}: {error.strerror}") from None
        found[name] = "written" if before[name] is None else "replaced"
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None


def _differs(path: Path, there: str, wanted: str) -> str:
    lines = difflib.unified_diff(
        there.splitlines(), wanted.splitlines(), str(path), "what would be written", n=0, lineterm=""
    )
    return (
        f"{path} is there and differs; --force replaces it, for every project that uses it. For one project alone use "
        "`systemctl edit stoker@….service`.\n" + "\n".join(lines)
    )


def activate(place: Place, *, reload: bool) -> str | None:
    """Enable and start the socket; None, or what went wrong and what to do."""
    unit = place.unit("socket")
    by_hand = f"when systemd runs: systemctl daemon-reload && systemctl enable --now {shlex.quote(unit)}"
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return f"systemctl is not here, so the socket is neither enabled nor started; {by_hand}"
    for words in ([["daemon-reload"]] if reload else []) + [["enable", unit], ["start", unit]]:
        done = subprocess.run([systemctl, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().rstrip(".") or f"exit {done.returncode}"
            return f"systemctl {shlex.join(words)}: {said}. The units are written; {by_hand}"
    return None


def tell(place: Place, found: dict[str, str], *, started: bool, json: bool) -> None:
    """What was done, and how to go on."""
    if json:
        told: dict[str, Any] = {
            "project": str(place.project),
            "user": place.user,
            "socket": str(place.project / FOLDER / "stoker.sock"),
            "units": found,
            "service": place.unit("service"),
            "socket_unit": place.unit("socket"),
            "started": started,
        }
        show.data(told)
        return
    for name, what in found.items():
        show.say(f"{name}: {what}")
    service, socket = shlex.quote(place.unit("service")), shlex.quote(place.unit("socket"))
    if started:
        show.say(f"{socket} is enabled and listens; the daemon starts with the first connection.")
        show.say(f"To start it with the machine instead: systemctl enable --now {service}")
    else:
        show.say(f"To start it: systemctl enable --now {socket}")
    show.say(f"Its log: journalctl -u {service}")
