"""Programs that do the bare minimum, each in a process of its own; they read a line and answer with a line."""
