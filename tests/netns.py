"""Two network namespaces and the cable between them: what it means when a machine is cut off.

They have no names, so nothing of them is left once their programs have ended.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from tests.daemon import until
from tests.kept import Kept, scratch
from tests.needs import need_tools, unavailable

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
ADDRESSES: dict[Side, str] = {"left": "10.111.0.1", "right": "10.111.0.2"}
DROP = """\
table inet cut {
  chain arriving {
    type filter hook input priority 0; policy accept;
    iifname "cable" drop
  }
}
"""


class Netns:
    """``run`` or ``prefix`` put a program on one side; it reaches the other at ``ADDRESSES``, and nobody else."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise unavailable("network namespaces need root; run the tests as root")
        need_tools("ip", "nft", "nsenter", "unshare", hint="apt-get install iproute2 nftables util-linux")
        self.folder = scratch("net")
        self._cut: set[Side] = set()
        self._holders: dict[Side, Kept] = {}

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prefix(self, side: Side) -> tuple[str, ...]:
        """What to put before a command line to run it on this side."""
        return ("nsenter", f"--net=/proc/{self._holders[side].pid}/ns/net", "--")

    def run(self, side: Side, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end on this side; its output is captured."""
        return subprocess.run([*self.prefix(side), *argv], **{"capture_output": True, "text": True, **options})

    def drop(self, *sides: Side) -> None:
        """What arrives at these sides (by default both) vanishes without a word, as if the cable were cut."""
        for side in set(sides or SIDES) - self._cut:
            self._tool(side, ["nft", "-f", "-"], input=DROP)
            self._cut.add(side)

    def heal(self) -> None:
        """Everything arrives again."""
        for side in sorted(self._cut):
            self._tool(side, ["nft", "delete", "table", "inet", "cut"])
            self._cut.discard(side)

    def close(self) -> None:
        for holder in self._holders.values():
            holder.end()
        self._holders.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self) -> None:
        ours = os.readlink("/proc/self/ns/net")
        for side in SIDES:
            holder = Kept(["unshare", "--net", "sleep", "infinity"], self.folder / "log.txt")
            self._holders[side] = holder
            place = Path(f"/proc/{holder.pid}/ns/net")
            until(lambda h=holder, p=place: h.status is not None or os.readlink(p) != ours, 10, "a namespace")  # type: ignore[misc]
            if holder.status is not None:
                raise unavailable(f"no network namespaces here: {holder.log.read_text().strip()}")
        other = str(self._holders["right"].pid)
        cable = ["ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other]
        self._tool("left", cable)
        for side in SIDES:
            self._tool(side, ["ip", "address", "add", f"{ADDRESSES[side]}/30", "dev", "cable"])
            self._tool(side, ["ip", "link", "set", "lo", "up"])
            self._tool(side, ["ip", "link", "set", "cable", "up"])

    def _tool(self, side: Side, argv: Sequence[str], **options: Any) -> None:
        done = self.run(side, argv, **options)
        assert done.returncode == 0, f"{' '.join(argv)} on the {side} side: {done.stderr}"
