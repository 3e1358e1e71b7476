"""`oms token`: credentials for development."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.terminal import DataOption, database, fail, load_settings, run

if TYPE_CHECKING:
    from app.settings import Settings
    from domain.access import Principal


class Role(StrEnum):
    STAFF = "staff"
    PARTNER = "partner"
    CUSTOMER = "customer"
    GUEST = "guest"


def register(app: typer.Typer) -> None:
    app.command()(token)


def token(
    *,
    role: Annotated[Role, typer.Option("--as", help="Who the bearer is.")] = Role.STAFF,
    order: Annotated[
        str | None,
        typer.Option(
            "--order", metavar="ORDER", help="guest: the one order, by id or number.", show_default=False
        ),
    ] = None,
    customer: Annotated[
        str | None,
        typer.Option(
            "--customer",
            metavar="CUSTOMER",
            help="customer: by id or e-mail address; without it the one of the newest order.",
            show_default=False,
        ),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            "--channel",
            metavar="CHANNEL",
            help="partner: sees only this channel, by id or code. May be repeated.",
            show_default=False,
        ),
    ] = None,
    location: Annotated[
        list[str] | None,
        typer.Option(
            "--location",
            metavar="LOCATION",
            help="partner: sees only this location, by id or code. May be repeated.",
            show_default=False,
        ),
    ] = None,
    data: DataOption = None,
) -> None:
    """Print a development token, alone on the last line, valid for 30 days.

    It is signed with the secret of the data directory (or OMS_DEVELOPMENT_SECRET): only
    `oms up` and `oms serve` with the same secret accept it, and production never does.

    [bold]Examples[/bold]

      oms token --as staff

      oms token --as partner --channel MARKET --location BERLIN

      oms token --as guest --order WEB-1001

      curl -H "authorization: Bearer $(oms token)" …
    """
    from app.auth import staff
    from app.development import UnknownCallerError, token_for

    if role is Role.GUEST and order is None:
        fail("a guest sees one order: name it with --order, by id or number.")
    settings = load_settings(data_dir=data)
    try:
        if role is Role.STAFF:  # who sees everything: no database is needed to say who that is
            caller = staff()
        else:
            with database(data) as (_, url):
                caller = run(
                    _find(
                        role=role,
                        url=url,
                        order=order or "",
                        customer=customer,
                        channels=channel or [],
                        locations=location or [],
                    )
                )
    except UnknownCallerError as error:
        fail(str(error))
    print(token_for(_secret(settings, data), caller))  # noqa: T201 - alone on its line, for $(…)


def _secret(settings: Settings, data: Path | None) -> str:
    from app.development import secret_of
    from app.settings import Environment

    if settings.environment is Environment.PRODUCTION:
        fail("production accepts no development tokens: get one from the issuer in OMS_JWT_ISSUER.")
    if settings.development_secret is not None:
        return settings.development_secret.get_secret_value()
    if data is None and settings.database_url is not None:
        fail("set OMS_DEVELOPMENT_SECRET to what the server was started with.")
    return secret_of(settings.data_dir)


async def _find(
    *, role: Role, url: str, order: str, customer: str | None, channels: list[str], locations: list[str]
) -> Principal:
    from app import development

    if role is Role.PARTNER:
        return await development.find_partner(url, channels, locations)
    if role is Role.CUSTOMER:
        return await development.find_customer(url, customer)
    return await development.find_guest(url, order)
