"""What browsers see: one ASGI application between them and the daemon.

from stoker.web import Identity, bridge

app.mount("/stoker", bridge(authenticate=who))
"""

from stoker.web.app import Bridge, bridge
from stoker.web.grant import token
from stoker.web.identity import Identity

__all__ = ["Bridge", "Identity", "bridge", "token"]
