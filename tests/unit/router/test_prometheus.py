"""The text exposition format: labels escaped, histograms whole, numbers as they are read."""

from __future__ import annotations

from stoker.router.stats.histogram import Histogram
from stoker.router.stats.prometheus import Page


def test_a_family_has_its_help_its_kind_and_its_samples() -> None:
    page = Page()
    page.family("stoker_jobs", "gauge", "Jobs.", [({"state": "new"}, 3), ({}, 0.5)])
    page.family("stoker_nothing", "gauge", "Without samples.", [])
    assert (
        page.text()
        == '# HELP stoker_jobs Jobs.\n# TYPE stoker_jobs gauge\nstoker_jobs{state="new"} 3\nstoker_jobs 0.5\n'
    )


def test_labels_are_escaped() -> None:
    page = Page()
    page.family("x", "gauge", "X.", [({"node": 'a"b\\c\nd'}, 1)])
    assert page.text().splitlines()[-1] == 'x{node="a\\"b\\\\c\\nd"} 1'


def test_a_histogram_has_buckets_sum_and_count() -> None:
    histogram = Histogram()
    for seconds in (0.001, 0.001, 5.0, 99999.0):
        histogram.observe(seconds)
    page = Page()
    page.histograms("run_seconds", "Runs.", [({"command": "a.b"}, histogram)])
    lines = page.text().splitlines()
    assert lines[1] == "# TYPE run_seconds histogram"
    assert lines[-3:] == [
        'run_seconds_bucket{command="a.b",le="+Inf"} 4',
        'run_seconds_sum{command="a.b"} 100004.002',
        'run_seconds_count{command="a.b"} 4',
    ]
    values = [int(line.rpartition(" ")[2]) for line in lines[2:-2]]
    assert values == sorted(values)
    assert {2, 3, 4} <= set(values)
