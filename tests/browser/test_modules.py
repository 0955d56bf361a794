"""The modules as they are shipped: typed, small, strict, and served as they should be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from stoker._version import __version__
from tests.browser.site import Site
from tests.needs import need_tools, unavailable

MODULES = Path(__file__).parents[2] / "src/stoker/web/static/js"
FILES = sorted(MODULES.glob("*.js"))
NAMES = [file.name for file in FILES]
PUBLIC = ["EventsClient", "TabClient", "elements"]
TYPESCRIPT = "typescript@5.9.3"
OPTIONS = {
    "allowJs": True, "checkJs": True, "noEmit": True, "strict": True, "noUnusedLocals": True,
    "noUnusedParameters": True, "types": [], "target": "ES2022", "module": "ES2022",
    "moduleResolution": "bundler", "lib": ["ES2022", "DOM", "DOM.Iterable", "DOM.AsyncIterable"],
}  # fmt: skip
FORBIDDEN = [
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", 'setAttribute("style"',
    "localStorage", "http://", "https://", "console.log",
]  # fmt: skip
COMPARE = """
import * as client from "./real/EventsClient.js";
import * as tabs from "./real/TabClient.js";
import * as elements from "./real/elements.js";
import type * as toldClient from "./told/EventsClient";
import type * as toldTabs from "./told/TabClient";
import type * as toldElements from "./told/elements";

// what is told is there …
export const a: Pick<typeof toldClient, "EventsClient" | "Job" | "JobFailed" | "StokerError"> = client;
export const b: Pick<typeof toldTabs, "TabClient"> = tabs;
export const c: new () => toldElements.StokerProgress = elements.StokerProgress;
export const d: new () => toldElements.StokerStream = elements.StokerStream;

// … and what is there is told
type Missing<Real, Told> = Exclude<keyof Real, keyof Told>;
type None<T extends never> = T;
export type E = None<Missing<client.EventsClient, toldClient.EventsClient>>;
export type F = None<Missing<client.Job, toldClient.Job>>;
export type G = None<Missing<tabs.TabClient, toldTabs.TabClient>>;
"""


@pytest.fixture(scope="module")
def tsc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript compiler, in a temporary folder."""
    need_tools("npm", "node", hint="install Node, or leave the types to CI")
    folder = tmp_path_factory.mktemp("typescript")
    argv = ["npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", TYPESCRIPT]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=100)
    if done.returncode:
        raise unavailable(f"{TYPESCRIPT} cannot be installed: {done.stderr[-300:]}")
    return folder / "node_modules/.bin/tsc"


def test_types(tsc: Path, tmp_path: Path) -> None:
    """The JSDoc of the modules holds, and the public declarations say what the modules do."""
    for name in ("real", "told"):
        (tmp_path / name).mkdir()
    for file in MODULES.iterdir():
        private = file.suffix == ".js" or file.name == "types.d.ts"
        if private:
            shutil.copy(file, tmp_path / "real")
        if file.name.endswith(".d.ts"):
            shutil.copy(file, tmp_path / "told")
    (tmp_path / "compare.ts").write_text(COMPARE)
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "include": ["*.ts", "real/*.js"]}))
    done = subprocess.run([tsc, "-p", "."], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.stdout + done.stderr == ""


def test_few_and_small() -> None:
    assert len(FILES) <= 12
    for file in FILES:
        lines = file.read_text().splitlines()
        assert len(lines) < 350, file.name
        assert max(map(len, lines)) <= 120, file.name
        assert lines[0].startswith("/**"), f"{file.name} says what it is"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_careful_page_forbids(name: str) -> None:
    """Nor anything from elsewhere: a module imports its neighbours only."""
    text = (MODULES / name).read_text()
    code = re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", text, flags=re.S)
    for word in FORBIDDEN:
        assert word not in code, word
    assert set(re.findall(r'from "(.*?)"', code)) <= {f"./{other}" for other in NAMES}


def test_tabs_of_two_versions_do_not_mix() -> None:
    assert f'VERSION = "{__version__}"' in (MODULES / "common.js").read_text()


def test_they_are_served(site: Site) -> None:
    """V79: out of the package, as JavaScript, and asked for again only when they have changed."""
    with httpx.Client(base_url=site.proxy.url) as http:
        for file in (*FILES, *(MODULES / f"{name}.d.ts" for name in PUBLIC)):
            answer = http.get(f"/js/{file.name}")
            assert answer.status_code == 200, file.name
            assert answer.content == file.read_bytes()
            if file.suffix == ".js":
                assert answer.headers["content-type"].startswith("text/javascript")
            again = http.get(f"/js/{file.name}", headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304
