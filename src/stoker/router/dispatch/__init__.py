"""Jobs handed to a worker that lives, and never stored."""
