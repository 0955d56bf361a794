"""Settings: the later wins, each error names its place, and every field is explained."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stoker import settings
from stoker.model.errors import SettingsError
from stoker.settings import ABOUT, FILE, FIXED, SOCKET_PATH_MAX, Current, Settings, about, as_environ, find_root, load
from stoker.settings import fields as fields_module


def read(root: Path, flags: Mapping[str, Any] | None = None, **environ: str) -> Settings:
    return load(flags, environ=environ, cwd=root)


def read_with(root: Path, environ: dict[str, str]) -> Settings:
    return load(environ=environ, cwd=root)


def write(root: Path, text: str) -> None:
    (root / FILE).write_text(text)


# ── where a value comes from ─────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_said_is_enough(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.root == tmp_path
    assert found.store_path == tmp_path / ".stoker" / "stoker.db"
    assert found.socket_path == tmp_path / ".stoker" / "stoker.sock"
    assert (found.consumers_max, found.prefix, found.node) == (10, "stoker", os.uname().nodename)


def test_the_file_then_the_environment_then_the_flags(tmp_path: Path) -> None:
    write(tmp_path, 'consumers_max = 2\nprefix = "file"\nnode = "file"\n')
    assert read(tmp_path).prefix == "file"
    assert read(tmp_path, STOKER_PREFIX="environ").prefix == "environ"
    found = read(tmp_path, {"prefix": "flag", "node": None}, STOKER_PREFIX="environ", STOKER_NODE="environ")
    assert (found.prefix, found.node, found.consumers_max) == ("flag", "environ", 2)


def test_values_are_read_as_people_write_them(tmp_path: Path) -> None:
    write(tmp_path, 'app = ["a:b", "c"]\nmemory = "1GB"\nlease = "1m"\nmax-output = 5000\nlog-level = "debug"\n')
    found = read(tmp_path, STOKER_LISTEN="tcp://127.0.0.1:1, tcp://127.0.0.1:2", STOKER_TOKEN="t", STOKER_GRACE="2h")
    assert (found.app, found.memory, found.lease, found.max_output) == (("a:b", "c"), 1 << 30, 60.0, 5000)
    assert (found.listen, found.grace) == (("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"), 7200.0)
    assert read(tmp_path, STOKER_MEMORY="0").memory == 0
    assert read(tmp_path, STOKER_APP="a b,c").app == ("a", "b", "c")


def test_debug_of_the_003_seed_means_its_log_level(tmp_path: Path) -> None:
    assert read(tmp_path, DEBUG="true").log_level == "debug"
    assert read(tmp_path, DEBUG="true", STOKER_LOG_LEVEL="error").log_level == "error"
    assert read(tmp_path, DEBUG="false").log_level == "info"


def test_a_project_is_the_nearest_folder_upward_that_says_so(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert find_root(deep) == deep
    (tmp_path / "a" / ".stoker").mkdir()
    assert find_root(deep) == tmp_path / "a"
    write(tmp_path / "a" / "b", "")
    assert find_root(deep) == tmp_path / "a" / "b"
    assert read(deep).root == tmp_path / "a" / "b"
    assert read(deep, {"root": str(tmp_path)}).root == tmp_path
    assert read(deep, STOKER_ROOT=str(tmp_path)).root == tmp_path


def test_paths_are_those_of_the_project(tmp_path: Path) -> None:
    found = read(tmp_path, {"store": "data/jobs.db", "socket": "run/it.sock", "log_file": "it.log"})
    assert found.store == f"sqlite:///{tmp_path}/data/jobs.db"
    assert found.socket == f"{tmp_path}/run/it.sock"
    assert found.log_file == f"{tmp_path}/it.log"
    found = read(
        tmp_path, {"store": "sqlite:////srv/jobs.db", "socket": "unix:///run/it.sock", "log_file": "/var/it.log"}
    )
    assert (found.store_path, found.socket_path) == (Path("/srv/jobs.db"), Path("/run/it.sock"))
    assert found.log_file == "/var/it.log"


# ── what is wrong, and where ─────────────────────────────────────────────────────────────────────────────────────────

WRONG: list[tuple[str, str, str]] = [
    ("consumers_max", "many", "a whole number is needed"),
    ("consumers_max", "0", "1 or more"),
    ("spares", "-1", "0 or more"),
    ("max_clients", "0", "1 or more"),
    ("kill_grace", "0", "0.1 or more"),
    ("lease", "0.5", "1 or more"),
    ("look", "0", "0.05 or more"),
    ("lease", "soon", "'soon' is not a duration"),
    ("lease", "-5", "'-5' is not a duration"),
    ("memory", "lots", "'lots' is not a size"),
    ("log_level", "loud", "'loud' is none of debug, info, warning, error"),
    ("log_format", "xml", "'xml' is none of text, json"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG, ids=[f"{name}={value}" for name, value, _ in WRONG])
def test_a_wrong_value_is_told_with_its_place_and_name(tmp_path: Path, name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=rf"the environment: {name}: .*{words}"):
        read_with(tmp_path, {f"STOKER_{name.upper()}": value})
    with pytest.raises(SettingsError, match=rf"the command line: {name}: .*{words}"):
        read(tmp_path, {name: value})
    write(tmp_path, f'{name} = "{value}"')
    with pytest.raises(SettingsError, match=rf"{FILE}: {name}: .*{words}"):
        read(tmp_path)


TYPES = [
    "consumers_max = true", "consumers_max = [1]", "consumers_max = 2.5", "lease = nan", "lease = inf", "lease = true",
    "memory = true", "app = 5", "app = [1, 2]", "prefix = 5", "prefix = {a = 1}", "token = false", "log_level = 1",
]  # fmt: skip


@pytest.mark.parametrize("line", TYPES)
def test_a_value_of_the_wrong_type_is_told_with_its_place_and_name(tmp_path: Path, line: str) -> None:
    write(tmp_path, line)
    with pytest.raises(SettingsError, match=rf"{FILE}: {line.split()[0]}: "):
        read(tmp_path)


def test_a_name_that_is_not_known_is_told_with_all_that_are(tmp_path: Path) -> None:
    write(tmp_path, "consumer_max = 3")
    with pytest.raises(SettingsError, match=rf"{FILE}: there is no setting 'consumer_max'; did you mean consumers_max"):
        read(tmp_path)


@pytest.mark.parametrize("data", [b"consumers_max = ", b"\xff\xfe", b"[[[", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(SettingsError, match=rf"{tmp_path}/{FILE} is not (TOML|UTF-8 text)"):
        read(tmp_path)


def test_a_socket_path_that_is_too_long_is_told_with_what_to_do(tmp_path: Path) -> None:
    fits = "/" + "x" * (SOCKET_PATH_MAX - 1)
    assert read(tmp_path, {"socket": fits}).socket == fits
    for long in (fits + "x", "/" + "\u00e9" * 54):
        with pytest.raises(SettingsError, match=rf"longer than the {SOCKET_PATH_MAX} bytes.*STOKER_SOCKET"):
            read(tmp_path, {"socket": long})
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(SettingsError, match="longer than"):
        read(deep)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"store": "mysql://db/jobs"}, "store: 'mysql' is not a kind of store known here"),
        ({"listen": "127.0.0.1:80", "token": "t"}, "listen: '127.0.0.1:80' is not tcp://host:port"),
        ({"listen": "tcp://127.0.0.1:80"}, "listen: TCP needs a token; set STOKER_TOKEN"),
        ({"listen": "tcp://127.0.0.1:80", "token": ""}, "needs a token"),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path: Path, flags: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read(tmp_path, flags)


# ── the settings as a whole ──────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_few_and_each_is_explained() -> None:
    assert len(set(Settings.__struct_fields__) - set(fields_module.TABLES)) < 30
    assert tuple(ABOUT) == tuple(settings.KINDS)
    assert all(ABOUT.values())


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        read(tmp_path).prefix = "other"  # type: ignore[misc]


def test_every_named_group_of_settings_is_of_settings() -> None:
    fields = set(settings.KINDS)
    groups = (FIXED, about.SIZES, about.TIMES, about.CHOICES, about.LEAST)
    assert all(set(group) <= fields for group in groups)


def test_settings_travel_by_the_environment(tmp_path: Path) -> None:
    """What one process found, its child finds too, whatever its type."""
    base = read(tmp_path)
    mine = {
        "app": "a b",
        "lease": "7s",
        "memory": "5MB",
        "listen": "tcp://h:1",
        "token": "t",
        "log_level": "error",
        "spares": 7,
    }
    found = read(tmp_path, mine)
    assert read_with(tmp_path, as_environ(found, base)) == found
    assert as_environ(base, base) == {}


def test_a_reload_takes_what_it_can_and_names_the_rest(tmp_path: Path) -> None:
    current = Current(read(tmp_path))
    late = current.replace(read(tmp_path, {"consumers_max": 3, "socket": "/run/other.sock", "prefix": "other"}))
    assert late == ["prefix", "socket"]
    assert current() == msgspec.structs.replace(read(tmp_path), consumers_max=3)


def test_a_change_wins_over_what_is_read_until_it_is_taken_back(tmp_path: Path) -> None:
    current = Current(read(tmp_path))
    current.change({"consumers_max": 3, "stats.every": 1.0})
    current.replace(read(tmp_path, {"consumers_max": 5, "spares": 1}))
    assert (current().consumers_max, current().stats.every, current().spares) == (3, 1.0, 1)
    current.change({})
    assert (current().consumers_max, current().stats.every) == (5, 5.0)


def test_an_altered_setting_is_checked_with_the_others(tmp_path: Path) -> None:
    before = read(tmp_path, {"listen": "tcp://127.0.0.1:1", "token": "t"})
    assert settings.altered(before, {}, "a call") == before
    assert settings.altered(before, {"lease": "1m"}, "a call").lease == 60.0
    with pytest.raises(SettingsError, match="TCP needs a token"):
        settings.altered(before, {"token": ""}, "a call")


def test_a_setting_that_is_none_is_told_with_one_that_is(tmp_path: Path) -> None:
    for name, words in (("consumer_max", "did you mean consumers_max"), ("xyzzy", "`stoker check` lists them all")):
        with pytest.raises(SettingsError, match=f"there is no setting '{name}'; {words}"):
            settings.altered(read(tmp_path), {name: 1}, "a call")


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to("nowhere")


def _ring(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", [FILE, "products.json", "config/products.json"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_folder, "is a folder, and a file is needed"),
        (_link, "is a link to nowhere, which is not there"),
        (os.mkfifo, "is a pipe, and a file is needed"),
        (_ring, "cannot read"),
    ],
)
def test_what_has_the_name_of_a_file_and_is_none_is_told(
    tmp_path: Path, name: str, make: Callable[[Path], None], said: str
) -> None:
    """Not taken for missing, not passed over for a project further up, and never waited for."""
    (tmp_path / FILE).touch()
    project = tmp_path / "inner"
    (project / "config").mkdir(parents=True)
    if name != FILE:
        (project / FILE).touch()
    make(project / name)
    with pytest.raises(SettingsError) as refused:
        load({}, environ={}, cwd=project)
    assert str(refused.value).startswith((f"{project / name} ", f"cannot read {project / name}: "))
    assert said in str(refused.value)


def test_a_products_file_that_is_named_and_is_none_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.json")
    with pytest.raises(SettingsError, match=r"mine\.json is a pipe"):
        load({"root": tmp_path}, environ={"STOKER_PRODUCTS": "mine.json"})
