"""The words: jobs, outcomes, commands, limits. Pure values and pure decisions; no I/O, no clock of its own."""
