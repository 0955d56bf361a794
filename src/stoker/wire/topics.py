"""The topics that clients may follow beside those of jobs, ``job:ID``."""

from __future__ import annotations

AUDIENCE = "audience"
"""What is pushed to people."""
STATS = "sys-stats"
"""The newest figures."""
JOBS = "jobs"
"""Something about a job changed; for lists."""
WORKERS = "workers"
"""A worker that stays came into a state."""
