"""One file for each group of figures that share a set-up."""
