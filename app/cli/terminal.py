"""What commands share: where they print, how they fail, which database they talk to."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from app.postgres import EmbeddedPostgres
    from app.settings import Settings

T = TypeVar("T")


class _Printer:
    """A console that is made when it first prints: a server that has nothing to say saves its 5 MB."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @functools.cached_property
    def console(self) -> Console:
        from rich.console import Console

        return Console(stderr=self._stderr, highlight=False, soft_wrap=True)

    def print(self, *shown: object, markup: bool = True) -> None:
        self.console.print(*shown, markup=markup)


out = _Printer(stderr=False)
notes = _Printer(stderr=True)
"""Progress and remarks; what a command is asked for goes to standard output."""

SUPPORTED = range(15, 19)

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Use the embedded PostgreSQL of this directory, running or not. "
        "Without it: OMS_DATABASE_URL if set, else the one of OMS_DATA_DIR.",
        show_default=False,
    ),
]


def fail(sentence: str) -> NoReturn:
    """End the command with a sentence that says what is wrong and what to do."""
    notes.print(f"oms: {sentence}", markup=False)
    raise typer.Exit(1)


def load_settings(**overrides: Any) -> Settings:
    """The settings in force, with logging set up to match them."""
    from app import logging, settings

    loaded = settings.load(**overrides)
    logging.configure(loaded.log_format, loaded.log_level)
    return loaded


def embedded(settings: Settings) -> EmbeddedPostgres:
    """The embedded PostgreSQL of the data directory in force, not yet started."""
    from app.postgres import EmbeddedPostgres

    return EmbeddedPostgres(settings.data_dir, binary_directory=settings.postgres_bin)


@contextlib.contextmanager
def database(data: Path | None, **overrides: Any) -> Iterator[tuple[Settings, str]]:
    """The settings, and the address of a database that answers, for as long as the block runs.

    An embedded one is started unless it runs already, and stopped if it was started here.
    """
    from pydantic import SecretStr

    settings = load_settings(data_dir=data, **overrides)
    if data is None and settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        check_reachable(url)
        yield settings, url
        return
    with ending_on_sigterm(), embedded(settings) as server:
        yield settings.model_copy(update={"database_url": SecretStr(server.url())}), server.url()


def check_reachable(url: str) -> None:
    """Fail with a sentence unless a PostgreSQL that we support answers there."""
    import asyncpg

    from db.engine import asyncpg_dsn

    async def ask() -> int:
        connection = await asyncpg.connect(asyncpg_dsn(url), timeout=10)
        try:
            return connection.get_server_version().major
        finally:
            await connection.close()

    try:
        major = asyncio.run(ask())
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        fail(f"the database at {without_password(url)} does not answer ({error}): correct OMS_DATABASE_URL.")
    if major not in SUPPORTED:
        fail(f"the database at {without_password(url)} is PostgreSQL {major}: use one from 15 to 18.")


def require_migrated(url: str) -> None:
    """Fail with a sentence unless the database has this release's tables."""
    from db import revision

    at, wanted = revision.current(url), revision.head()
    if at != wanted:
        fail(
            f"the database is at revision {at or 'none'} and this release needs {wanted}: run `oms migrate`."
        )


def without_password(url: str) -> str:
    """An address fit to be shown."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an orderly exit, so that what was started is stopped."""

    def end(*_: object) -> NoReturn:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


def check_port(host: str, port: int) -> None:
    """Fail with a sentence when the address cannot be served on, before anything is started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        fail(f"cannot serve on {host}:{port} ({reason.lower()}): choose another with --port or OMS_PORT.")
