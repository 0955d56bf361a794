"""The example of thumbnails: a real daemon, a real server, real requests, with the worker and without."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.daemon import Daemon, alive, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "images"


class Site:
    """The example in a folder of its own: its daemon, which may be there or not, and its application."""

    def __init__(self, **options: Any) -> None:
        self.daemon = Daemon("images", kill_grace=0.3)
        self.folder = self.daemon.folder
        for path in EXAMPLE.glob("*.py"):
            shutil.copy(path, self.folder)
        self.configure(**{"workers": 1, **options})
        self._web: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(timeout=60)

    def configure(self, **options: Any) -> None:
        (self.folder / "products.json").write_text(json.dumps({"images": options}))

    def serve(self) -> None:
        """Start the application, and wait until it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        argv = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
        with open(self.folder / "web.txt", "wb") as log:
            self._web = subprocess.Popen(argv, cwd=self.folder, env=self.daemon.environ, stdout=log, stderr=log)
        self.http.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        until(self._answers, 30, "the application")

    def _answers(self) -> bool:
        assert self._web is not None
        assert self._web.poll() is None, (self.folder / "web.txt").read_text()
        with contextlib.suppress(httpx.TransportError):
            return self.http.get("/health").status_code == 200
        return False

    @property
    def pid(self) -> int:
        assert self._web is not None
        return self._web.pid

    def work(self) -> int:
        """Start the daemon, and wait for its worker, as the application sees it; its pid."""
        self.daemon.start()
        return self.worker()

    def worker(self) -> int:
        until(lambda: self.http.get("/health").json()["worker_lives"], what="a worker")
        return until(lambda: self.daemon.pids("resident process images"), what="its process")[0]

    def thumb(self, picture: bytes, **params: int) -> httpx.Response:
        return self.http.post("/thumb", content=picture, params=params)

    def close(self) -> None:
        self.http.close()
        if self._web is not None:
            self._web.terminate()
            try:
                self._web.wait(20)
            except subprocess.TimeoutExpired:
                self._web.kill()
                self._web.wait()
        self.daemon.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Those that the example makes, by the program that makes them."""
    folder = tmp_path_factory.mktemp("pictures")
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE / "pictures.py", folder], capture_output=True, text=True, check=True
    )
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert sorted(path.name for path in paths) == ["dunes.png", "hopper.jpg", "turned.jpg"]
    return {path.stem: path.read_bytes() for path in paths}


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture(scope="module")
def working() -> Iterator[Site]:
    """One with a worker."""
    made = Site()
    made.serve()
    made.work()
    yield made
    made.close()


def size(answer: httpx.Response) -> tuple[int, int]:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), answer.text
    with Image.open(io.BytesIO(answer.content)) as image:
        image.load()
        return image.size


def test_a_worker_makes_it_and_the_answer_says_so(working: Site, pictures: dict[str, bytes]) -> None:
    """P39: by whom, and counted; upright, and as wide as was asked."""
    answer = working.thumb(pictures["hopper"], width=160)
    assert size(answer) == (160, 188)
    assert answer.headers["x-made-by"] == "worker"
    assert int(answer.headers["x-made-pid"]) == working.worker() != working.pid
    assert "x-made-why" not in answer.headers
    assert size(working.thumb(pictures["turned"])) == (320, 375)
    assert size(working.thumb(pictures["dunes"])) == (320, 213)
    assert working.http.get("/health").json()["paths"]["worker"] >= 3


def test_the_file_that_the_worker_wrote_is_the_answer(working: Site, pictures: dict[str, bytes]) -> None:
    """P38."""
    answer = working.thumb(pictures["hopper"], width=200)
    kept = working.folder / ".stoker" / "thumbs" / answer.headers["location"].rpartition("/")[2]
    assert kept.read_bytes() == answer.content
    again = working.http.get(answer.headers["location"])
    assert (again.content, again.headers["content-type"]) == (answer.content, "image/jpeg")


def test_both_paths_come_to_the_same(site: Site, pictures: dict[str, bytes]) -> None:
    """P34, P37: before there is a worker, with one, and after the daemon has gone: byte for byte."""
    site.serve()
    before = site.thumb(pictures["hopper"])
    assert (before.headers["x-made-by"], int(before.headers["x-made-pid"])) == ("inline", site.pid)
    assert before.headers["x-made-why"] == "no worker of images lives"
    site.work()
    assert site.thumb(pictures["hopper"]).headers["x-made-by"] == "worker"
    assert site.thumb(pictures["hopper"]).content == before.content
    assert site.daemon.stop() == 0
    after = site.thumb(pictures["hopper"])
    assert (after.headers["x-made-by"], after.content) == ("inline", before.content)
    assert site.http.get("/health").json()["paths"] == {"inline": 2, "worker": 2}


@pytest.mark.parametrize("options", [{"workers": 0}, {"workers": 1, "enabled": False}], ids=["no workers", "disabled"])
def test_the_file_of_products_takes_the_workers_away(pictures: dict[str, bytes], options: dict[str, Any]) -> None:
    """P3, P10, P36: without workers the application does it; a disabled product has no routes, either."""
    site = Site(**options)
    try:
        site.serve()
        site.daemon.start()
        answer = site.thumb(pictures["dunes"])
        if "enabled" in options:
            assert answer.status_code == 404
        else:
            assert (answer.headers["x-made-by"], int(answer.headers["x-made-pid"])) == ("inline", site.pid)
        assert site.daemon.pids("resident process images") == []
    finally:
        site.close()


def test_without_routes_it_serves_none_and_its_worker_runs(site: Site, pictures: dict[str, bytes]) -> None:
    """P5."""
    site.configure(workers=1, routes=False)
    site.serve()
    pid = site.work()
    assert site.thumb(pictures["dunes"]).status_code == 404
    source = site.folder / "dunes.png"
    source.write_bytes(pictures["dunes"])
    assert site.daemon.client.call("images.thumb_of_file", source=str(source)) == str(site.folder / "dunes-320.jpg")
    assert site.worker() == pid


def test_workers_that_cannot_start(site: Site, pictures: dict[str, bytes]) -> None:
    """P34: the worker's start is broken; the route works."""
    text = (site.folder / "images.py").read_text()
    site.serve()
    (site.folder / "images.py").write_text(
        f'{text}\n\n@images.resident\ndef broken():\n    raise RuntimeError("no codec there")\n    yield\n'
    )
    site.daemon.start()
    until(lambda: "no codec there" in site.daemon.log())
    assert site.thumb(pictures["dunes"]).headers["x-made-by"] == "inline"


