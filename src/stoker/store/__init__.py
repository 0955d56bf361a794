"""Remember: what is kept, and the drivers that keep it."""
