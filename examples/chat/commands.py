"""What the daemon does for the chat: answers, and reads documents so that answers can come from them."""

from __future__ import annotations

import time

from pydantic import BaseModel, Field

from examples.chat import documents, models
from examples.notebook import finding, indexing
from examples.notebook.extract import ExtractionError
from examples.notebook.library import Library, opened
from examples.notebook.records import Source
from stoker import Context, Product

chat = Product("chat")
PASSAGES = 3
"""So many go with a question; a small model cannot keep more apart."""
REMEMBERED = 3
"""Turns of the conversation that the model is told."""
INSTRUCTION = "You are a helpful assistant. Answer in a few plain sentences."


class Turn(BaseModel):
    """What was said before."""

    question: str = Field(max_length=4000)
    answer: str = Field(max_length=1500)


class Question(BaseModel):
    question: str = Field(min_length=1, max_length=4000)
    history: list[Turn] = Field(default=[], max_length=8)
    documents: bool = True
    """Whether to answer from what the user has uploaded, if that is anything."""


class Passage(BaseModel):
    """Where an answer comes from."""

    title: str
    text: str
    score: float


class Answer(BaseModel):
    text: str
    model: str
    sources: list[Passage] = []
    begun_at: float
    """When this job began, in seconds since 1970; and when the model said its first word. For first_word.py."""
    first_word_at: float | None = None


class Built(BaseModel):
    documents: int
    passages: int
    failed: list[str] = []


@chat.command(timeout=300, memory="4GB", priority="important", key="user")
def llm_chat(question: Question, ctx: Context) -> Answer:
    """Answer, word by word as the model finds them. One at a time for each user."""
    begun_at = time.time()
    sources = _passages(question, ctx)
    model = models.chosen()
    first_word_at = None
    words = []
    for word in model.answer(_messages(question, sources)):
        first_word_at = first_word_at or time.time()
        ctx.stream.write(word)
        words.append(word)
    return Answer(
        text="".join(words), model=model.name, sources=sources, begun_at=begun_at, first_word_at=first_word_at
    )


# The files' names are of this computer, so no browser says them: it uploads, and the application submits.
@chat.command(timeout="1h", memory="2GB", retries=1, key="user", callers=("script",))
def elaborate_rag(names: list[str], ctx: Context) -> Built:
    """Build the vector base of the documents with these names, of those that the user has uploaded."""
    shelf = ctx.enter(opened(documents.folder(ctx.user) / "base"))
    failed = []
    for number, name in enumerate(names):
        try:
            path = documents.path(ctx.user, name)
            part = _Part(ctx, number, len(names), name)
            indexing.index(Source(path=str(path), title=name), shelf, part)
        except ExtractionError as error:
            ctx.log(str(error), "warning")
            failed.append(name)
    built = Built(documents=len(names) - len(failed), passages=_count(shelf), failed=failed)
    ctx.progress(100, "Ready")
    if ctx.user is not None:
        _tell(ctx, ctx.user, built)
    return built


class _Part:
    """The part of a job that one document is, for code that thinks it is all of it."""

    def __init__(self, ctx: Context, number: int, parts: int, name: str) -> None:
        self._ctx = ctx
        self._number = number
        self._parts = parts
        self._name = name
        self.log = ctx.log

    def progress(self, percent: float, message: str = "", step: str | None = None) -> None:
        done = (100 * self._number + percent) / self._parts
        self._ctx.progress(round(done, 1), f"{self._name}: {message.lower()}", step=step)


def _tell(ctx: Context, user: str, built: Built) -> None:
    if built.failed:
        unread = f"No text could be read from {', '.join(built.failed)}."
        ctx.notify_now(user, unread, title="Documents", level="warning")
    if built.documents:
        ready = f"{built.passages} passages of your documents can be asked about."
        ctx.notify_now(user, ready, title="Documents", level="success")


def _count(shelf: Library) -> int:
    return sum(source.embedded for source in shelf.sources() if source.state == "indexed")


def _passages(question: Question, ctx: Context) -> list[Passage]:
    base = documents.folder(ctx.user) / "base"
    if not question.documents or not base.exists():
        return []
    with opened(base) as shelf:
        if not _count(shelf):
            return []
        hits = finding.find(question.question, PASSAGES, shelf)
    return [Passage(title=hit.title, text=hit.text, score=hit.score) for hit in hits]


def _messages(question: Question, sources: list[Passage]) -> list[models.Message]:
    """What is said to the model. A small one mixes up what was said before with what is in the passages."""
    if sources:
        asked = f"Answer in one or two sentences, using only the text above: {question.question}"
        texts = [" ".join(source.text.split()) for source in sources]
        return [{"role": "user", "content": models.PASSAGE_ENDS.join([*texts, asked])}]
    messages: list[models.Message] = [{"role": "system", "content": INSTRUCTION}]
    for turn in question.history[-REMEMBERED:]:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    messages.append({"role": "user", "content": question.question})
    return messages