def test_a_worker_killed_before_a_request(working: Site, pictures: dict[str, bytes]) -> None:
    """P35."""
    pid = working.worker()
    os.kill(pid, signal.SIGKILL)
    assert size(working.thumb(pictures["dunes"])) == (320, 213)
    until(lambda: working.daemon.pids("resident process images") not in ([], [pid]), what="another worker")
    until(lambda: working.thumb(pictures["dunes"], width=9).headers["x-made-by"] == "worker")


def test_a_worker_killed_during_a_request(working: Site) -> None:
    """P35: it has the picture in its memory, and dies over it; the application makes the thumbnail."""
    noise = io.BytesIO()
    Image.effect_noise((4000, 4000), 90).save(noise, "PNG", compress_level=1)
    pid = working.worker()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(working.thumb, noise.getvalue())
        until(lambda: "stoker-buffer" in Path(f"/proc/{pid}/maps").read_text(), what="the picture is the worker's")
        os.kill(pid, signal.SIGKILL)
        found = answer.result(60)
    assert size(found) == (320, 320)
    assert (found.headers["x-made-by"], int(found.headers["x-made-pid"])) == ("inline", working.pid)
    assert "died" in found.headers["x-made-why"]
    assert not alive(pid)


BAD = {
    "no picture": (b"GIF89a, or not", {}, 415),
    "half a picture": (None, {}, 415),
    "nothing": (b"", {}, 413),
    "no width": (b"x", {"width": 0}, 422),
    "too wide": (b"x", {"width": 4097}, 422),
}


@pytest.mark.parametrize(("data", "params", "status"), BAD.values(), ids=BAD.keys())
def test_what_is_no_picture(
    working: Site, pictures: dict[str, bytes], data: bytes | None, params: dict[str, int], status: int
) -> None:
    """Told to whoever sent it; the worker lives on."""
    pid = working.worker()
    answer = working.thumb(pictures["hopper"][:200_000] if data is None else data, **params)
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert working.worker() == pid


def test_a_small_file_that_is_an_enormous_picture(working: Site) -> None:
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 1 << 20
    assert working.thumb(bomb.getvalue()).status_code == 415


def test_requests_that_are_none(working: Site) -> None:
    """A body of unknown length, one that is longer than allowed, names that lead elsewhere."""
    assert working.http.post("/thumb", content=iter([b"x"])).status_code == 411
    with contextlib.suppress(httpx.TransportError):  # the server need not read what it refuses
        assert working.http.post("/thumb", content=bytes((64 << 20) + 1)).status_code == 413
    for name in ("..%2f..%2fimages.py", "%00", f"{'0' * 32}-1.png"):
        assert working.http.get(f"/thumb/{name}").status_code in (404, 422)
    assert working.http.get(f"/thumb/{'0' * 32}-320.jpg").status_code == 404


def test_who_uploads_only_half_and_leaves(working: Site, pictures: dict[str, bytes]) -> None:
    """Nothing of it stays open in the application."""
    fds = Path(f"/proc/{working.pid}/fd")
    assert working.http.get("/health").status_code == 200
    before = len(list(fds.iterdir()))
    host, port = str(working.http.base_url.host), working.http.base_url.port
    for _ in range(5):
        with socket.create_connection((host, port)) as sock:
            sock.sendall(b"POST /thumb HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(5000))
    until(lambda: len(list(fds.iterdir())) <= before, what="its connections and memory are gone")
    assert working.thumb(pictures["dunes"]).status_code == 200


def test_the_plot_is_drawn(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    """Both ways are measured, each is what it says, and nothing is left running."""
    temporary, out = tmp_path / "tmp", tmp_path / "out"
    temporary.mkdir()
    (tmp_path / "pictures").mkdir()
    for name in ("hopper.jpg", "turned.jpg", "dunes.png"):
        (tmp_path / "pictures" / name).write_bytes(pictures[name.partition(".")[0]])
    options = [
        "--seconds",
        "0.3",
        "--workers",
        "1",
        "--connections",
        "1",
        "3",
        "--pictures",
        str(tmp_path / "pictures"),
    ]
    done = subprocess.run(
        [sys.executable, EXAMPLE / "plot.py", "--out", out, *options],
        capture_output=True, text=True, timeout=110, env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "throughput.json").read_text())
    for way, by in (("pool", "worker"), ("inline", "inline")):
        assert [row["parallel"] for row in found[way]] == [1, 3]
        assert all(row["rate"] > 0 and set(row["by"]) == {by} for row in found[way])
    with Image.open(out / "throughput.png") as image:
        assert image.width > 500
    assert list(temporary.iterdir()) == []
