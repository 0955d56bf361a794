"""A notebook that reads your documents, answers from them, sums them up, and reads them aloud.

    stoker up examples.notebook:notebook

All of it runs on this computer: a small language model for meanings, SQLite for memory, no network.
"""

from pathlib import Path

from examples.notebook import commands as commands  # registers them
from examples.notebook.app import notebook

DOCUMENTS: list[Path] = sorted(
    path
    for path in Path(__file__).with_name("documents").iterdir()
    if path.suffix in {".md", ".html", ".pdf"}
)  # fmt: skip
"""What the example has to read: Markdown, HTML and a PDF."""

QUESTION = "What did the computer do with less important jobs when it had too much to do?"
"""A question that one of the documents answers, in other words."""

__all__ = ["DOCUMENTS", "QUESTION", "notebook"]
