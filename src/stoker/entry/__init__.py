"""The mains: the only place that wires the parts together, reads the environment, and prints."""
