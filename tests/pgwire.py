"""As much of PostgreSQL's protocol as a proxy needs: who says what, and which answer belongs to which question.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

from collections.abc import Iterator

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102


class Conversation:
    """Both directions of one connection.

    ``asked`` counts the points at which the server will say that it is ready for the next query (the start, each simple
    query, each Sync), ``answered`` those at which it has said so. ``opaque``: it went over to TLS, nothing more is
    known.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.answered = 0
        self.opaque = False
        self._up = b""
        self._down = b""
        self._started = False
        self._bare_answers = 0
        self._statements: dict[bytes, bytes] = {}
        self._portals: dict[bytes, bytes] = {}

    def from_client(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The messages that are now complete, each with the SQL it makes the server run (empty: none)."""
        if self.opaque:
            yield data, b""
            return
        self._up += data
        while len(self._up) >= (5 if self._started else 8):
            offset = 1 if self._started else 0
            length = offset + int.from_bytes(self._up[offset : offset + 4])
            if len(self._up) < length:
                return
            message, self._up = self._up[:length], self._up[length:]
            yield message, self._note(message) if self._started else self._begin(message)

    def from_server(self, data: bytes) -> None:
        """Note what the server has said."""
        self._down += data
        while self._bare_answers and self._down and not self.opaque:
            self._bare_answers -= 1
            self.opaque = self._down[:1] != b"N"
            self._down = self._down[1:]
        while not self.opaque and len(self._down) >= 5:
            length = 1 + int.from_bytes(self._down[1:5])
            if len(self._down) < length:
                return
            self.answered += self._down[:1] == b"Z"
            self._down = self._down[length:]
        if self.opaque:
            self._down = b""

    def _begin(self, message: bytes) -> bytes:
        """A message before the start: without a kind."""
        code = int.from_bytes(message[4:8])
        if code in (SSL_REQUEST, GSS_REQUEST):
            self._bare_answers += 1
        elif code != CANCEL_REQUEST:
            self._started = True
            self.asked += 1
        return b""

    def _note(self, message: bytes) -> bytes:
        """The SQL that this message runs."""
        kind, body = message[:1], message[5:]
        if kind in b"QSF":
            self.asked += 1
        if kind == b"Q":
            return body.rstrip(b"\0")
        if kind == b"P":
            name, sql = body.split(b"\0", 2)[:2]
            self._statements[name] = sql
        elif kind == b"B":
            portal, name = body.split(b"\0", 2)[:2]
            self._portals[portal] = self._statements.get(name, b"")
        elif kind == b"E":
            return self._portals.get(body.split(b"\0", 1)[0], b"")
        return b""

    def answer_to(self, message: bytes) -> int:
        """What ``answered`` will be once the server has fully answered this message, the last one noted."""
        return self.asked if message[:1] == b"Q" else self.asked + 1
