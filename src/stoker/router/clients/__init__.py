"""Who talks to the daemon: each connection from its first byte to its last."""
