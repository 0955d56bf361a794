"""What the crash tests find without importing it."""

from tests.fixtures import Make, make, pytest_runtest_makereport

__all__ = ["Make", "make", "pytest_runtest_makereport"]
