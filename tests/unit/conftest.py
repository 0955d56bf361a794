"""Hypothesis for all unit tests: no deadline on a machine that others use too, and nothing kept in the folder."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "stoker", deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("stoker")
