"""TICK: schedules, roles, and what watches over them."""
