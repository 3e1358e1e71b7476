"""`oms bench`: figures, against other ways to do the same work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.terminal import ending_on_sigterm, fail, notes, out

if TYPE_CHECKING:
    from bench.report import Report

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on the last line instead of a table.")
]
RoundsOption = Annotated[
    int, typer.Option("--rounds", min=1, max=50, help="Interleaved rounds; medians are shown.")
]
SecondsOption = Annotated[
    float, typer.Option("--seconds", min=0.2, max=60, help="How long a round lasts for each.")
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        metavar="DIR",
        help="Where the benchmark's own PostgreSQL is kept between runs; .oms/bench by default.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    bench = typer.Typer(
        help="Measure this machine: our server and its peers take turns.", no_args_is_help=True
    )
    bench.command()(read)
    bench.command()(place)
    bench.command("import")(import_)
    bench.command()(live)
    app.add_typer(bench, name="bench")


def read(
    *,
    as_json: JsonOption = False,
    rounds: RoundsOption = 5,
    seconds: SecondsOption = 2.0,
    orders: Annotated[
        int, typer.Option("--orders", min=1_000, max=2_000_000, help="How many there are.")
    ] = 200_000,
    growth: Annotated[
        bool, typer.Option("--growth", help="Also compare 10,000 with 1,000,000 orders; takes minutes.")
    ] = False,
    directory: DirectoryOption = None,
) -> None:
    """Reads: one order with lines and products; a page of 50 with lines, products and customer.

    Against naive Strawberry with DataLoaders, bare ASGI with asyncpg, and Mercurius where Node is present;
    one worker each, 16 connections. Exit code 1 when a target is missed.

    [bold]Example[/bold]

      oms bench read --json | tail -1
    """
    from app.settings import ROOT

    try:
        from bench.read import run
    except ModuleNotFoundError as missing:
        fail(f"benchmarks need a checkout of the repository with its development tools ({missing.name}).")
    with ending_on_sigterm():
        report = asyncio.run(
            run(
                directory or ROOT / ".oms" / "bench",
                orders=orders,
                rounds=rounds,
                seconds=seconds,
                growth=growth,
                progress=_say,
            )
        )
    _tell(report, as_json=as_json)


def place(
    *,
    as_json: JsonOption = False,
    rounds: RoundsOption = 5,
    seconds: SecondsOption = 2.0,
    orders: Annotated[
        int, typer.Option("--orders", min=20_000, max=2_000_000, help="How many there are already.")
    ] = 200_000,
    directory: DirectoryOption = None,
) -> None:
    """Writes: an order of three lines with an idempotency key, allocated by location, its events relayed.

    Against Mercurius's plain order where Node is present, and bare asyncpg that sends the same statements;
    one worker each, 16 connections, durable commits. Exit code 1 when a target is missed.

    [bold]Example[/bold]

      oms bench place --json | tail -1
    """
    from app.settings import ROOT

    try:
        from bench.place import run
    except ModuleNotFoundError as missing:
        fail(f"benchmarks need a checkout of the repository with its development tools ({missing.name}).")
    with ending_on_sigterm():
        report = asyncio.run(
            run(
                directory or ROOT / ".oms" / "bench",
                orders=orders,
                rounds=rounds,
                seconds=seconds,
                progress=_say,
            )
        )
    _tell(report, as_json=as_json)


def import_(
    *,
    as_json: JsonOption = False,
    rounds: RoundsOption = 3,
    lines: Annotated[
        int, typer.Option("--lines", min=300, max=1_000_000, help="Order lines of a file, three an order.")
    ] = 60_000,
    orders: Annotated[
        int, typer.Option("--orders", min=20_000, max=2_000_000, help="How many there are already.")
    ] = 200_000,
    directory: DirectoryOption = None,
) -> None:
    """Bulk intake: `oms import orders` of a file, as people run it, start-up included.

    Then the same file again, which changes nothing. Exit code 1 when a target is missed.

    [bold]Example[/bold]

      oms bench import --json | tail -1
    """
    from app.settings import ROOT

    try:
        from bench.importing import run
    except ModuleNotFoundError as missing:
        fail(f"benchmarks need a checkout of the repository with its development tools ({missing.name}).")
    with ending_on_sigterm():
        report = asyncio.run(
            run(
                directory or ROOT / ".oms" / "bench",
                orders=orders,
                rounds=rounds,
                lines=lines,
                progress=_say,
            )
        )
    _tell(report, as_json=as_json)


def _say(what: str) -> None:
    notes.print(what, markup=False)


def _tell(report: Report, *, as_json: bool) -> None:
    """Print the report; exit code 1 when a target is missed."""
    if as_json:
        out.print(report.json(), markup=False)
    else:
        for line in report.lines():
            out.print(line, markup=False)
    if not all(target.ok for target in report.targets):
        raise typer.Exit(1)


def live(
    *,
    as_json: JsonOption = False,
    rounds: RoundsOption = 3,
    seconds: SecondsOption = 5.0,
    parts: Annotated[
        str, typer.Option("--parts", help="Which of a to f to run: see docs/live.md.", show_default=True)
    ] = "abcdef",
    directory: DirectoryOption = None,
) -> None:
    """Subscriptions: fan-out, latency, memory, catching up, and the relay; our server on one core.

    Against bare Starlette, raw writes to transports, naive Strawberry with broadcaster, and Mercurius where
    Node is present. The subscribers are a program in C where it can be built, else one in Python. Exit code 1
    when a target is missed.

    [bold]Example[/bold]

      oms bench live --parts a --json | tail -1
    """
    from app.settings import ROOT

    try:
        from bench.live import run
    except ModuleNotFoundError as missing:
        fail(f"benchmarks need a checkout of the repository with its development tools ({missing.name}).")
    with ending_on_sigterm():
        report = asyncio.run(
            run(
                directory or ROOT / ".oms" / "bench",
                rounds=rounds,
                seconds=seconds,
                parts=parts,
                progress=lambda what: notes.print(what, markup=False),
            )
        )
    if as_json:
        out.print(report.json(), markup=False)
    else:
        for line in report.lines():
            out.print(line, markup=False)
    if not all(target.ok for target in report.targets):
        raise typer.Exit(1)
