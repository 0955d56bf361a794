"""The settings that are in force, which a reload changes."""

from __future__ import annotations

from stoker.settings.about import FIXED
from stoker.settings.fields import Settings, value, with_values


class Current:
    """The settings in force in a running daemon; call it to read them. A reload may replace them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self) -> Settings:
        return self._settings

    def replace(self, new: Settings) -> list[str]:
        """Take over what may change while running; the names of changed settings that need a restart."""
        late = sorted(name for name in FIXED if value(new, name) != value(self._settings, name))
        self._settings = with_values(new, {name: value(self._settings, name) for name in late})
        return late
