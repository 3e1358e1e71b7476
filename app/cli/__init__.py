"""The `oms` command. One file a group of commands; each imports what it runs when it runs."""

from __future__ import annotations

import sys

import typer

from app.cli import access, benching, content, database, developing, serving, storming

app = typer.Typer(
    name="oms",
    help="Maestro OMS: orders, stock, shipments and returns as one GraphQL API.\n\n"
    "Begin with [bold]oms up[/bold]: a database, demo data and the API on this machine. "
    "Settings are variables OMS_… or lines of a file .env; [bold]oms settings[/bold] lists them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for group in (serving, database, content, access, developing, benching, storming):
    group.register(app)


def main() -> None:
    """Run a command; a failure that people can mend is one sentence and exit code 1."""
    from app.postgres_tools import PostgresError
    from app.settings import SettingsError

    try:
        app()
    except (SettingsError, PostgresError) as error:
        print(f"oms: {error}", file=sys.stderr)  # noqa: T201 - the terminal is whom it is for
        sys.exit(1)
