"""`oms test`, `oms schema`, `oms states`, `oms access`, `oms settings`: for those who work on the code."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from app.cli.terminal import fail, out

TEST_PROCESSES = 2
"""More do not help while they share the machine with the PostgreSQL they test."""


def register(app: typer.Typer) -> None:
    app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
        run_tests
    )
    app.command()(schema)
    app.command()(states)
    app.command()(access)
    app.command()(settings)


def run_tests(
    context: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="Also storms, fuzzing, chaos and the browser.")
    ] = False,
) -> NoReturn:
    """Run the tests, on a PostgreSQL of their own. Further arguments go to pytest.

    [bold]Examples[/bold]

      oms test

      oms test --all

      oms test tests/orders -k cancel -x
    """
    from app.settings import ROOT

    if not (ROOT / "tests").is_dir():
        fail("the tests are in the source repository only: run ./oms test there.")
    given = context.args
    selected = any(argument == "-m" or argument.startswith("-m=") for argument in given)
    spread = any(argument.startswith(("-n", "--numprocesses", "--pdb", "-s")) for argument in given)
    processes = min(TEST_PROCESSES, os.cpu_count() or 1)
    command = [
        sys.executable,
        "-m",
        "pytest",
        *([] if everything or selected else ["-m", "not slow"]),
        *([] if spread else ["-n", str(processes)]),
        *given,
    ]
    os.chdir(ROOT)
    os.execv(command[0], command)  # noqa: S606 - becomes pytest, so that Ctrl-C and the exit code are its own


def schema(
    write: Annotated[
        bool, typer.Option("--write", help="Write schema/schema.graphql instead of printing.")
    ] = False,
) -> None:
    """Print the GraphQL schema.

    [bold]Examples[/bold]

      oms schema > schema.graphql

      oms schema --write                after a change, before the commit
    """
    from app.settings import ROOT
    from resolvers.root import make_schema

    text = make_schema().as_str().rstrip() + "\n"
    if write:
        (ROOT / "schema" / "schema.graphql").write_text(text)
    else:
        print(text, end="")  # noqa: T201 - as it is, for a file or a pipe


def states(
    write: Annotated[bool, typer.Option("--write", help="Write docs/states.md instead of printing.")] = False,
) -> None:
    """Draw every state machine, from the tables that the code obeys, as Markdown with Mermaid.

    [bold]Example[/bold]

      oms states --write
    """
    from app.settings import ROOT
    from domain.diagrams import mermaid

    text = mermaid().rstrip() + "\n"
    if write:
        (ROOT / "docs" / "states.md").write_text(text)
    else:
        print(text, end="")  # noqa: T201 - as it is, for a file or a pipe


def access(
    write: Annotated[bool, typer.Option("--write", help="Write docs/access.md instead of printing.")] = False,
) -> None:
    """Tell who may do and see what, from the declarations that the code obeys, as Markdown.

    [bold]Example[/bold]

      oms access --write
    """
    from app.rights import markdown
    from app.settings import ROOT

    text = markdown().rstrip() + "\n"
    if write:
        (ROOT / "docs" / "access.md").write_text(text)
    else:
        print(text, end="")  # noqa: T201 - as it is, for a file or a pipe


def settings(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/operations.md instead.")
    ] = False,
) -> None:
    """List every setting: its value in force, and what it means.

    [bold]Example[/bold]

      oms settings | grep LIMIT
    """
    from app import settings as module

    if markdown:
        print(module.documentation())  # noqa: T201 - as it is, for a file
        return
    in_force = module.load()
    for variable, _, unit, meaning in module.rows():
        value = getattr(in_force, variable.removeprefix(module.PREFIX).lower())
        shown = "not set" if value is None else f"{value} {unit}".rstrip()
        out.print(f"[bold]{variable}[/bold]  {shown}\n    {meaning}")
