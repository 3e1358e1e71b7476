"""`oms demo`, `oms import`: what fills the database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.terminal import DataOption, database, fail, notes, out, require_migrated, run

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0 when that is not known)."""


class DemoSize(StrEnum):
    SMALL = "small"
    LARGE = "large"


class ImportKind(StrEnum):
    CUSTOMERS = "customers"
    PRODUCTS = "products"
    STOCK = "stock"
    ORDERS = "orders"


def register(app: typer.Typer) -> None:
    app.command("import")(import_file)
    app.command()(demo)


def demo(
    size: Annotated[DemoSize, typer.Argument(help="How much.")] = DemoSize.SMALL,
    data: DataOption = None,
) -> None:
    """Load demo data, the same every time, into a database without channels or orders.

    small: a shop to look around in. large: 200,000 orders of 3 lines with their histories,
    3,000 products, 20,000 customers.

    [bold]Example[/bold]

      oms demo large --data ~/big
    """
    with database(data) as (_, url):
        require_migrated(url)
        if not load_demo(url, size):
            fail("the database is not empty: name another with --data, or begin anew with `oms up --reset`.")
    out.print(f"loaded the {size.value} demo data")


def load_demo(url: str, size: DemoSize) -> bool:
    """Load demo data unless the database has channels; whether it did."""
    from app.demo import load

    if run(_has_channels(url)):
        return False
    with progress_shown() as progress:
        run(load(url, size.value, progress))
    return True


def import_file(
    kind: Annotated[ImportKind, typer.Argument(help="What a row of the file is.", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.csv", exists=True, dir_okay=False, help="The partner's file.", show_default=False),
    ],
    mapping: Annotated[
        Path,
        typer.Option("--map", metavar="MAP.toml", exists=True, dir_okay=False,
                     help="Which column means what; docs/imports explains it.", show_default=False),
    ],
    rejected: Annotated[
        Path | None,
        typer.Option("--rejected", metavar="FILE.csv", help="Where lines that cannot be taken go, with the reason. "
                     "Without it: beside the file, as FILE.rejected.csv.", show_default=False),
    ] = None,
    data: DataOption = None,
) -> None:  # fmt: skip
    """Take a partner's CSV file, through a map of its columns.

    May be run again: nothing is doubled, and an import that was cut resumes where it was.
    Exit code 1 if lines were rejected.

    [bold]Examples[/bold]

      oms import products products.csv --map docs/imports/northwind/products.toml

      oms import orders orders.csv --map docs/imports/northwind/orders.toml
    """
    from app.cli.imports import run_import

    reasons = rejected or file.with_suffix(".rejected.csv")
    with database(data) as (_, url):
        require_migrated(url)
        with progress_shown() as progress:
            taken, refused = run(run_import(url, kind.value, file, mapping, reasons, progress))
    out.print(f"{taken:,} taken, {refused:,} rejected")
    if refused:
        notes.print(f"the reasons are in {reasons}", markup=False)
        raise typer.Exit(1)


@contextlib.contextmanager
def progress_shown() -> Iterator[Progress]:
    """A bar on the terminal for work that reports its progress; it disappears when the work is done."""
    from rich import progress

    with progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        console=notes.console,
        transient=True,
    ) as shown:
        tasks: dict[str, progress.TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=None)
            shown.update(tasks[what], completed=done, total=total or None)

        yield report


async def _has_channels(url: str) -> bool:
    import asyncpg

    from db.engine import asyncpg_dsn

    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        return bool(await connection.fetchval("select exists(select from channel)"))
    finally:
        await connection.close()
