"""A conversation of two about a topic, from what the notebook has read; written, and spoken if there is a voice."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from examples.notebook import voice
from examples.notebook.finding import find
from examples.notebook.library import Library
from examples.notebook.records import PodcastOutput, Topic
from examples.notebook.summary import sum_up
from stoker import Context

_NAMES = ("Ada", "Ben")
_ASKS = ("What does it say?", "Go on.", "And beyond that?", "I did not know that. What else?", "Is there more?")


class Line(NamedTuple):
    speaker: int
    text: str


def produce(request: Topic, library: Library, ctx: Context) -> PodcastOutput:
    """Write the script, then speak it.

    The script is kept before a voice is looked for. If speaking fails, the result says so and has the script, and the
    audio of the lines before; that is no failure of the job, for trying again would not help.
    """
    ctx.progress(0, "Writing the script...", step="write")
    hits = find(request.topic, request.passages, library)
    lines = dialogue(request.topic, [(hit.title, sum_up(hit.text, 2, request.topic, told=_quiet)) for hit in hits])
    folder = library.folder / "podcasts"
    folder.mkdir(exist_ok=True)
    # named after the job: a second attempt writes the same files, and no other job does
    script = folder / f"{_slug(request.topic)}-{ctx.job[-8:]}.txt"
    script.write_text("".join(f"{_NAMES[line.speaker]}: {line.text}\n\n" for line in lines), "utf-8")
    library.episode(ctx.job, request.topic, "speaking", script)
    wav, error = script.with_suffix(".wav"), None
    try:
        speak(lines, wav, ctx)
    except voice.TTSError as failure:
        error = f"TTS failed: {failure}"
        ctx.log(error, level="error")
    audio = wav if wav.exists() else None
    library.episode(ctx.job, request.topic, "failed" if error else "done", script, audio, error)
    ctx.progress(100, "Script ready, no voice" if error else "Ready")
    return PodcastOutput(
        success=error is None,
        topic=request.topic,
        lines=len(lines),
        script=str(script),
        audio=str(audio) if audio else None,
        seconds=voice.length(audio) if audio else 0.0,
        error_message=error,
    )


def speak(lines: Sequence[Line], wav: Path, ctx: Context) -> None:
    """Speak all lines into one file. However it ends, the file has the lines that were spoken. Raises TTSError."""
    wav.unlink(missing_ok=True)
    speaker = voice.find_voice()
    folder = Path(ctx.enter(tempfile.TemporaryDirectory(prefix="notebook-")))  # gone when the job ends
    parts: list[Path] = []
    try:
        for number, line in enumerate(lines):
            ctx.progress(
                round(5 + 95 * number / len(lines), 1), f"Speaking line {number + 1} of {len(lines)}...", step="speak"
            )
            part = folder / f"{number:04}.wav"
            speaker.say(line.text, line.speaker, part)
            parts.append(part)
    finally:
        voice.join(parts, wav)


def dialogue(topic: str, quotes: Sequence[tuple[str, Sequence[str]]]) -> list[Line]:
    """One asks, the other answers: ``quotes`` are sentences, each with the title of the document they are from."""
    if not quotes:
        return [Line(0, f"Today: {topic}."), Line(1, "The notebook has read nothing about it yet. That was quick.")]
    titles = list(dict.fromkeys(title for title, _ in quotes))
    lines = [
        Line(0, f"Welcome. Our topic today: {topic}. {_NAMES[1]}, what have you been reading?"),
        Line(1, "This: " + "; and ".join(titles) + "."),
    ]
    for number, (_, said) in enumerate(quotes):
        lines.append(Line(0, _ASKS[number % len(_ASKS)]))
        lines.append(Line(1, " ".join(said)))
    lines.append(Line(0, "That was all we have read. Thank you for listening."))
    return lines


def _quiet(done: float) -> None:
    """For parts of a job too small to be reported."""


def _slug(topic: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", topic.lower()).strip("-")[:40] or "topic"
