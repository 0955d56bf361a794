"""What the story tests find without importing it."""

from tests.fixtures import Make, make, pytest_runtest_makereport
from tests.fleet import Enlist, enlist, fleet

__all__ = ["Enlist", "Make", "enlist", "fleet", "make", "pytest_runtest_makereport"]
