"""SHOW: the bridge from browsers to the router, and what browsers load."""
