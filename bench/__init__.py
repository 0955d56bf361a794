"""Every figure, those on PostgreSQL included: ``python -m bench`` from the repository's root.

The rest of it is in ``stoker.bench``, so that `stoker bench` has it where only the package is.
"""
