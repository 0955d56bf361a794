"""The places where the daemon listens, and what is said when it cannot."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoker.model.errors import AlreadyRunning, DaemonUnavailable, SettingsError
from stoker.wire import endpoint


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: a Unix socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="stoker-unit-") as made:
        yield Path(made)


def test_the_socket_and_its_folder_are_ours_alone(folder: Path) -> None:
    path = folder / "new" / "stoker.sock"
    before = os.umask(0)
    os.umask(before)
    with endpoint.listen_unix(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.umask(before) == before, "the process's umask is as it was"


def test_a_stale_socket_is_replaced(folder: Path) -> None:
    path = folder / "stoker.sock"
    endpoint.listen_unix(path).close()
    assert path.exists()
    with endpoint.listen_unix(path), endpoint.connect(str(path), 5.0):
        pass


def test_a_live_socket_is_left_alone(folder: Path) -> None:
    path = folder / "stoker.sock"
    with endpoint.listen_unix(path):
        with pytest.raises(AlreadyRunning, match=r"stoker stop"):
            endpoint.listen_unix(path)
        with endpoint.connect(f"unix://{path}", 5.0) as ours:
            assert endpoint.peer_uid(ours) == os.geteuid()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_something_else_in_its_place_is_never_taken_away(folder: Path, kind: str) -> None:
    """D35: also a link that somebody put there to have another file replaced."""
    path, target = folder / "stoker.sock", folder / "target"
    target.write_text("precious")
    match kind:
        case "file":
            path.touch()
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(target)
    with pytest.raises(SettingsError, match="is not a socket"):
        endpoint.listen_unix(path)
    assert path.exists()
    assert target.read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(SettingsError, match="cannot make the folder"):
        endpoint.listen_unix(folder / "file" / "stoker.sock")


def test_a_path_that_is_too_long_is_named(folder: Path) -> None:
    with pytest.raises(SettingsError, match="too long"):
        endpoint.listen_unix(folder / ("x" * 120))


def test_removing_twice_is_removing_once(folder: Path) -> None:
    path = folder / "stoker.sock"
    endpoint.listen_unix(path).close()
    endpoint.remove(path)
    endpoint.remove(path)
    assert not path.exists()


# ── TCP ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tcp_there_and_back() -> None:
    with endpoint.listen_tcp("tcp://127.0.0.1:0") as sock:
        host, port = sock.getsockname()
        with endpoint.connect(f"tcp://{host}:{port}", 5.0) as ours:
            assert endpoint.peer_uid(ours) is None
        with pytest.raises(SettingsError, match=rf"cannot listen on tcp://{host}:{port}"):
            endpoint.listen_tcp(f"tcp://{host}:{port}")


@pytest.mark.parametrize(
    "address", ["tcp://", "tcp://host", "tcp://127.0.0.1:", "tcp://127.0.0.1:port", "tcp://127.0.0.1:99999"]
)
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(SettingsError, match=address):
        endpoint.listen_tcp(address)


# ── reaching the daemon ──────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_there_is_told_with_what_to_do(folder: Path) -> None:
    path = folder / "stoker.sock"
    with pytest.raises(DaemonUnavailable, match=r"no socket there.*stoker up"):
        endpoint.connect(str(path), 5.0)
    endpoint.listen_unix(path).close()
    with pytest.raises(DaemonUnavailable, match=r"nobody listens.*stoker up"):
        endpoint.connect(str(path), 5.0)
    with endpoint.listen_tcp("tcp://127.0.0.1:0") as sock:
        port = sock.getsockname()[1]
    with pytest.raises(DaemonUnavailable, match="nobody listens"):
        endpoint.connect(f"tcp://127.0.0.1:{port}", 5.0)
    with pytest.raises(SettingsError, match="is not tcp://host:port"):
        endpoint.connect("tcp://127.0.0.1:port", 5.0)


# ── what systemd hands over ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}])
def test_descriptors_meant_for_another_process_are_not_taken(environ: dict[str, str]) -> None:
    assert endpoint.inherited(environ) == []


def test_what_is_handed_over_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2))
    numbers = sorted(os.dup(sock.fileno()) for sock in (first, second))
    first.close()
    second.close()
    monkeypatch.setattr(endpoint, "LISTEN_FDS_START", numbers[0])
    found = endpoint.inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
    assert [sock.fileno() for sock in found] == numbers[:1]
    found[0].close()
    os.close(numbers[1])


@pytest.mark.parametrize("count", ["one", "500"])
def test_a_wrong_count_of_descriptors_is_told(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "LISTEN_FDS_START", 900)
    with pytest.raises(SettingsError, match=f"LISTEN_FDS={count}"):
        endpoint.inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


def test_v10_an_activated_socket_is_the_configured_one(folder: Path) -> None:
    with endpoint.listen_unix(folder / "a.sock") as sock:
        endpoint.check_inherited([sock], folder / "a.sock")
        (folder / "other").symlink_to(folder)
        endpoint.check_inherited([sock], folder / "other" / "a.sock")
        with pytest.raises(SettingsError, match=r"a\.sock.*b\.sock"):
            endpoint.check_inherited([sock], folder / "b.sock")
