"""What clients may ask about the settings: what they are, and to change some until the next start."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker import settings as settings_module
from stoker.model.errors import NotAllowed, RequestError, SettingsError
from stoker.router.house import House
from stoker.settings import FIXED, KINDS, Setting
from stoker.wire.messages import Who

CHANGED = "changed"
"""The source of a value that was set while the daemon runs."""


class SetSettings(msgspec.Struct, forbid_unknown_fields=True):
    values: dict[str, Any]


async def settings(house: House, _role: str, _params: Any) -> list[Setting]:
    """Every setting: its value, where it was set, what it means, and whether a reload is enough to change it. Secrets
    and passwords are masked."""
    return _listed(house)


async def settings_set(house: House, _role: str, params: SetSettings) -> list[Setting]:
    """Change settings until the next start, and reload; those settings as they are then, when they are in force. All of
    them or, when one cannot be, none."""
    await house.life.reload(_read(house, params.values))
    return [one for one in _listed(house) if one.name in params.values]


async def by_bridge(_house: House, _who: Who | None, params: SetSettings) -> SetSettings:
    """From a browser, numbers: limits and times. What names programs, modules and hosts is for those who have the
    machine."""
    for name in params.values:
        if KINDS.get(name) not in (int, float, None):
            raise NotAllowed(f"{name} is not for browsers to change; on the machine, `stoker settings set` does")
    return params


def _listed(house: House) -> list[Setting]:
    source, changed = settings_module.origin(house.settings.read), house.settings.changed
    return list(settings_module.listed(house.settings(), lambda name: CHANGED if name in changed else source(name)))


def _read(house: House, values: dict[str, Any]) -> dict[str, Any]:
    """The values as their settings want them. Raises :class:`RequestError`."""
    late = ", ".join(sorted(FIXED.intersection(values)))
    if late:
        raise RequestError(
            f"{late} cannot be changed while the daemon runs; write it to stoker.toml and start it again"
        )
    if not values:
        raise RequestError("name the settings to change, as in consumers_max=4")
    if "products" in values:
        raise RequestError("products are changed by `stoker pools set`, one at a time")
    try:
        new = settings_module.altered(house.settings(), values, "settings")
    except SettingsError as error:
        raise RequestError(error.message) from None
    return {name: settings_module.value(new, name) for name in values}
