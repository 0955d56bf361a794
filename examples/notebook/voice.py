"""Speech: whatever voice this computer has, and WAV files joined to one."""

from __future__ import annotations

import os
import shutil
import subprocess
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_LINE_MAX = 60.0
"""Seconds that one line may take to speak."""
_PAUSE = 0.35
"""Seconds of silence between two lines."""


class TTSError(Exception):
    """A line could not be spoken."""


class Voice(Protocol):
    def say(self, text: str, speaker: int, wav: Path) -> None:
        """Speak ``text`` into a new WAV file, as speaker 0 or 1. Raises TTSError, and then leaves perhaps a part."""


class Espeak:
    """espeak-ng: small, quick, in every Linux distribution."""

    _VOICES = ("en-gb", "en-us+f3")

    def __init__(self, program: str) -> None:
        self._program = program

    def say(self, text: str, speaker: int, wav: Path) -> None:
        _run([self._program, "-v", self._VOICES[speaker % 2], "-s", "160", "-w", str(wav), "--stdin"], text)


class Piper:
    """piper: neural voices, each a file of its own; one or two are named by ``NOTEBOOK_PIPER_VOICES``."""

    def __init__(self, program: str, models: Sequence[str]) -> None:
        self._program = program
        self._models = models

    def say(self, text: str, speaker: int, wav: Path) -> None:
        model = self._models[speaker % len(self._models)]
        _run([self._program, "--model", model, "--output_file", str(wav)], " ".join(text.split()) + "\n")


def find_voice() -> Voice:
    """The best voice there is. Raises TTSError, saying what to install."""
    models = [model for model in os.environ.get("NOTEBOOK_PIPER_VOICES", "").split(os.pathsep) if model]
    if models and (program := shutil.which("piper")):
        return Piper(program, models)
    if program := shutil.which("espeak-ng"):
        return Espeak(program)
    raise TTSError(
        "no voice found; install espeak-ng (apt install espeak-ng), or piper with the files of its voices "
        "in NOTEBOOK_PIPER_VOICES"
    )


def _run(command: list[str], text: str) -> None:
    # The text goes in by stdin: as an argument it could begin with a dash, and everybody could read it in ps.
    # subprocess.run kills the program when an exception comes, so a cancelled job leaves none behind.
    try:
        subprocess.run(command, input=text.encode(), capture_output=True, check=True, timeout=_LINE_MAX)
    except OSError as error:
        raise TTSError(f"{command[0]}: {error.strerror or error}") from error
    except subprocess.TimeoutExpired as error:
        raise TTSError(f"{Path(command[0]).name} took more than {_LINE_MAX:.0f} s for one line") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise TTSError(f"{Path(command[0]).name}: {said[-1] if said else f'exit code {error.returncode}'}") from error


def join(parts: Sequence[Path], whole: Path) -> None:
    """Put WAV files one after the other, with a short silence between; of no parts, nothing is made.

    ``whole`` appears complete or not at all. Raises TTSError for parts that do not go together.
    """
    if not parts:
        return
    unfinished = whole.with_name(whole.name + ".part")
    try:
        with wave.open(str(unfinished), "wb") as out:
            for number, part in enumerate(parts):
                with wave.open(str(part), "rb") as spoken:
                    _append(out, spoken, first=number == 0)
        os.replace(unfinished, whole)
    except (wave.Error, EOFError) as error:
        raise TTSError(f"what was spoken cannot be joined: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def length(wav: Path) -> float:
    """The seconds of a WAV file."""
    with wave.open(str(wav), "rb") as spoken:
        return round(spoken.getnframes() / spoken.getframerate(), 2)


def _append(out: wave.Wave_write, spoken: wave.Wave_read, *, first: bool) -> None:
    form = spoken.getparams()
    if first:
        out.setnchannels(form.nchannels)
        out.setsampwidth(form.sampwidth)
        out.setframerate(form.framerate)
    elif (form.nchannels, form.sampwidth, form.framerate) != (
        out.getnchannels(),
        out.getsampwidth(),
        out.getframerate(),
    ):
        raise wave.Error("the two voices differ in rate or width")
    else:
        out.writeframes(bytes(int(form.framerate * _PAUSE) * form.nchannels * form.sampwidth))
    out.writeframes(spoken.readframes(form.nframes))
