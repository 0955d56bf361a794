"""The figures: what Stoker reaches, beside what the bare machine or a peer reaches in the same run.

``stoker bench`` measures some of them on the user's machine, ``python -m bench`` in a copy of the repository all, those
on PostgreSQL included. Absolute numbers say little, because every machine is another; read the ratios.

    figures/   one file for each group of figures that share a set-up: FIGURES (names and targets) and measure()
    floors/    programs that do the bare minimum, each in a process of its own
    drivers/   programs that run in the peers' environment, where there is no Stoker
    apps/      what the daemon runs
"""
