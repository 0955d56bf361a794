"""Choose: the one process that claims and settles, talks to clients, and watches over everything that runs."""
