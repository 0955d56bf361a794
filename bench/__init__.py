"""The figures: what Stoker reaches, beside what the bare machine or a peer reaches in the same run.

``python -m bench`` from the repository's root measures all, ``--only isolated`` those whose names begin so. Absolute
numbers say little, because every machine is another; read the ratios.

    figures/   one file for each group of figures that share a set-up: FIGURES (names and targets) and measure()
    floors/    programs that do the bare minimum, each in a process of its own
    apps/      what the daemon runs
"""
