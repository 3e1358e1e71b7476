"""`oms migrate`, `oms check`, `oms backup`, `oms restore`: the database itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.terminal import DataOption, database, fail, notes, out, run

if TYPE_CHECKING:
    from db.invariants import Finding


def register(app: typer.Typer) -> None:
    app.command()(migrate)
    app.command()(check)
    app.command()(backup)
    app.command()(restore)


def migrate(
    data: DataOption = None,
    to: Annotated[
        str,
        typer.Option("--to", metavar="REVISION", help="Stop at this revision; `base` is an empty database."),
    ] = "head",
    down: Annotated[bool, typer.Option("--down", help="Go back to the revision of --to instead.")] = False,
) -> None:
    """Bring the database's tables to this release, in one transaction.

    [bold]Examples[/bold]

      oms migrate                       to the newest revision

      oms migrate --down --to 0003      back to revision 0003, with the data
    """
    from alembic.util import CommandError

    from db import migrate as migrations
    from db import revision

    if down and to == "head":
        fail("--down goes to an earlier revision: name it with --to.")
    with database(data) as (_, url):
        before = revision.current(url)
        try:
            if down:
                migrations.downgrade(url, to)
            elif to == "head":
                bring_to_head(url)
            else:
                migrations.upgrade(url, to)
        except CommandError as error:
            fail(f"{error}.")
        after = revision.current(url)
    out.print(f"{before or 'empty'} → {after or 'empty'}" if before != after else f"already at {after}")


def bring_to_head(url: str) -> None:
    """This release's tables, and those of its job queue; quick when they are there."""
    from app.workers import queue
    from db import migrate as migrations
    from db import revision

    if revision.current(url) != revision.head():
        migrations.upgrade(url)
    queue.install(url)


def check(data: DataOption = None) -> None:
    """Check every invariant in one snapshot; exit code 1 if one is broken.

    Reads only, and may run beside everything else.

    [bold]Example[/bold]

      oms check && echo sound
    """
    from rich.table import Table

    with database(data) as (_, url):
        found = run(_findings(url))
    table = Table("invariant", "violations", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for finding in found:
        style = "bold red" if finding.violations else None
        table.add_row(finding.name, str(finding.violations), style=style)
    out.print(table)
    broken = [finding for finding in found if finding.violations]
    for finding in broken:
        notes.print(f"\n{finding.name}, for example:", markup=False)
        for row in finding.examples:
            notes.print("  " + ", ".join(f"{name} {value}" for name, value in row.items()), markup=False)
    if broken:
        raise typer.Exit(1)


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write the backup.", show_default=False)
    ],
    data: DataOption = None,
) -> None:
    """Write the whole database to one file, as of one moment, while everybody works on.

    [bold]Example[/bold]

      oms backup oms-$(date +%F).backup
    """
    from app.backup import back_up

    with database(data) as (settings, url), notes.console.status("writing the backup"):
        back_up(url, file, binary_directory=settings.postgres_bin)
    out.print(f"{file} ({file.stat().st_size:,} bytes)", markup=False)


def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `oms backup` has written.", show_default=False)
    ],
    data: DataOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace everything that the database holds. There is no way back."),
    ] = False,
) -> None:
    """Put a backup into an empty database: all of it or nothing.

    Cursors of subscriptions given before are refused from then on: clients read a
    fresh snapshot instead of missing what happened after the backup.

    [bold]Example[/bold]

      oms restore oms-2026-01-31.backup --data ~/shop-restored
    """
    from app.backup import restore as put_back
    from db import revision

    with database(data) as (settings, url):
        with notes.console.status("restoring"):
            put_back(url, file, replace=force, binary_directory=settings.postgres_bin)
        behind = revision.current(url) != revision.head()
    out.print(f"restored {file}" + ("; run `oms migrate` next" if behind else ""), markup=False)


async def _findings(url: str) -> list[Finding]:
    import asyncpg

    from db.engine import asyncpg_dsn
    from db.invariants import findings

    connection = await asyncpg.connect(asyncpg_dsn(url))
    try:
        return [finding async for finding in findings(connection)]
    finally:
        await connection.close()
