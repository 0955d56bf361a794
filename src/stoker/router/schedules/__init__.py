"""What runs by the clock, and who notices when it did not."""
