"""The way of a stored job through this machine: admitted, claimed, begun, heard, ended, and watched."""
