"""For tests of an application on Stoker: no daemon, no socket, no waiting.

One handler, alone, with what it said:

    result = run_inline(process_source, path="a.pdf", user="u7")
    assert result.value == Indexed(chunks=3)
    assert result.progress[-1].percent == 100

Everything that submits, with a store of its own, in a temporary folder, and a clock that stands still:

    with Workbench() as bench:
        upload("a.pdf")                       # the code under test: calls process_source.submit(…)
        assert_submitted(bench, process_source, path="a.pdf")
        bench.drain()                         # runs what is due, here and now
        bench.clock.advance(60)               # a minute later

Jobs run in the test's own process, through the same pipeline, store and decisions as in the daemon, so retries,
back-off, keys and priorities are the real ones. What only a process of its own can give is not there: time, memory and
output limits, and the survival of a crash.
"""

from stoker.model.clock import FakeClock
from stoker.testing.inline import Asked, Push, Result, arun_inline, assert_submitted, run_inline
from stoker.testing.workbench import Workbench, drain

__all__ = [
    "Asked",
    "FakeClock",
    "Push",
    "Result",
    "Workbench",
    "arun_inline",
    "assert_submitted",
    "drain",
    "run_inline",
]
