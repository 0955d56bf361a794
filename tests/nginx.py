"""A real nginx in front of something, for tests of what lies between a browser and us."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.daemon import until
from tests.needs import need_tools

CONFIG = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


class Nginx:
    """``with Nginx(locations) as nginx`` runs one with these blocks in its only server; it is at ``nginx.url``."""

    def __init__(self, locations: str) -> None:
        need_tools("nginx", hint="apt-get install nginx-light")
        self._locations = locations
        self._folder = Path(tempfile.mkdtemp(prefix="nginx-", dir="/tmp"))
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Nginx:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        text = CONFIG.format(port=self.port, locations=self._locations)
        (self._folder / "nginx.conf").write_text(text)
        with open(self._folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                ["nginx", "-e", "stderr", "-p", str(self._folder), "-c", "nginx.conf"], stdout=log, stderr=log
            )
        until(self._answers, what="nginx answers")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True
