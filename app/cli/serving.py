"""`oms up`, `oms serve`, `oms worker`: the commands that stay."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.content import DemoSize, load_demo
from app.cli.database import bring_to_head
from app.cli.terminal import (
    DataOption,
    check_port,
    check_reachable,
    database,
    embedded,
    ending_on_sigterm,
    fail,
    load_settings,
    notes,
    out,
    require_migrated,
)
from app.lean import without

if TYPE_CHECKING:
    from app.postgres import EmbeddedPostgres
    from app.settings import Settings

PortOption = Annotated[
    int | None,
    typer.Option(
        "--port", min=1, max=65_535, help="Serve on this port instead of OMS_PORT.", show_default=False
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option("--host", help="Serve on this address instead of OMS_HOST.", show_default=False),
]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

EXAMPLE_QUERY = "{ orders(first: 3) { nodes { number status currentTotal { amount currencyCode } } } }"


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(serve)
    app.command()(worker)


def up(
    port: PortOption = None,
    data: DataOption = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Leave an empty database empty.")] = False,
    demo: Annotated[
        DemoSize, typer.Option("--demo", help="How much demo data an empty database gets.")
    ] = DemoSize.SMALL,
    reset: Annotated[
        bool,
        typer.Option("--reset", help="Delete the data directory's database first. There is no way back."),
    ] = False,
) -> None:
    """Everything on this machine: database, migrations, demo data, API, GraphiQL, ready tokens.

    [bold]Examples[/bold]

      oms up                            http://127.0.0.1:8000, data in .oms/data

      oms up --port 9000 --data ~/shop  another port, another database

      oms up --reset --demo large       200,000 orders to try it at size

    Ctrl-C stops it. Nothing that was answered is lost, however it ends.
    """
    started = time.monotonic()
    settings = load_settings(port=port, data_dir=data)
    if data is None and settings.database_url is not None:
        fail(
            "`oms up` brings its own database: unset OMS_DATABASE_URL, or use `oms migrate` and `oms serve`."
        )
    if settings.host not in LOOPBACK and settings.development_secret is None:
        fail(
            f"`oms up` hands out tokens to this machine alone, but OMS_HOST is {settings.host}: unset it, or set "
            "OMS_DEVELOPMENT_SECRET to a secret of yours."
        )
    check_port(settings.host, settings.port)
    server = embedded(settings)
    with ending_on_sigterm(), _quiet_interrupt():
        if reset:
            server.erase()
        with server:
            settings = _with_database(settings, server)
            bring_to_head(server.url())
            if not no_demo:
                load_demo(server.url(), demo)
            welcome = _welcome(settings, server.url())
            _serve(
                settings,
                server,
                announce=lambda: out.print(
                    f"\n[bold]Maestro OMS[/bold] is ready after {time.monotonic() - started:.1f} s. "
                    f"Ctrl-C stops it.\n{welcome}"
                ),
            )


def serve(port: PortOption = None, host: HostOption = None, data: DataOption = None) -> None:
    """Serve the API over a migrated database; workers run inside.

    [bold]Examples[/bold]

      OMS_DATABASE_URL=postgresql://oms:…@db/oms oms serve --host 0.0.0.0

      oms serve --data ~/shop           the embedded database of that directory
    """
    settings = load_settings(port=port, host=host, data_dir=data)
    check_port(settings.host, settings.port)
    with ending_on_sigterm(), _quiet_interrupt():
        if data is None and settings.database_url is not None:
            check_reachable(settings.database_url.get_secret_value())
            require_migrated(settings.database_url.get_secret_value())
            _serve(settings, None)
            return
        with embedded(settings) as server:
            require_migrated(server.url())
            _serve(_with_database(settings, server), server)


def worker(data: DataOption = None) -> None:
    """Run the background work alone: provider calls, expiries, webhooks, schedules.

    `oms serve` runs it too. Apart, it can be scaled and restarted without the API.

    [bold]Example[/bold]

      OMS_DATABASE_URL=postgresql://oms:…@db/oms oms worker
    """
    from app.workers import run_worker

    with database(data) as (settings, url), _quiet_interrupt():
        require_migrated(url)
        asyncio.run(run_worker(settings))


@contextlib.contextmanager
def _quiet_interrupt() -> Any:
    """Ctrl-C is how these commands are meant to end: no traceback, no "Aborted"."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _with_database(settings: Settings, server: EmbeddedPostgres) -> Settings:
    """The settings of a server over the embedded database: its address, and its signing secret."""
    from pydantic import SecretStr

    from app.development import secret_of
    from app.settings import Environment

    changes: dict[str, Any] = {"database_url": SecretStr(server.url())}
    if settings.environment is Environment.DEVELOPMENT and settings.development_secret is None:
        changes["development_secret"] = SecretStr(secret_of(server.directory))
    return settings.model_copy(update=changes)


def _welcome(settings: Settings, url: str) -> str:
    """The addresses, three tokens, and a line to paste. The tokens go where people look: the terminal."""
    from rich.markup import escape

    from app.development import example_callers, token_for

    if settings.development_secret is None:
        fail("`oms up` is for development: unset OMS_ENVIRONMENT, or use `oms serve` in production.")
    secret = settings.development_secret.get_secret_value()
    host = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104 - compared, not bound
    base = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    callers = asyncio.run(example_callers(url))
    tokens = {name: token_for(secret, caller) for name, caller in callers.items()}
    lines = [
        "",
        f"  GraphQL   {base}/graphql",
        f"  GraphiQL  {base}/graphiql",
        f"  health    {base}/readyz",
        "",
        "Tokens, valid for 30 days with this data directory only:",
        "",
        *(f"  {name:<10}{token}" for name, token in tokens.items()),
        "",
        "Try it:",
        "",
        f"  curl -s {base}/graphql -H 'content-type: application/json' "
        f"-H 'authorization: Bearer {tokens['staff']}' "
        f'-d \'{{"query":"{EXAMPLE_QUERY}"}}\'',
        "",
    ]
    return escape("\n".join(lines))


def _serve(
    settings: Settings, server: EmbeddedPostgres | None, *, announce: Callable[[], None] = lambda: None
) -> None:
    """Serve until told to stop; an embedded database that dies meanwhile is started again.

    `announce` is called once requests are answered.
    """
    with without("watchfiles"):  # what reloads a server while it is written
        import uvicorn

    from app.server import create_app
    from app.web import configuration

    application = create_app(settings)
    configured = configuration(application, settings)

    class Web(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Before connections are ended, so that clients are told to come back, not all at once.
            await application.drain()
            await super().shutdown(sockets)

    web = Web(configured)

    async def serve_and_watch() -> None:
        if server is None:
            await web.serve()
            return
        watch = asyncio.create_task(server.supervise())
        try:
            await web.serve()
        finally:
            watch.cancel()

    with asyncio.Runner(loop_factory=configured.get_loop_factory()) as runner:
        runner.run(serve_and_watch())
    if not web.started:
        notes.print("oms: the server did not start; the reason is above.")
        raise typer.Exit(1)
