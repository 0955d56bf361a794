"""Writes ``moon.pdf``: a real PDF of three pages made by hand, so that the example needs no PDF writer.

A PDF is a list of numbered objects and, at its end, a table of where each begins. Run this file to write it anew; the
same text gives the same bytes.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

TITLE = "The computer that landed on the Moon"
PAGES = (
    """
    The computer that landed on the Moon

    The Apollo Guidance Computer flew in both halves of the spacecraft: one in the command module and one in the
    lunar module. It was designed at the MIT Instrumentation Laboratory in the early sixties, weighed thirty-two
    kilograms, and took about fifty-five watts, less than a light bulb of its day. It was among the first
    computers built from integrated circuits, some 2,800 of them in the second version, all of one kind: a pair
    of NOR gates.

    Its memory was counted in words of fifteen bits and a parity bit. There were 2,048 words that could be
    written and 36,864 that could not. The fixed memory was core rope: a wire threaded through a tiny magnetic
    ring was a one, a wire led past it a zero. Women in a factory near Boston wove the programs by hand, and a
    change late in the day meant weaving a module again.
    """,
    """
    Jobs and priorities

    One processor had to steer, read the radar, work the display and answer the astronauts. Hal Laning's
    Executive made that possible. Every piece of work was a job with a priority. Seven or eight jobs could be
    open at once, each with its own small set of memory for its working values, and the most important one that
    was ready ran next. A second program, the Waitlist, started short tasks at a given moment.

    The software was also written to survive a restart. Jobs that mattered noted how far they had come. After a
    restart the computer cleared its queue, looked at those notes, and took up only the work that had to go on.
    """,
    """
    Alarm 1202

    On the twentieth of July 1969, minutes before the first landing, the display of the Eagle showed 1202. A
    radar that was not needed for the descent had been left in a position where its electronics stole about
    fifteen percent of the computer's time. Jobs were started faster than they could end, and then there was no
    free set of memory for the next one.

    The computer did what it had been made to do. It restarted at once, dropped the low-priority jobs, and kept
    those that steered the engine. The alarm came several times. In Houston a young engineer, Jack Garman, had a
    handwritten list of alarms and knew that this one was harmless as long as it did not come all the time; the
    call was go.

    Margaret Hamilton, who led the flight software, later wrote that the computer had recognised that it was
    asked to do more than it should, and had told the astronauts so: it was doing the important work, and
    leaving the rest.
    """,
)


def lines(page: str) -> list[str]:
    """A page's text, broken as a typesetter would; an empty line ends a paragraph."""
    found: list[str] = []
    for paragraph in page.strip().split("\n\n"):
        found += [*textwrap.wrap(" ".join(paragraph.split()), 88, break_on_hyphens=False), ""]
    return found


def drawing(page: str) -> bytes:
    """The operators that put a page's lines on paper, in Helvetica of 11 points."""
    shown = [line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines(page)]
    return "\n".join(["BT /F1 11 Tf 60 780 Td 15 TL", *(f"({line}) '" for line in shown), "ET"]).encode("cp1252")


def objects() -> list[bytes]:
    """Every object of the document; the first is number 1."""
    count = len(PAGES)
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(count))
    found = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        f"<< /Title ({TITLE}) /Producer (examples/notebook/documents/make_pdf.py) >>".encode(),
    ]
    for number, page in enumerate(PAGES):
        text = drawing(page)
        found.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            b"/Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>" % (6 + 2 * number)
        )
        found.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text))
    return found


def pdf() -> bytes:
    """The whole file."""
    body = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    starts = []
    for number, content in enumerate(objects(), start=1):
        starts.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    size = len(starts) + 1
    tail = b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(body))
    return bytes(body) + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table) + tail


if __name__ == "__main__":
    Path(__file__).with_name("moon.pdf").write_bytes(pdf())
