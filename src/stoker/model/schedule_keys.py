"""The keys of a schedule's entry: each read from what stands in a file, with the bounds it has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from stoker.model import monitor, quantities
from stoker.model.cron import time_zone
from stoker.model.job import priority as read_priority

NAME_MAX = 150
TEXT_MAX = 4096
"""Characters of a path, an address or a command line at most."""
WORDS_MAX = 200
CATCH_UP_MAX = 1000
JITTER_MAX = 86400.0
WAITING = 10
"""Runs that may wait for their turn where ``overlap`` is ``queue``, and nothing else is said."""
WAITING_MAX = 1000
SHELL = frozenset("|&;<>()$`*?[~\n")
"""Characters that mean something to a shell; a command with one of them says whether it wants one."""
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_QUOTES = re.compile(r"[\"'\\]")


class Kind(StrEnum):
    """What an entry runs; each is the key that says it."""

    JOB = "job"
    """A registered command."""
    CRON = "cron"
    """A script in the folder of scripts."""
    COMMAND = "command"
    """A program, by its argument list."""
    URL = "url"
    """An address that is fetched."""
    HEARTBEAT = "heartbeat"
    """Nothing: it runs elsewhere, and says so."""


KINDS = tuple(kind.value for kind in Kind)


class Overlap(StrEnum):
    """What happens to a slot while the job of an earlier one has not ended."""

    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"
    """The earlier one is cancelled."""


def shown(value: Any) -> str:
    """A value for a message: its beginning."""
    return f"{value!r:.80}"


def _text(told: Any, most: int = TEXT_MAX) -> str:
    if not isinstance(told, str) or not told.strip():
        raise ValueError(f"a text is needed, not {shown(told)}")
    if len(told) > most:
        raise ValueError(f"has {len(told)} characters; {most} are the most")
    if _UNWANTED.search(told):
        raise ValueError("contains a control character, or half of a character")
    return told


def _name(told: Any) -> str:
    found = _text(told, NAME_MAX).strip()
    if "\n" in found or "\t" in found:
        raise ValueError("is one line")
    return found


def _switch(told: Any) -> bool:
    """1 and 0 as 002 writes them, or true and false."""
    if told in (0, 1) and isinstance(told, int):
        return bool(told)
    raise ValueError(f"1 or 0 is needed, not {shown(told)}")


def _seconds(most: float) -> Callable[[Any], float]:
    def read(told: Any) -> float:
        if not isinstance(told, int | float | str):
            raise ValueError(f"a time is needed, not {shown(told)}")
        found = quantities.seconds(told)
        if not 0 <= found <= most:
            raise ValueError(f"{quantities.show_seconds(most)} is the most")
        return found

    return read


def _timeout(told: Any) -> float:
    found = _seconds(365 * 86400.0)(told)
    if found <= 0:
        raise ValueError("must be more than 0")
    return found


def _catch_up(told: Any) -> int:
    words = {"skip": 0, "one": 1, "all": CATCH_UP_MAX}
    if isinstance(told, str) and told in words:
        return words[told]
    if isinstance(told, int) and not isinstance(told, bool) and 0 <= told <= CATCH_UP_MAX:
        return told
    raise ValueError(f"skip, one, all, or a number up to {CATCH_UP_MAX} is needed, not {shown(told)}")


def _overlap(told: Any) -> Overlap:
    if isinstance(told, str) and told in set(Overlap):
        return Overlap(told)
    raise ValueError(f"{', '.join(Overlap)} are known, not {shown(told)}")


def _priority(told: Any) -> int:
    if not isinstance(told, int | str) or isinstance(told, bool):
        raise ValueError(f"a number or a name is needed, not {shown(told)}")
    return read_priority(told)


def _retries(told: Any) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or not 0 <= told <= 1000:
        raise ValueError(f"a whole number up to 1000 is needed, not {shown(told)}")
    return told


def _waiting(told: Any) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or not 1 <= told <= WAITING_MAX:
        raise ValueError(f"a whole number from 1 to {WAITING_MAX} is needed, not {shown(told)}")
    return told


def _memory(told: Any) -> int:
    if not isinstance(told, int | float | str):
        raise ValueError(f"a size is needed, not {shown(told)}")
    return quantities.size(told)


def _tz(told: Any) -> str:
    time_zone(_text(told, 60))
    return str(told)


def _object(told: Any) -> dict[str, Any]:
    if not isinstance(told, Mapping):
        raise ValueError(f"an object is needed, not {shown(told)}")
    return dict(told)


def _texts(told: Any) -> dict[str, str]:
    found = _object(told)
    if len(found) > WORDS_MAX:
        raise ValueError(f"has {len(found)} names; {WORDS_MAX} are the most")
    for key, value in found.items():
        if not isinstance(key, str) or not key or "=" in key or "\n" in str(value) or "\n" in key:
            raise ValueError(f"{shown(key)} and its value are one line each, and a name has no '='")
        _text(value)
    return found


def _role(told: Any) -> str:
    found = _name(told)
    if len(found) > 64:
        raise ValueError("has 64 characters at most")
    return found


READERS: Mapping[str, Callable[[Any], Any]] = {
    "active": _switch,
    "name": _name,
    "schedule": lambda told: _text(told, 10_000).strip(),
    "tz": _tz,
    "timeout": _timeout,
    "overlap": _overlap,
    "waiting": _waiting,
    "jitter": _seconds(JITTER_MAX),
    "catch_up": _catch_up,
    "priority": _priority,
    "retries": _retries,
    "memory": _memory,
    "role": _role,
    "every_node": _switch,
    "input": _object,
    "environment": _texts,
    "headers": _texts,
    "as_root": _switch,
    "monitor": monitor.read_rules,
}
"""How each key is read, but for those that say what is run. Raises ValueError."""


def what(kind: Kind, table: Mapping[str, Any], shell: bool) -> str | tuple[str, ...]:
    """What an entry runs; ``shell`` is whether a line that looks like one for a shell is given to one. Raises
    ValueError."""
    told = table[kind]
    try:
        match kind:
            case Kind.JOB:
                return _job(told)
            case Kind.URL:
                return _url(told)
            case Kind.CRON:
                return _words(told)
            case Kind.HEARTBEAT:
                return _text(told, 200)
        return _program(told, table, shell)
    except ValueError as error:
        raise ValueError(f"{kind}: {error}") from None


def _job(told: Any) -> str:
    found = _text(told, 200)
    if "." not in found.strip("."):
        raise ValueError(f"{shown(found)} is not product.command")
    return found


def _url(told: Any) -> str:
    found = _text(told)
    if not found.startswith(("http://", "https://", "/")):
        raise ValueError(f"{shown(found)} is neither http://…, https://… nor a path like /tick")
    if any(one.isspace() for one in found):
        raise ValueError("an address contains no space")
    return found


def _words(told: Any) -> tuple[str, ...]:
    """A program or script and its arguments, from a list or from one line that is split as a shell would."""
    if isinstance(told, str):
        try:
            found = shlex.split(_text(told)) if _QUOTES.search(told) else _text(told).split()
        except ValueError as error:
            raise ValueError(f"{shown(told)}: {str(error).lower()}") from None
    elif isinstance(told, list) and all(isinstance(one, str) and "\0" not in one for one in told):
        found = told
    else:
        raise ValueError(f"a text or a list of texts is needed, not {shown(told)}")
    if not found or not found[0].strip():
        raise ValueError("is empty")
    if len(found) > WORDS_MAX or any(len(one) > TEXT_MAX for one in found):
        raise ValueError(f"has more than {WORDS_MAX} words, or one of more than {TEXT_MAX} characters")
    if any("${" in one for one in found):
        raise ValueError("an argument is seen by everybody on the machine; put what ${…} stands for into environment")
    return tuple(found)


def _program(told: Any, table: Mapping[str, Any], shell: bool) -> str | tuple[str, ...]:
    wants = _read_shell(table)
    if isinstance(told, str) and (wants or (wants is None and shell and _has_shell(told))):
        return _text(told)
    if wants and not isinstance(told, str):
        raise ValueError("a shell reads one line, not a list")
    words = _words(told)
    if isinstance(told, str) and wants is None and _has_shell(told):
        raise ValueError(
            f'{shown(told)} has characters of a shell: say "shell": true, or "shell": false if they are meant as '
            "they stand"
        )
    return words


def _read_shell(table: Mapping[str, Any]) -> bool | None:
    return _read_switch("shell", table["shell"]) if "shell" in table else None


def _read_switch(key: str, told: Any) -> bool:
    try:
        return _switch(told)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _has_shell(text: str) -> bool:
    """Whether something outside of single quotes means something to a shell."""
    return any(one in SHELL for place, part in enumerate(text.split("'")) if place % 2 == 0 for one in part)
