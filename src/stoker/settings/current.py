"""The settings that are in force, which a reload changes, and whoever asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.settings.about import FIXED
from stoker.settings.fields import Settings, value, with_values


class Current:
    """The settings in force in a running daemon; call it to read them. A reload may replace them. What was ``changed``
    while it runs wins over what a reload reads, until the next start."""

    def __init__(self, settings: Settings) -> None:
        self.read = settings
        """As they were read."""
        self._changed: dict[str, Any] = {}
        self._settings = settings

    def __call__(self) -> Settings:
        return self._settings

    @property
    def changed(self) -> Mapping[str, Any]:
        """What was changed since the start."""
        return self._changed

    def replace(self, new: Settings) -> list[str]:
        """Take over what may change while running; the names of changed settings that need a restart."""
        late = sorted(name for name in FIXED if value(new, name) != value(self.read, name))
        self.read = with_values(new, {name: value(self.read, name) for name in late})
        self._settings = with_values(self.read, self._changed)
        return late

    def change(self, changed: Mapping[str, Any]) -> None:
        """Have these values, and no others, win over what was read."""
        self._changed = dict(changed)
        self._settings = with_values(self.read, self._changed)
