"""Do: the processes that run jobs, and what a handler sees of them."""
