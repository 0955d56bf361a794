"""What a reader sees of a page of HTML."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Takes HTML in pieces of any size and gives its text in pieces, with a blank line between paragraphs."""

    UNSEEN = frozenset({"script", "style", "template", "noscript", "title"})
    INLINE = frozenset(
        {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "em", "i", "kbd", "mark", "q", "s", "samp", "small", "span"}
        | {"strong", "sub", "sup", "time", "u", "wbr"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._within: list[str] = []
        self._parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in self.UNSEEN:
            self._within.append(tag)
        elif tag not in self.INLINE:
            self._parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._within:
            self._within.remove(tag)
        elif tag not in self.INLINE:
            self._parts.append("\n\n")

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        if tag not in self.INLINE:
            self._parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._within:
            self._parts.append(data.replace("\n", " "))  # a line end in HTML is a space
        elif self._within == ["title"]:
            self.title += data

    def take(self) -> str:
        """The text since it was last taken."""
        text = "".join(self._parts)
        self._parts.clear()
        return text

    @property
    def waiting(self) -> int:
        """Characters held back until the tag or comment they begin is complete."""
        return len(self.rawdata)
