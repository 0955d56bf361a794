"""``stoker bench``: how fast Stoker is on this machine, beside the bare machine and, if wanted, beside others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stoker.entry import show
from stoker.entry.options import Json
from stoker.model.errors import RequestError, SettingsError


def bench(
    peers: Annotated[
        bool, typer.Option("--peers", help="Beside other queues, too; they are installed in the cache folder, once.")
    ] = False,
    only: Annotated[
        str, typer.Option(metavar="NAME", help="Only the figures whose names begin so; commas between several.")
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="As long as the documented figures took, not for a glance.")] = (
        False
    ),
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --peers: draw their jobs a second into this SVG file.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure this machine, with the bare floor beside every figure."""
    # measuring needs much that no other command does
    from stoker.bench import chart as charts
    from stoker.bench import peers as others
    from stoker.bench import plan, program, report
    from stoker.bench.run import BRIEF, Effort

    if chart is not None and not peers:
        raise SettingsError("--chart draws the peers: add --peers")
    groups = [*(plan.OURS if only else plan.BRIEF), *(plan.PEERS if peers else ())]
    try:
        chosen = list(plan.chosen(groups, only))
    except ValueError as error:
        hint = "" if peers else "; those beside other queues need --peers"
        raise SettingsError(f"{error}{hint}") from None
    console = show.console(err=True)
    if peers and not others.installed():
        console.print(f"installing the peers in {others.CACHE}, which takes minutes, once", style="dim")
    results = program.measure(chosen, Effort() if full else BRIEF, console)
    if json:
        show.data(results)
    else:
        show.say(report.table(results, plan.targets(groups)))
    if chart is not None:
        rows = charts.bars(results)
        if not rows:
            raise RequestError("no peer was measured, so there is no chart to draw")
        charts.write(rows, results, chart)
        show.say(f"drawn into {chart}", err=True)
    if program.broken(results):
        raise typer.Exit(1)
