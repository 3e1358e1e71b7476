"""`oms storm`: whether what was answered is there, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from app.cli.terminal import ending_on_sigterm, fail, notes, out


def register(app: typer.Typer) -> None:
    app.command()(storm)


def storm(
    *,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            min=0.1,
            max=1440,
            help="How long in all, shared among the faults. Without it each fault happens once.",
            show_default=False,
        ),
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(
            "--faults",
            metavar="NAMES",
            help="Only these, with commas between: server, postgres, backends, commit, workers, disk, wal, "
            "clock, pool.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on the last line instead of a table.")
    ] = False,
) -> None:
    """Let sixteen clients place, cancel, accept, pick, dispatch, return, adjust, reserve and pay while
    something is killed, cut, filled up or set wrong, with every invariant checked every second.

    Runs two servers, a worker and a PostgreSQL of its own. Exit code 1 when anything that was acknowledged is
    missing or there twice, an invariant was broken, or acknowledgements paused for 2 s after the repair.

    [bold]Examples[/bold]

      oms storm

      oms storm --minutes 60 --json | tail -1

      oms storm --faults commit,postgres
    """
    try:
        from bench.storm.faults import FAULTS
        from bench.storm.run import run, table
    except ModuleNotFoundError as missing:
        fail(f"storms need a checkout of the repository with its development tools ({missing.name}).")
    chosen = [name.strip() for name in (faults or "").split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in FAULTS]:
        fail(f"there is no fault {', '.join(unknown)}: there are {', '.join(FAULTS)}.")
    with ending_on_sigterm():
        report = asyncio.run(
            run(minutes=minutes, faults=chosen, progress=lambda what: notes.print(what, markup=False))
        )
    if as_json:
        out.print(report.json(), markup=False)
    else:
        for line in table(report):
            out.print(line, markup=False)
    if not all(target.ok for target in report.targets):
        raise typer.Exit(1)
