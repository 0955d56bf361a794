"""The tree of tabs: user, session, instance, and through which connections each is reached.

Every level knows its connections, so that whom an event is for is a look into one dict, however many tabs there are.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, TypeVar

from stoker.model.audience import EVERYBODY, Address, Tab

C = TypeVar("C")


class Tree(Generic[C]):
    """Tabs by address and by connection. A tab may be attached several times, and through several connections."""

    def __init__(self) -> None:
        self._everybody: dict[C, int] = {}
        self._users: dict[str, dict[C, int]] = {}
        self._sessions: dict[tuple[str, str], dict[C, int]] = {}
        self._tabs: dict[C, dict[Tab, int]] = {}

    @property
    def size(self) -> int:
        """Tabs; one that is reached through two connections counts twice."""
        return sum(self._everybody.values())

    def attach(self, connection: C, tab: Tab) -> None:
        tabs = self._tabs.setdefault(connection, {})
        tabs[tab] = tabs.get(tab, 0) + 1
        if tabs[tab] == 1:
            for level in self._levels(tab):
                level[connection] = level.get(connection, 0) + 1

    def detach(self, connection: C, tab: Tab) -> bool:
        """Take one attachment back; whether there was one."""
        tabs = self._tabs.get(connection, {})
        if tab not in tabs:
            return False
        tabs[tab] -= 1
        if tabs[tab] == 0:
            self._remove(connection, tab)
        return True

    def leave(self, connection: C) -> None:
        """The connection is gone, and its tabs with it."""
        for tab in list(self._tabs.get(connection, ())):
            self._remove(connection, tab)

    def find(self, to: Address) -> Collection[C]:
        """The connections through which tabs of this address are reached."""
        return list(self._at(to))

    def count(self, to: Address) -> int:
        """How many tabs there are at this address."""
        return sum(self._at(to).values())

    def holds(self, connection: C, to: Address) -> bool:
        """Whether the connection reaches a tab of this address."""
        return connection in self._at(to)

    def shown(self) -> dict[str, dict[str, list[str]]]:
        """The tree itself."""
        found: dict[str, dict[str, list[str]]] = {}
        for tab in sorted({tab for tabs in self._tabs.values() for tab in tabs}, key=_path):
            found.setdefault(tab.user, {}).setdefault(tab.session, []).append(tab.instance)
        return found

    def _at(self, to: Address) -> dict[C, int]:
        if to.user == EVERYBODY:
            return self._everybody
        if to.session is None:
            return self._users.get(to.user, {})
        through = self._sessions.get((to.user, to.session), {})
        if to.instance is None:
            return through
        tab = Tab(to.user, to.session, to.instance)
        return {connection: 1 for connection in through if tab in self._tabs[connection]}

    def _levels(self, tab: Tab) -> tuple[dict[C, int], dict[C, int], dict[C, int]]:
        return (
            self._everybody,
            self._users.setdefault(tab.user, {}),
            self._sessions.setdefault((tab.user, tab.session), {}),
        )

    def _remove(self, connection: C, tab: Tab) -> None:
        tabs = self._tabs[connection]
        del tabs[tab]
        if not tabs:
            del self._tabs[connection]
        for level in self._levels(tab):
            level[connection] -= 1
            if level[connection] == 0:
                del level[connection]
        if not self._users[tab.user]:
            del self._users[tab.user]
        if not self._sessions[tab.user, tab.session]:
            del self._sessions[tab.user, tab.session]


def _path(tab: Tab) -> tuple[str, str, str]:
    return tab.user, tab.session, tab.instance
