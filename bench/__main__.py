"""``python -m bench [--only PREFIX,…] [--quick]``: measure, print the table, write ``bench/latest.json`` and the
chart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench.figures import live, pg_drain, pg_idle, pg_nodes, pg_peers, pg_roles, pg_start, pg_submit
from stoker.bench import chart, plan, program, report
from stoker.bench.run import QUICK, Effort

HERE = Path(__file__).parent
LATEST = HERE / "latest.json"
CHART = HERE.parent / "docs" / "img" / "peers.svg"
MORE = plan.groups(live, pg_drain, pg_peers, pg_submit, pg_start, pg_nodes, pg_idle, pg_roles)
GROUPS = (*plan.OURS, *plan.PEERS, *MORE)


def main() -> int:
    options = arguments()
    console = Console()
    try:
        chosen = list(plan.chosen(GROUPS, options.only))
    except ValueError as error:
        console.print(f"bench: {error}", style="red")
        return 2
    results = program.measure(chosen, QUICK if options.quick else Effort(), console)
    report.write(results, options.output)
    console.print(report.table(results, plan.targets(GROUPS)))
    if options.quick:
        console.print("Measured quickly: whether the bench works, not how fast anything is.", style="yellow")
    elif bars := chart.bars(results):
        chart.write(bars, results, CHART)
    return int(program.broken(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure beside the raw floor.")
    parser.add_argument("--only", metavar="PREFIX,…", default="", help="only the figures whose names begin so")
    parser.add_argument("--quick", action="store_true", help="few repetitions, to see whether the bench works")
    parser.add_argument("--output", metavar="FILE", type=Path, default=LATEST, help="where the JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
