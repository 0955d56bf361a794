"""What the commands take and give."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Count = Annotated[int, Field(ge=1, le=50)]


class Source(BaseModel):
    """A document to read: PDF, HTML, Markdown or plain text."""

    path: str
    embed: bool = True
    """Whether its meaning is worked out, too; without it the text is kept but no search finds it."""
    title: str | None = None


class Indexed(BaseModel):
    """A document that is in the notebook now."""

    source: str
    title: str
    chunks: int
    characters: int
    seconds: float
    skipped: bool = False
    """It was there already, all of it, and nothing was done."""


class Embedded(BaseModel):
    source: str
    embedded: int
    skipped: bool = False


class Item(BaseModel):
    """A note, a quotation, a thought: kept and found like a document."""

    text: str = Field(min_length=1, max_length=20_000)
    title: str | None = None


class Rebuild(BaseModel):
    """The sources to be embedded anew, and the job that does each."""

    sources: list[str]
    jobs: list[str]


class Hit(BaseModel):
    score: float
    title: str
    source: str
    text: str


class Text(BaseModel):
    """A text to sum up, perhaps with an eye on something."""

    text: str = Field(min_length=1)
    sentences: Count = 3
    focus: str | None = None


class Summary(BaseModel):
    sentences: list[str]
    phrases: list[str]
    provider: str
    keys: dict[str, str]
    """The providers for which the job had a key, each with the key's last letters."""


class Known(BaseModel):
    """A source as the notebook has it."""

    source: str
    title: str
    path: str
    state: str
    error: str | None
    chunks: int
    embedded: int


class Term(BaseModel):
    word: str
    times: int


class Neighbours(BaseModel):
    """Two sources, the second being the nearest in meaning to the first."""

    title: str
    nearest: str
    likeness: float


class Column(BaseModel):
    """A column of a table; the figures are of its numbers, the terms of its words."""

    name: str
    filled: int
    least: float | None = None
    most: float | None = None
    mean: float | None = None
    deviation: float | None = None
    terms: list[Term] = []


class Insights(BaseModel):
    counts: dict[str, int]
    terms: list[Term] = []
    neighbours: list[Neighbours] = []
    columns: list[Column] = []


class Topic(BaseModel):
    """What to talk about."""

    topic: str = Field(min_length=1, max_length=200)
    passages: Count = 5


class PodcastOutput(BaseModel):
    """An episode. Where the voices failed, the script is there all the same, and so is what was spoken before."""

    success: bool
    topic: str
    lines: int
    script: str
    audio: str | None = None
    seconds: float = 0.0
    error_message: str | None = None
