"""What is counted and measured here, and what is said of it."""
