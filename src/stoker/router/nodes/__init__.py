"""This node among the others: its heartbeat, and the roles it takes."""
