"""What somebody who comes through the bridge may do: their level.

    user        submits jobs, and sees and touches their own
    viewer      sees everything, changes nothing
    operator    sees everything, and rules jobs, schedules and pauses of everybody
    admin       rules the daemon, too: pools, nodes, roles, tokens, reload, restart, stop

The methods of the daemon name the levels that may call them; a level that is not named may not.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Access: TypeAlias = Literal["user", "viewer", "operator", "admin"]
LEVELS: tuple[Access, ...] = get_args(Access)
PROOF_LIFE_MAX = 30 * 86400.0
"""Seconds that any proof of who somebody is may be good for: so long it is remembered what was taken back."""
BRIDGE = "bridge"
"""Stands for the bridge itself, when it asks in nobody's name."""

SEES = (BRIDGE, *LEVELS)
"""Everybody; users find what is theirs."""
DOES = (BRIDGE, "user", "operator", "admin")
"""Everybody who may change something; users what is theirs."""
LOOKS = ("viewer", "operator", "admin")
"""Who may see what is everybody's."""
RULES = ("operator", "admin")
"""Who may change what is everybody's."""
OWNS = ("admin",)
"""Who may change the daemon."""
WITHIN = (BRIDGE,)
"""Nobody but the bridge itself."""
