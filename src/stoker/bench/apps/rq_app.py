"""What RQ runs."""


def noop() -> None:
    pass
